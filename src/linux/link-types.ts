/** Which types of network device the kernel can create, found out without creating one (net/core/rtnetlink.c, rtnl_newlink()). */

import { hasCode } from "../base/error.ts";
import { type LinkSpec, newLink } from "../netlink/link.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";

/** No device can have this name (net/core/dev.c, dev_valid_name()), so that the request never succeeds. */
const INVALID_NAME = ".";

/**
 * Whether the kernel has devices of this type. It loads their module if it can, as for a real device, and looks at the name
 * only when it knows the type.
 */
export function hasLinkType(rtnetlink: Rtnetlink, kind: LinkSpec["kind"]): boolean {
  try {
    rtnetlink.connection.request(newLink({ name: INVALID_NAME, kind }));
    return true;
  } catch (error) {
    return !hasCode(error, "EOPNOTSUPP");
  }
}
