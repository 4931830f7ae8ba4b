/** `flannelctl lab up`: what it says. */

import { readFileSync } from "node:fs";
import { ConfigError, messageOf } from "../base/error.ts";
import { type Command, type CommandContext, defineCommand } from "../config/command.ts";
import { planLab } from "./plan.ts";
import { DEFAULT_LAB } from "./topology.ts";
import { up } from "./up.ts";
import { UP_FLAGS, type UpFlags } from "./up-flags.ts";

/** Paths of the programs that go with this one. */
export interface Programs {
  readonly flanneld: string;
  readonly flannelctl: string;
}

export const upCommand = (programs: Programs): Command =>
  defineCommand({
    summary: "make a lab",
    synopsis: "[flags] [-- flags for every flanneld]",
    flags: UP_FLAGS,
    takes: { rest: true },
    run: (flags, context) => runUp(flags, context, programs),
  });

async function runUp(flags: UpFlags, context: CommandContext, programs: Programs): Promise<number> {
  const { values, rest } = flags;
  const startedMs = performance.now();
  const options = {
    plan: planLab(flags, readConfig),
    datastore: values.etcd ? ("etcd" as const) : ("store" as const),
    flanneld: values.flanneld || programs.flanneld,
    flannelctl: programs.flannelctl,
    flanneldFlags: rest,
    keep: values.keep,
  };
  const abort = new AbortController();
  const stop = (signal: NodeJS.Signals): void => abort.abort(new ConfigError(`ended by ${signal}`));
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    await up(options, context.print, abort.signal);
  } finally {
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  context.print(`Lab "${values.name}" is up after ${seconds} s.`);
  if (values.hints) hints(context.program, values.name).forEach(context.print);
  return 0;
}

const hints = (program: string, name: string): string[] => [
  "Try:",
  `  ${program} lab ping`,
  `  ${program} lab exec h1 -- ip route`,
  `  ${program} lab exec h1 --container -- ip address`,
  `  ${program} lab down${name === DEFAULT_LAB ? "" : ` --name ${name}`}`,
];

function readConfig(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`--config: cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}
