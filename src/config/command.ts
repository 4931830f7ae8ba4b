/**
 * Commands of a command-line tool, declared as data: each with its flags and its usage; groups of them by their first
 * word ("lab up"). Exit codes: 0 done, 1 failed, 2 usage error.
 */

import { type FlagSource, type FlagTable, type ParsedFlags, parseFlags } from "./flags.ts";
import { formatUsage } from "./flags-text.ts";

/** What a command may use of the process it runs in. */
export interface CommandContext {
  /** How the user called this program: "bin/flannelctl". */
  readonly program: string;
  /** Writes a line to standard output. */
  print(line: string): void;
  /** Writes a line to standard error. */
  printError(line: string): void;
}

export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** Runs with the words after those of `path` ("bin/flannelctl lab up"). Resolves with the exit code. */
  run(args: readonly string[], context: CommandContext, path: string): Promise<number>;
}

/** A command with flags. `synopsis` is what follows its name in the usage: "hN [--container] -- command…". */
export function defineCommand<T extends FlagTable>(spec: {
  readonly synopsis: string;
  readonly summary: string;
  readonly flags: T;
  /**
   * The arguments besides flags: before "--" (any, or exactly these: `["SUBNET"]`), and after it. Default none.
   */
  readonly takes?: { readonly words?: boolean | readonly string[]; readonly rest?: boolean };
  /** Where flags come from besides the command line. */
  readonly environment?: FlagSource["environment"];
  run(flags: ParsedFlags<T>, context: CommandContext): Promise<number>;
}): Command {
  return {
    summary: spec.summary,
    async run(args, context, path) {
      const refuse = (message: string): number => {
        context.printError(`${message}; see ${path} --help`);
        return 2;
      };
      const { environment, takes } = spec;
      const parsed = parseFlags(spec.flags, environment === undefined ? { args } : { args, environment });
      if (parsed.type === "help") {
        context.print(formatUsage(`${spec.summary}\nusage: ${path} ${spec.synopsis}`, spec.flags).trimEnd());
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

/**
 * Commands chosen by their first word; `help [command…]` and `--help` explain them. Without a first word, or with
 * a flag in its place, the command called `standard` runs, if there is one.
 */
export function defineGroup(
  summary: string,
  commands: Readonly<Record<string, Command>>,
  standard?: string,
): Command {
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => name.length));
  const usage = (path: string): string =>
    [
      summary,
      `usage: ${path} <command>`,
      "",
      ...names.map((name) => {
        const note = name === standard ? ` (also without "${name}")` : "";
        return `  ${name.padEnd(width)}  ${commands[name]!.summary}${note}`;
      }),
      "",
      `"${path} help <command>" explains one.`,
    ].join("\n");

  return {
    summary,
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
      context.printError(`unknown command ${JSON.stringify(name)}; ${path} knows: ${names.join(", ")}, help`);
      return 2;
    },
  };
}
