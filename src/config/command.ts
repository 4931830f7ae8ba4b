/**
 * Commands of a command-line tool, declared as data: each with its flags and its usage; groups of them by their first
 * word ("lab up"). Exit codes: 0 done, 1 failed, 2 usage error.
 */

import { type FlagSource, type FlagTable, type ParsedFlags, parseFlags } from "./flags.ts";
import { type Example, type FlagGroup, formatUsage, type UsageText } from "./flags-text.ts";
import { suggest } from "./nearest-name.ts";

/** What a command may use of the process it runs in. */
export interface CommandContext {
  /** How the user called this program: "bin/flannelctl". */
  readonly program: string;
  /** Writes a line to standard output. */
  print(line: string): void;
  /** Writes a line to standard error. */
  printError(line: string): void;
  /** Shows on a terminal what takes its time, after a second; undefined = it is done. Nothing elsewhere. */
  progress?(activity: string | undefined): void;
}

export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What it consists of: for usage, completion and man pages. */
  readonly shape: CommandShape;
  /** Runs with the words after those of `path` ("bin/flannelctl lab up"). Resolves with the exit code. */
  run(args: readonly string[], context: CommandContext, path: string): Promise<number>;
}

/** A single command, or a group of commands by their first word. */
type CommandShape =
  | {
      readonly type: "command";
      /** What follows its name in the usage. */
      readonly synopsis: string;
      readonly flags: FlagTable;
      readonly groups?: readonly FlagGroup[] | undefined;
      readonly environment?: UsageText["environment"];
      readonly examples?: readonly Example[] | undefined;
    }
  | {
      readonly type: "group";
      readonly commands: Readonly<Record<string, Command>>;
      /** The command that runs without its name. */
      readonly standard?: string | undefined;
      readonly examples?: readonly Example[] | undefined;
    };

/** A command with flags. `synopsis` is what follows its name in the usage: "hN [--container] -- command…". */
export function defineCommand<T extends FlagTable>(spec: {
  readonly synopsis: string;
  readonly summary: string;
  readonly flags: T;
  /** Headings for some of the flags. */
  readonly groups?: readonly FlagGroup[];
  /** Command lines after the name: "config set net.json". */
  readonly examples?: readonly Example[];
  /**
   * The arguments besides flags: before "--" (any, or exactly these: `["SUBNET"]`), and after it. Default none.
   */
  readonly takes?: { readonly words?: boolean | readonly string[]; readonly rest?: boolean };
  /** Where flags come from besides the command line, and which of them. */
  readonly environment?: NonNullable<FlagSource["environment"]> & { readonly names?: readonly string[] };
  /** Values of flags in a file, which the command line may name. Throws what the command itself may throw. */
  readonly readFile?: (flags: ParsedFlags<T>, context: CommandContext) => Promise<FlagSource["file"]>;
  run(flags: ParsedFlags<T>, context: CommandContext): Promise<number>;
}): Command {
  const { environment, takes, readFile } = spec;
  const shape: CommandShape = {
    type: "command",
    ...{ synopsis: spec.synopsis, flags: spec.flags, groups: spec.groups, examples: spec.examples },
    environment: environment && { prefix: environment.prefix, names: environment.names },
  };
  return {
    ...{ summary: spec.summary, shape },
    async run(args, context, path) {
      const refuse = (message: string): number => {
        context.printError(`${message}; see ${path} --help`);
        return 2;
      };
      const source = environment === undefined ? { args } : { args, environment };
      let parsed = parseFlags(spec.flags, source);
      if (parsed.type === "ok" && readFile !== undefined) {
        parsed = parseFlags(spec.flags, { ...source, file: await readFile(parsed.flags, context) });
      }
      if (parsed.type === "help") {
        const heading = `${spec.summary}\nusage: ${path} ${spec.synopsis}`;
        context.print(formatUsage(spec.flags, usageOf(shape, heading.trimEnd(), path)).trimEnd());
        return 0;
      }
      if (parsed.type === "error") return refuse(parsed.message);
      const { positional, rest } = parsed.flags;
      const named = typeof takes?.words === "object" ? takes.words : [];
      const missing = named[positional.length];
      if (missing !== undefined) return refuse(`${missing} is missing`);
      const surplus = takes?.words === true ? [] : positional.slice(named.length);
      const [word] = takes?.rest ? surplus : [...surplus, ...rest];
      if (word !== undefined) return refuse(`${JSON.stringify(word)} belongs to no flag`);
      return spec.run(parsed.flags, context);
    },
  };
}

