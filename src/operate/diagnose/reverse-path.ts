/** Packets that the kernel dropped because their source is routed through another interface (rp_filter, RFC 3704). */

import type { DiagnosePorts } from "./diagnose-ports.ts";

/** TcpExt: IPReversePathFilter of /proc/net/netstat, since boot; 0 if it cannot be read. */
export function reverseFilterDrops({ readFile }: Pick<DiagnosePorts, "readFile">): number {
  const [names, values] = (readFile("/proc/net/netstat") ?? "")
    .split("\n")
    .filter((line) => line.startsWith("TcpExt:"))
    .map((line) => line.split(" "));
  const column = names?.indexOf("IPReversePathFilter") ?? -1;
  return column < 0 ? 0 : Number(values?.[column] ?? 0);
}
