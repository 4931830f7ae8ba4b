/** Faults of the host, outside of flannel, that keep containers from communicating: one line each, with the remedy. */

import type { NetworkFamilies } from "../config/network-config.ts";

export interface HostAdviceInput {
  readonly network: NetworkFamilies;
  /** Text of a file; undefined if it does not exist. */
  readonly readFile: (path: string) => string | undefined;
}

/** One line for each fault. */
export function adviceFor({ network, readFile }: HostAdviceInput): string[] {
  const advice: string[] = [];
  const sysctl = (path: string) => readFile(`/proc/sys/net/${path}`)?.trim();
  const requireForwarding = (path: string, family: string) => {
    if (sysctl(path) !== "0") return;
    const name = `net.${path.replaceAll("/", ".")}`;
    advice.push(
      `This host does not forward ${family}, so its containers cannot reach other hosts: run 'sysctl -w ${name}=1' (Docker and Kubernetes enable it when they start)`,
    );
  };
  if (network.ipv4 !== undefined) requireForwarding("ipv4/ip_forward", "IPv4");
  if (network.ipv6 !== undefined) requireForwarding("ipv6/conf/all/forwarding", "IPv6");
  if (sysctl("bridge/bridge-nf-call-iptables") === undefined) {
    advice.push(
      "Kernel module br_netfilter is not loaded, so firewall rules do not apply between containers on one bridge, which Kubernetes services need: if you use them, run 'modprobe br_netfilter' and add it to /etc/modules-load.d",
    );
  }
  return advice;
}
