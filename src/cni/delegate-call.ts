/** A call to the plugin, and the calls to the delegate that it leads to. */

import { CNI_CODE, CniError } from "./cni-error.ts";
import type { DelegateConfig } from "./delegate-config.ts";
import { formatGoJson } from "./go-json.ts";
import type { Command, Environment, Parameters } from "./parameters.ts";
import type { PluginConfig } from "./plugin-config.ts";
import { findPlugin, runPlugin } from "./run-plugin.ts";
import type { System } from "./system.ts";

/** A call to the plugin. */
export interface Call {
  readonly system: System;
  readonly parameters: Parameters;
  readonly config: PluginConfig;
  /** Passed on to the delegate. */
  readonly environment: Environment;
  /** A line for stderr, which runtimes log. */
  readonly log: (line: string) => void;
}

/** For commands without a container. Older plugins check these variables first; libcni sets the same for VERSION. */
export const NO_ATTACHMENT: Environment = { CNI_CONTAINERID: "dummy", CNI_IFNAME: "dummy" };

/** Runs the delegate with the environment of the call, except for the command and `changes`; returns its stdout. Throws CniError. */
export function delegateTo(
  { system, parameters, environment }: Call,
  command: Command,
  delegate: DelegateConfig,
  changes: Environment = {},
): Promise<string> {
  return runPlugin(system, {
    path: findPlugin(system, delegate.type, parameters.pluginPath),
    config: formatGoJson(delegate),
    environment: { ...environment, CNI_COMMAND: command, ...changes },
  });
}

/**
 * {@link delegateTo} for the commands without a container that 1.1.0 introduced: older plugins report them as unknown, and
 * have nothing to do. Returns whether the delegate has the command. Throws CniError.
 */
export async function delegateIfKnown(
  call: Call,
  command: Command,
  delegate: DelegateConfig,
): Promise<boolean> {
  try {
    await delegateTo(call, command, delegate, NO_ATTACHMENT);
    return true;
  } catch (error) {
    const isUnknown =
      error instanceof CniError &&
      error.cniCode === CNI_CODE.invalidEnvironment &&
      error.message.includes(command);
    if (!isUnknown) throw error;
    call.log(`${delegate.type} does not support ${command}`);
    return false;
  }
}
