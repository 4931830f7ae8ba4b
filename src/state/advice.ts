/** What an operator can do about an operation that was refused. */

import { FlannelError, hasCode } from "../base/error.ts";
import type { NetlinkHost } from "./netlink-handling.ts";
import { kindOf, type StateOperation } from "./objects.ts";

/** The error with what an operator can do about it, where that is known. `host` = the kernel that refused. */
export function explain(operation: StateOperation, error: FlannelError, host?: NetlinkHost): FlannelError {
  const advice = hasCode(error, "EPERM")
    ? "flanneld needs root or the capability CAP_NET_ADMIN"
    : kindOf(operation.object).advise?.(operation, error, host);
  return advice === undefined
    ? error
    : new FlannelError(error.code, `${error.message}: ${advice}`, { cause: error });
}
