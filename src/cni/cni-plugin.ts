/** One call of the plugin: from environment and standard input to standard output and exit code (CNI specification 1.1.0, section 2). */

import { add, check, del, status } from "./cni-commands.ts";
import { CNI_CODE, CniError, formatError, reasonOf } from "./cni-error.ts";
import { collectGarbage } from "./collect-garbage.ts";
import type { Call } from "./delegate-call.ts";
import { type Command, type Environment, type Parameters, readParameters } from "./parameters.ts";
import { parsePluginConfig, versionOf } from "./plugin-config.ts";
import type { System } from "./system.ts";
import { CURRENT_VERSION, checkVersion, FIRST_VERSION, SUPPORTED_VERSIONS } from "./versions.ts";

/** Far above a config with the attachments of thousands of containers. */
export const MAX_INPUT_BYTES = 16 * 1024 * 1024;
/** The runtime has written its config by the time the plugin runs; a terminal or a forgotten pipe never will. */
export const PROMPT_INPUT_MS = 100;

/** What the plugin uses of its process. */
export interface PluginPorts {
  readonly system: System;
  readonly environment: Environment;
  /** All of standard input. Throws CniError above {@link MAX_INPUT_BYTES}. */
  readonly readInput: () => Promise<string>;
  /** Standard input as far as it has arrived in {@link PROMPT_INPUT_MS}: VERSION is also called by hand, without any input. */
  readonly readPromptInput: () => Promise<string>;
  readonly print: (text: string) => void;
  /** Writes to standard error. */
  readonly printError: (text: string) => void;
  /** "v1.2.3". */
  readonly version: string;
}

const COMMANDS: Readonly<Record<Exclude<Command, "VERSION">, (call: Call) => Promise<string>>> = {
  ADD: add,
  DEL: del,
  CHECK: check,
  STATUS: status,
  GC: collectGarbage,
};

/** The others work by what ADD has stored; a config that has become invalid must not keep a container from being deleted. */
const NEEDS_VALID_CONFIG: readonly Command[] = ["ADD", "STATUS"];

/** {@link runFlannelPlugin} for a process: errors of the program itself go to stdout too, and with their stack trace to stderr. */
export async function runToExitCode(ports: PluginPorts): Promise<number> {
  try {
    return await runFlannelPlugin(ports);
  } catch (error) {
    // A broken invariant: the runtime needs an error object, and developers the stack trace.
    ports.printError(`${reasonOf(error)}\n${error instanceof Error ? error.stack : ""}\n`);
    ports.print(formatError(new CniError(CNI_CODE.internal, reasonOf(error)), CURRENT_VERSION));
    return 1;
  }
}

/** Runs one command and returns the exit code, 0 or 1. Errors go to stdout as CNI error objects; anything but CniError is thrown. */
export async function runFlannelPlugin(ports: PluginPorts): Promise<number> {
  if ((ports.environment.CNI_COMMAND ?? "") === "") {
    ports.printError(`CNI Plugin flannel version ${ports.version} (${ports.system.platform})\n`);
    ports.printError(`CNI protocol versions supported: ${SUPPORTED_VERSIONS.join(", ")}\n`);
    return 0;
  }
  let input = "";
  try {
    const parameters = readParameters(ports.environment);
    if (parameters.command === "VERSION") {
      ports.print(describeVersions(await ports.readPromptInput()));
      return 0;
    }
    input = await ports.readInput();
    ports.print(await runCommand(parameters.command, parameters, input, ports));
    return 0;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    ports.print(formatError(error, versionOf(input)));
    return 1;
  }
}

async function runCommand(
  command: Exclude<Command, "VERSION">,
  parameters: Parameters,
  input: string,
  ports: PluginPorts,
): Promise<string> {
  const config = parsePluginConfig(input, NEEDS_VALID_CONFIG.includes(command));
  checkVersion(config.cniVersion ?? FIRST_VERSION, command);
  if ((command === "ADD" || command === "DEL") && !parameters.allowsOwnNetns)
    refuseOwnNetns(ports.system, parameters.netns);
  const { system, environment, printError } = ports;
  const log = (line: string): void => printError(`flannel: ${line}\n`);
  return COMMANDS[command]({ system, parameters, config, environment, log });
}

/** In the host's own namespace a delegate would configure or delete the host's interface. */
function refuseOwnNetns(system: System, path: string): void {
  const container = system.identityOf(path);
  // A path that does not exist is reported by the delegate, if it matters.
  if (container === undefined || container !== system.identityOf("/proc/self/ns/net")) return;
  throw new CniError(
    CNI_CODE.invalidNamespace,
    "plugin's netns and netns from CNI_NETNS should not be the same",
    `${path} is the network namespace of the host`,
  );
}

/** The answer to VERSION, in the version of the request (specification, section 4); without one in the newest. */
const describeVersions = (input: string): string =>
  `${JSON.stringify({ cniVersion: versionOf(input), supportedVersions: SUPPORTED_VERSIONS })}\n`;
