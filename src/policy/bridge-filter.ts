/**
 * Packets between two pods on one bridge pass nftables only through br_netfilter (Documentation/networking/ip-sysctl.rst,
 * “/proc/sys/net/bridge/*”). Without it no policy would hold between them, so it is required, not advised.
 */

import { messageOf } from "../base/error.ts";

/** Kernel parameters below /proc/sys/net. */
export interface Sysctls {
  /** Undefined = there is none of that name. Throws FlannelError. */
  read(key: string): string | undefined;
  /** Throws FlannelError. */
  write(key: string, value: string): void;
}

const KEYS = ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"];

/** Switches it on. @returns why policies do not hold between pods on one bridge, with the remedy; undefined = they do */
export function requireBridgeFilter(sysctls: Sysctls): string | undefined {
  for (const key of KEYS) {
    try {
      const value = sysctls.read(key);
      if (value === undefined)
        return "kernel module br_netfilter is not loaded, so policies do not hold between pods on one bridge: run 'modprobe br_netfilter' and add it to /etc/modules-load.d";
      if (value !== "1") sysctls.write(key, "1");
    } catch (error) {
      const name = `net.${key.replace("/", ".")}`;
      return `policies do not hold between pods on one bridge: run 'sysctl -w ${name}=1': ${messageOf(error)}`;
    }
  }
  return undefined;
}
