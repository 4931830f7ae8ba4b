/** The command line of flanneld with its environment: options, or what it prints instead of running. */

import { ConfigError } from "../base/error.ts";
import { type ParsedFlags, parseFlags } from "../config/flags.ts";
import { describeFlags, formatUsage } from "../config/flags-text.ts";
import { type FlanneldOptions, readOptions } from "../config/options.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS, type FlanneldFlags } from "../config/options-table.ts";
import { FLANNELD_USAGE } from "../config/usage.ts";
import { describeVersion } from "./version.ts";

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

/** The options, or the exit code if there is nothing to run. */
export function readCommandLine(args: readonly string[]): FlanneldOptions | number {
  const environment = { variables: process.env, prefix: ENVIRONMENT_PREFIX };
  const parsed = parseFlags(FLANNELD_FLAGS, { args: asFlags(args), environment });
  if (parsed.type === "help") {
    process.stdout.write(formatUsage(FLANNELD_FLAGS, FLANNELD_USAGE));
    return 0;
  }
  if (parsed.type === "error") {
    process.stderr.write(`flanneld: ${parsed.message}; see flanneld --help\n`);
    return EXIT_USAGE;
  }
  try {
    if (parsed.flags.values.version) {
      process.stdout.write(`${describeVersion(parsed.flags.values.o)}\n`);
      return 0;
    }
    hideSecretsFromProcessList(parsed.flags);
    return readOptions(parsed.flags, process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`flanneld: ${error.message}\n`);
    return EXIT_FAILURE;
  }
}

/** `flanneld help` and `flanneld version` mean the flags of that name. */
function asFlags([first, ...rest]: readonly string[]): string[] {
  if (first === undefined) return [];
  return [["help", "version"].includes(first) ? `--${first}` : first, ...rest];
}

/** A password in a flag would be readable in `ps` by every user: the process title is replaced by one without it. */
function hideSecretsFromProcessList(flags: ParsedFlags<FlanneldFlags>): void {
  const isFlag = (name: "etcd-password" | "etcd-endpoints") => flags.sources[name]?.startsWith("-") === true;
  const isInEndpoint = flags.values["etcd-endpoints"].some((endpoint) => endpoint.includes("@"));
  if (!isFlag("etcd-password") && !(isFlag("etcd-endpoints") && isInEndpoint)) return;
  process.title = `flanneld ${describeFlags(FLANNELD_FLAGS, flags)}`;
}
