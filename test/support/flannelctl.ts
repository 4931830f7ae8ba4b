/** flannelctl as hosts have it, run to its end on a host. */

import { execFile } from "node:child_process";
import type { TestNetns } from "../netns/support.ts";
import { FLANNELCTL } from "./programs.ts";

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs it in the namespace with exactly these words and, besides PATH, this environment; `through` another program. */
export function flannelctl(
  netns: Pick<TestNetns, "path">,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  through: readonly string[] = [],
): Promise<Outcome> {
  const words = [`--net=${netns.path}`, ...through, FLANNELCTL, ...args];
  return new Promise((resolve, reject) => {
    execFile("nsenter", words, { env: { PATH: process.env.PATH, ...env } }, (error, out, err) => {
      if (error !== null && typeof error.code !== "number") reject(error);
      else resolve({ code: Number(error?.code ?? 0), out, err });
    });
  });
}
