/** flannelctl from its sources, run to its end on a host. */

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TestNetns } from "../netns/support.ts";

const FLANNELCTL = ["--no-warnings", fileURLToPath(new URL("../../src/cmd/flannelctl.ts", import.meta.url))];

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
  const words = [`--net=${netns.path}`, ...through, process.execPath, ...FLANNELCTL, ...args];
  return new Promise((resolve, reject) => {
    execFile("nsenter", words, { env: { PATH: process.env.PATH, ...env } }, (error, out, err) => {
      if (error !== null && typeof error.code !== "number") reject(error);
      else resolve({ code: Number(error?.code ?? 0), out, err });
    });
  });
}
