/** What an operator can do about an operation that was refused. */

import { FlannelError, hasCode } from "../base/error.ts";
import { kindOf, type StateOperation } from "./objects.ts";

/** The error with what an operator can do about it, where that is known. */
export function explain(operation: StateOperation, error: FlannelError): FlannelError {
  const advice = hasCode(error, "EPERM")
    ? "flanneld needs root or the capability CAP_NET_ADMIN"
    : kindOf(operation.object).advise?.(operation, error);
  return advice === undefined
    ? error
    : new FlannelError(error.code, `${error.message}: ${advice}`, { cause: error });
}
