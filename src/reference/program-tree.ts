/**
 * A program as its man page and completions need it: all commands as a list, each with its words, flags and what the values of
 * these are. Made from the tables that the program itself runs by.
 */

import type { Command } from "../config/command.ts";
import type { FlagSpec, FlagTable } from "../config/flags.ts";
import type { Example, FlagGroup, UsageText } from "../config/flags-text.ts";

/** A program. */
export interface Program {
  readonly name: string;
  readonly summary: string;
  /** All commands and groups of commands, the program itself first. */
  readonly nodes: readonly ProgramNode[];
}

/** A command or a group of them. */
export interface ProgramNode {
  /** The words after the program's name: ["leases", "list"]; none = the program. */
  readonly words: readonly string[];
  readonly summary: string;
  /** What follows the words in the usage. */
  readonly synopsis: string;
  /** Of a group: those of the command that runs without its name. */
  readonly flags: FlagTable;
  readonly groups: readonly FlagGroup[];
  readonly environment: UsageText["environment"];
  readonly examples: readonly Example[];
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
}

/** Lists the commands of a program. */
export const programOf = (name: string, command: Command): Program => ({
  name,
  summary: command.summary,
  nodes: nodesOf([], command),
});

function nodesOf(words: readonly string[], { summary, shape }: Command): ProgramNode[] {
  if (shape.type === "command") {
    const { synopsis, flags, groups = [], environment, examples = [] } = shape;
    return [{ words, summary, synopsis, flags, groups, environment, examples, commands: [] }];
  }
  const { commands, standard, examples = [] } = shape;
  const direct = standard === undefined ? undefined : commands[standard]!.shape;
  const inherited = direct?.type === "command" ? direct : undefined;
  const node: ProgramNode = {
    ...{ words, summary, synopsis: standard === undefined ? "<command>" : "[command]", examples },
    flags: inherited?.flags ?? {},
    groups: inherited?.groups ?? [],
    environment: inherited?.environment,
    commands: Object.entries(commands).map(([name, inner]) => ({ name, summary: inner.summary })),
  };
  return [node, ...Object.entries(commands).flatMap(([name, inner]) => nodesOf([...words, name], inner))];
}

/** How the value of a flag is completed; undefined = it takes none (a switch). */
export type ValueKind = "file" | "directory" | "interface" | "any" | readonly string[] | undefined;

/** What a shell can offer for the value of a flag. */
export function valueKindOf({ kind, value, choices }: FlagSpec): ValueKind {
  if (kind === "bool") return undefined;
  if (choices !== undefined) return choices;
  if (value === "file") return "file";
  if (value === "dir") return "directory";
  return value === "interface" ? "interface" : "any";
}

/** Whether a command takes the name of a file besides its flags. */
export const takesFile = ({ synopsis }: ProgramNode): boolean =>
  /\bFILE\b/.test(synopsis.replace(/-\S+ FILE/g, ""));

/** "-o" or "--name". */
export const dashed = (name: string): string => (name.length === 1 ? `-${name}` : `--${name}`);
