/** `flannelctl lab up`: what it says. */

import { readFileSync } from "node:fs";
import { ConfigError, messageOf } from "../../base/error.ts";
import { type Command, type CommandContext, defineCommand } from "../../config/command.ts";
import type { Programs } from "../clusters/cluster.ts";
import { kubeFiles } from "../clusters/kube-files.ts";
import type { DatastoreKind } from "../plan/lab-plan.ts";
import { planLab } from "../plan/lab-plan.ts";
import { DEFAULT_LAB } from "../plan/topology.ts";
import { UP_FLAGS, type UpFlags } from "../plan/up-flags.ts";
import { labNames } from "../record/lab-state.ts";
import { up } from "./up.ts";

export const upCommand = (programs: Programs): Command =>
  defineCommand({
    summary: "create a lab",
    synopsis: "[flags] [-- flags for every flanneld]",
    flags: UP_FLAGS,
    takes: { rest: true },
    run: (flags, context) => runUp(flags, context, programs),
  });

async function runUp(flags: UpFlags, context: CommandContext, programs: Programs): Promise<number> {
  const { values, rest } = flags;
  const startedMs = performance.now();
  const plan = planLab(flags, readConfig);
  const { datastore, network } = plan;
  const flanneld = values.flanneld || programs.flanneld;
  const setup = { datastore, backendType: network.backend.type, flanneld, flanneldFlags: rest };
  const onActivity = (activity: string | undefined) => context.progress?.(activity);
  const options = { plan, setup, programs, keep: values.keep, onActivity };
  await untilSignal((signal) => up(options, context.print, signal));
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  context.print(`Lab "${values.name}" is up after ${seconds} s.`);
  if (values.hints) hints(context.program, values.name, datastore).forEach(context.print);
  return 0;
}

/** Runs something that SIGINT and SIGTERM abort. */
export async function untilSignal(run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const abort = new AbortController();
  const stop = (signal: NodeJS.Signals): void => abort.abort(new ConfigError(`interrupted by ${signal}`));
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    await run(abort.signal);
  } finally {
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
}

/** Commands that work as they stand, also beside other labs. */
function hints(program: string, name: string, datastore: DatastoreKind): string[] {
  const isMeant = name === DEFAULT_LAB && labNames().length === 1;
  const which = isMeant ? "" : ` --name ${name}`;
  const { kubeconfig } = kubeFiles(name);
  return [
    "Try:",
    `  ${program} lab ping${which}`,
    `  ${program} lab exec h1${which} -- ip route`,
    `  ${program} lab exec h1 --container${which} -- ip address`,
    ...(datastore === "kube"
      ? [
          `  ${program} lab exec hub${which} -- ${program} leases --kube-subnet-mgr --kubeconfig-file ${kubeconfig}`,
          `  ${program} lab exec hub${which} -- kubectl --kubeconfig ${kubeconfig} get nodes -o wide`,
          `  ${program} lab add-host${which}`,
        ]
      : []),
    `  ${program} lab down${which}`,
  ];
}

function readConfig(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`--config: failed to read ${file}: ${messageOf(error)}`, { cause: error });
  }
}
