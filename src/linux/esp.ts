/** Whether the kernel has ESP (RFC 4303): whether it takes a security association, which is removed again at once. */

import { hasCode } from "../base/error.ts";
import { deleteXfrmState, newEspState } from "../netlink/xfrm-state.ts";
import { openXfrmNetlink } from "./netlink-socket.ts";

/** Of no host (RFC 5737). */
const PROBE = { source: "192.0.2.1", destination: "192.0.2.2", spi: 0x100, protocol: 50, reqid: 0 };

/** Loads the module if there is one. Throws SyscallError or NetlinkError if the kernel cannot be asked, e.g. EPERM. */
export function hasEsp(): boolean {
  try {
    const connection = openXfrmNetlink();
    try {
      connection.request(newEspState(PROBE));
      connection.request(deleteXfrmState(PROBE));
      return true;
    } finally {
      connection.close();
    }
  } catch (error) {
    // No XFRM at all; no ESP; no AES-GCM.
    if (["EPROTONOSUPPORT", "EOPNOTSUPP", "ENOSYS", "ENOENT", "EINVAL"].some((code) => hasCode(error, code)))
      return false;
    throw error;
  }
}
