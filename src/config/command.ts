/**
 * Commands of a command-line tool, declared as data: each with its flags and its usage; groups of them by their first
 * word ("lab up"). Exit codes: 0 done, 1 failed, 2 not understood.
 */

import { type FlagTable, type ParsedFlags, parseFlags } from "./flags.ts";
import { formatUsage } from "./flags-text.ts";

/** What a command may use of the process it runs in. */
export interface CommandContext {
  /** How the user can call this program again: "bin/flannelctl". */
  readonly program: string;
  /** Writes a line to standard output. */
  print(line: string): void;
  /** Writes a line to standard error. */
  printError(line: string): void;
}

export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** Runs with the words after the command's own, which `path` ends with ("bin/flannelctl lab up"). Gives the exit code. */
  run(args: readonly string[], context: CommandContext, path: string): Promise<number>;
}

/** A command with flags. `synopsis` is what follows its name in the usage: "hN [--container] -- command…". */
export function defineCommand<T extends FlagTable>(spec: {
  readonly synopsis: string;
  readonly summary: string;
  readonly flags: T;
  /** Which words may stand there that are no flags: before "--", after it. Default none. */
  readonly takes?: { readonly words?: boolean; readonly rest?: boolean };
  run(flags: ParsedFlags<T>, context: CommandContext): Promise<number>;
}): Command {
  return {
    summary: spec.summary,
    async run(args, context, path) {
      const refuse = (message: string): number => {
        context.printError(`${message}; see ${path} --help`);
        return 2;
      };
      const parsed = parseFlags(spec.flags, { args });
      if (parsed.type === "help") {
        context.print(formatUsage(`${spec.summary}\nusage: ${path} ${spec.synopsis}`, spec.flags).trimEnd());
        return 0;
      }
      if (parsed.type === "error") return refuse(parsed.message);
      const { positional, rest } = parsed.flags;
      const surplus = spec.takes?.words ? [] : positional;
      const [word] = spec.takes?.rest ? surplus : [...surplus, ...rest];
      if (word !== undefined) return refuse(`${JSON.stringify(word)} belongs to no flag`);
      return spec.run(parsed.flags, context);
    },
  };
}

/** Commands chosen by their first word; `help [command…]` and `--help` explain them. */
export function defineGroup(summary: string, commands: Readonly<Record<string, Command>>): Command {
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => name.length));
  const usage = (path: string): string =>
    [
      summary,
      `usage: ${path} <command>`,
      "",
      ...names.map((name) => `  ${name.padEnd(width)}  ${commands[name]!.summary}`),
      "",
      `"${path} help <command>" tells more.`,
    ].join("\n");

  return {
    summary,
    async run(args, context, path) {
      const [first, ...rest] = args;
      if (first === undefined) {
        context.printError(usage(path));
        return 2;
      }
      const isHelp = ["help", "-h", "-help", "--help"].includes(first);
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
