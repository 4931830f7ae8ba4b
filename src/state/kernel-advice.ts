/** What an operator can do about an operation that the kernel refused. */

import { FlannelError, hasCode } from "../base/error.ts";
import type { Operation } from "./kernel.ts";

/** The kernel's error with what an operator can do about it, where that is known. */
export function explain(operation: Operation, error: FlannelError): FlannelError {
  const advice = adviceFor(operation, error);
  return advice === undefined
    ? error
    : new FlannelError(error.code, `${error.message}: ${advice}`, { cause: error });
}

function adviceFor({ action, object }: Operation, error: FlannelError): string | undefined {
  if (hasCode(error, "EPERM")) return "flanneld needs root or the capability CAP_NET_ADMIN";
  if (object.kind === "address" && object.address.includes(":") && hasCode(error, "EACCES")) {
    return `IPv6 is switched off on ${object.device}: 'sysctl -w net.ipv6.conf.all.disable_ipv6=0', or take EnableIPv6 out of the network config`;
  }
  if (object.kind === "setting" && object.name === "tx-checksum-ip-generic") {
    return "the device does not allow it: take Backend.DisableTxChecksum out of the network config";
  }
  if (action !== "create") return undefined;
  if (object.kind === "route" && hasCode(error, "EEXIST")) {
    return `a route to ${object.destination} that is not flannel's is there (see 'ip route show ${object.destination}'): remove it`;
  }
  if (object.kind === "address" && hasCode(error, "EOPNOTSUPP"))
    return "this kernel has no IPv6: take EnableIPv6 out of the network config";
  if (object.kind !== "link" || object.type !== "vxlan") return undefined;
  if (hasCode(error, "EOPNOTSUPP")) return "this kernel has no vxlan: load it with 'modprobe vxlan'";
  if (hasCode(error, "EEXIST") || hasCode(error, "EADDRINUSE")) {
    return `another device uses VNI ${object.vni} on UDP port ${object.port} (see 'ip -d link show type vxlan'): remove it, or choose another VNI or Port in the network config`;
  }
  return undefined;
}
