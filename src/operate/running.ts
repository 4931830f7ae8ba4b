/** Whether a flanneld, ours or Go's, runs on this host, by the arguments of its processes (proc(5)). */

import { basename } from "node:path";
import type { ProcessEntry } from "./operate-ports.ts";

/** The first process that is a flanneld. */
export const findFlanneld = (processes: readonly ProcessEntry[]): ProcessEntry | undefined =>
  processes.find(({ args }) => isFlanneld(args));

/** Ours is Node.js with the bundle or the source; a process that has given itself a title has it as its only argument. */
function isFlanneld(args: readonly string[]): boolean {
  const [program = "", ...rest] = args.length === 1 ? args[0]!.split(" ") : args;
  const name = basename(program);
  if (name === "flanneld") return true;
  const script = rest.find((word) => !word.startsWith("-")) ?? "";
  return /^node/.test(name) && /^flanneld(?:\.[cm]?[jt]s)?$/.test(basename(script));
}
