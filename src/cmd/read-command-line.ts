/** The command line of flanneld with its environment: options, or what it prints instead of running. */

import { ConfigError } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import { type ConfigFile, readConfigFile } from "../config/config-file.ts";
import { type ParsedFlags, parseFlags } from "../config/flags.ts";
import { describeFlags, formatUsage } from "../config/flags-text.ts";
import { type FlanneldOptions, readOptions } from "../config/options.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS, type FlanneldFlags } from "../config/options-table.ts";
import { FLANNELD_USAGE } from "../config/usage.ts";
import { describeVersion } from "./version.ts";

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

/** The options, or the exit code if there is nothing to run. */
export async function readCommandLine(args: readonly string[]): Promise<FlanneldOptions | number> {
  const environment = { variables: process.env, prefix: ENVIRONMENT_PREFIX };
  const source = { args: asFlags(args), environment };
  const refuse = (message: string, exitCode: number): number => {
    for (const line of message.split("\n")) process.stderr.write(`flanneld: ${printable(line)}\n`);
    return exitCode;
  };
  try {
    const given = parseFlags(FLANNELD_FLAGS, source);
    if (given.type === "help") return print(formatUsage(FLANNELD_FLAGS, FLANNELD_USAGE).trimEnd());
    if (given.type === "error") return refuse(`${given.message}; see flanneld --help`, EXIT_USAGE);
    if (given.flags.values.version) return print(describeVersion(given.flags.values.o));
    hideSecretsFromProcessList(given.flags);
    const file = await readConfigFile(given.flags);
    const parsed = parseFlags(FLANNELD_FLAGS, { ...source, file: file?.values });
    if (parsed.type !== "ok") throw new ConfigError(parsed.type === "error" ? parsed.message : "");
    const flags = { ...parsed.flags, notes: [...parsed.flags.notes, ...unusedValues(file, parsed.flags)] };
    if (!flags.values["print-config"]) return readOptions(flags, process.env, file?.network);
    const format = flags.values.o;
    const { printConfig } = await import("../admin/print-config.ts");
    print(printConfig(FLANNELD_FLAGS, flags, { file, prefix: ENVIRONMENT_PREFIX, format }));
    readOptions(flags, process.env, file?.network); // says what is wrong with it
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return refuse(error.message, EXIT_FAILURE);
  }
}

/** A unit file that gives a flag would otherwise hide what the file says. */
const unusedValues = (file: ConfigFile | undefined, { sources }: ParsedFlags<FlanneldFlags>): string[] =>
  (file?.values ?? []).flatMap(({ name, source }) => {
    const used = sources[name as keyof FlanneldFlags];
    return used === source ? [] : [`${source}: ${name} is not used, because ${used} is given`];
  });

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
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
