/** Linux capabilities of this process (capabilities(7)). */

import { readFileSync } from "node:fs";

/** Permits configuring interfaces, routes and firewalls (linux/capability.h). */
export const CAP_NET_ADMIN = 12;

/** Whether the effective set of the process contains the capability (proc_pid_status(5)). True on kernels that do not report it. */
export function hasCapability(capability: number): boolean {
  const effective = /^CapEff:\s*([\da-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return effective === undefined || ((BigInt(`0x${effective}`) >> BigInt(capability)) & 1n) === 1n;
}