/** `examples` are completed by the path of the command. */
const usageOf = (
  { groups, environment, examples }: CommandShape & { type: "command" },
  heading: string,
  path: string,
): UsageText => ({
  ...{ heading, groups, environment },
  examples: examples?.map(({ text, line }) => ({ text, line: `${path} ${line}` })),
});

/**
 * Commands chosen by their first word; `help [command…]` and `--help` explain them. Without a first word, or with
 * a flag in its place, the command called `standard` runs, if there is one.
 */
export function defineGroup(
  summary: string,
  commands: Readonly<Record<string, Command>>,
  options: {
    readonly standard?: string;
    readonly examples?: readonly Example[];
    /** Printed at the end of the help. */
    readonly notes?: readonly string[];
    /** Commands by headings, in this order; those that it does not name come first. */
    readonly sections?: Readonly<Record<string, readonly string[]>>;
  } = {},
): Command {
  const { standard, examples = [], notes = [], sections = {} } = options;
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => name.length));
  const describe = (name: string): string => {
    const note = name === standard ? ` (also without "${name}")` : "";
    const what = commands[name]!.summary.replace(/\.$/, "");
    return `  ${name.padEnd(width)}  ${what.charAt(0).toLowerCase()}${what.slice(1)}${note}`;
  };
  const inSections = new Set(Object.values(sections).flat());
  const usage = (path: string): string =>
    [
      summary,
      `usage: ${path} <command>`,
      "",
      ...names.filter((name) => !inSections.has(name)).map(describe),
      ...Object.entries(sections).flatMap(([title, members], index) => [
        ...(index === 0 && inSections.size === names.length ? [] : [""]),
        `${title}:`,
        ...members.map(describe),
      ]),
      ...standardUsage(path),
      ...(examples.length === 0 ? [] : ["", "Examples:"]),
      ...examples.flatMap(({ text, line }) => [`  # ${text}`, `  ${path} ${line}`]),
      "",
      `"${path} help <command>" explains one.`,
      ...notes,
    ].join("\n");
  /** The flags that work without a command's name: "leases --watch". */
  const standardUsage = (path: string): string[] => {
    const shape = standard === undefined ? undefined : commands[standard]!.shape;
    if (shape?.type !== "command" || Object.keys(shape.flags).length === 0) return [];
    return ["", formatUsage(shape.flags, usageOf(shape, `Flags of "${standard}":`, path)).trimEnd()];
  };

  return {
    summary,
    shape: { type: "group", commands, standard, examples },
    async run(args, context, path) {
      const isHelp = ["help", "-h", "-help", "--help"].includes(args[0] ?? "");
      const isStandard = standard !== undefined && !isHelp && (args[0] ?? "-").startsWith("-");
      const [first, ...rest] = isStandard ? [standard, ...args] : args;
      if (first === undefined) {
        context.printError(usage(path));
        return 2;
      }
      const name = isHelp ? rest[0] : first;
      if (name === undefined) {
        context.print(usage(path));
        return 0;
      }
      if (Object.hasOwn(commands, name)) {
        const words = isHelp ? [...rest.slice(1), "--help"] : rest;
        return commands[name]!.run(words, context, `${path} ${name}`);
      }
      const near = suggest(name, names);
      const hint = near === undefined ? "" : ` (did you mean ${near}?)`;
      const what = name.startsWith("-")
        ? `unknown flag ${name.replace(/=.*/s, "")}`
        : `unknown command ${JSON.stringify(name)}`;
      context.printError(`${what}${hint}; ${path} knows: ${names.join(", ")}, help`);
      return 2;
    },
  };
}
