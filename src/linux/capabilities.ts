/** Linux capabilities of this process (capabilities(7)). */

import { readFileSync } from "node:fs";

/** Configure interfaces, routes, firewalls (linux/capability.h). */
export const CAP_NET_ADMIN = 12;

/** Whether the process has the capability now (its effective set, proc_pid_status(5)). */
export function hasCapability(capability: number): boolean {
  const effective = /^CapEff:\s*([\da-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return effective === undefined || ((BigInt(`0x${effective}`) >> BigInt(capability)) & 1n) === 1n;
}
