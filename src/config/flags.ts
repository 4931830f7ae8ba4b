/**
 * Command-line flags in the manner of Go's `flag` package, declared as data. `-name value`, `-name=value`, `--name value`
 * and `--name=value` mean the same; a bool takes its value only after "="; "--" ends the flags. Every flag can also come
 * from an environment variable (prefix, upper case, "-" → "_"), an empty one counting as unset, and from a file. The
 * command line wins over the environment, and the environment over the file.
 *
 * `docker --env-file` and the arguments of a Kubernetes manifest keep the quotes that a shell or systemd would remove.
 * A pair of quotes around a value, or around an item of a list, is removed and reported, except where the flag is
 * `verbatim`. White space around the value goes with it.
 *
 * The parser checks form only; ranges and addresses are checked by the owner of the flag.
 */

import { suggest } from "./nearest-name.ts";

interface FlagCommon {
  /** One sentence without a full stop, for the usage. */
  readonly help: string;
  /** The value must never be shown. Implies `verbatim`. */
  readonly secret?: true;
  /** Quotes and white space may be part of the value. */
  readonly verbatim?: true;
  /** The name of the value in the usage: "address", "file"…; the kind by default. */
  readonly value?: string;
  /** The values there are, where they can be listed: for completion, the schema and the reference. Not checked here. */
  readonly choices?: readonly string[];
  /** Not from the environment or a file: it says what the program is to do, not how. */
  readonly commandLineOnly?: true;
}

/**
 * A declared flag. A `list` is one comma-separated value; a `repeatable` flag collects one item each time it is given
 * (from the environment: one item).
 */
export type FlagSpec = FlagCommon &
  (
    | { readonly kind: "string"; readonly default?: string }
    | { readonly kind: "bool"; readonly default?: boolean }
    | { readonly kind: "int"; readonly default?: number }
    | { readonly kind: "list"; readonly default?: readonly string[] }
    | { readonly kind: "repeatable" }
  );

/** Flags by name, without dashes, in the order of the usage. */
export type FlagTable = Readonly<Record<string, FlagSpec>>;

interface ValueOfKind {
  string: string;
  bool: boolean;
  int: number;
  list: readonly string[];
  repeatable: readonly string[];
}
type FlagValue = ValueOfKind[keyof ValueOfKind];

/** The value of each flag of the table `T`. */
export type FlagValues<T extends FlagTable> = { readonly [N in keyof T]: ValueOfKind[T[N]["kind"]] };

/** The flags of a command line, with where each came from. */
export interface ParsedFlags<T extends FlagTable> {
  readonly values: FlagValues<T>;
  /** The spelling of each given flag, for messages: "--iface" or "FLANNELD_IFACE". */
  readonly sources: Readonly<{ [N in keyof T]?: string }>;
  /** Arguments that are no flags. */
  readonly positional: readonly string[];
  /** Arguments after "--". */
  readonly rest: readonly string[];
  /** Variables with our prefix that name no flag: probably a typo. */
  readonly unknownVariables: readonly string[];
  /** What was changed in the values, for a warning: "FLANNELD_IFACE: removed the quotes around the value". */
  readonly notes: readonly string[];
}

/** `help`: print the usage (exit code 0). `error`: a message without a line end (exit code 2, as Go does). */
export type FlagResult<T extends FlagTable> =
  | { readonly type: "ok"; readonly flags: ParsedFlags<T> }
  | { readonly type: "help" }
  | { readonly type: "error"; readonly message: string };

/** The variables of a process environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface FlagSource {
  readonly args: readonly string[];
  /** The process environment, and the prefix of our variables in it: "FLANNELD_". */
  readonly environment?: {
    readonly variables: Environment;
    readonly prefix: string;
  };
  /** A file with values of flags; those of other tables are passed over. */
  readonly file?: readonly FileValue[] | undefined;
}

/** The value of a flag in a file, of the form that the flag's kind has there. */
export interface FileValue {
  readonly name: string;
  /** As on the command line; several for a repeatable flag. */
  readonly texts: readonly string[];
  /** For messages: "/etc/flannel/flanneld.yaml:3". */
  readonly source: string;
}

class FlagError extends Error {}

/** Parses `source` by `table`. Never throws and never exits: faults are in the result. */
export function parseFlags<T extends FlagTable>(table: T, source: FlagSource): FlagResult<T> {
  try {
    const given = readArguments(table, source.args);
    if (given === "help") return { type: "help" };
    const unknownVariables = readEnvironment(table, source.environment, given);
    readFileValues(table, source.file ?? [], given);
    const values = Object.fromEntries(
      Object.entries(table).map(([name, spec]) => [name, given.values.get(name) ?? defaultOf(spec)]),
    ) as FlagValues<T>;
    const sources = Object.fromEntries(given.sources) as ParsedFlags<T>["sources"];
    const { positional, rest, notes } = given;
    return { type: "ok", flags: { values, sources, positional, rest, unknownVariables, notes } };
  } catch (error) {
    if (!(error instanceof FlagError)) throw error;
    return { type: "error", message: error.message };
  }
}

/** The name of the environment variable of a flag: ("FLANNELD_", "etcd-endpoints") → "FLANNELD_ETCD_ENDPOINTS". */
export const variableOf = (prefix: string, name: string): string =>
  prefix + name.toUpperCase().replaceAll("-", "_");

/** The words that Go's `strconv.ParseBool` knows; undefined for any other. */
export function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

/** The value of a flag that is not given. */
export function defaultOf(spec: FlagSpec): FlagValue {
  switch (spec.kind) {
    case "string":
      return spec.default ?? "";
    case "bool":
      return spec.default ?? false;
    case "int":
      return spec.default ?? 0;
    case "list":
      return spec.default ?? [];
    case "repeatable":
      return [];
  }
}

interface Given {
  readonly values: Map<string, FlagValue>;
  readonly sources: Map<string, string>;
  readonly positional: string[];
  readonly rest: string[];
  readonly notes: string[];
}

function readArguments(table: FlagTable, args: readonly string[]): Given | "help" {
  const given: Given = { values: new Map(), sources: new Map(), positional: [], rest: [], notes: [] };
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!;
    if (arg === "--") {
      given.rest.push(...args.slice(index + 1));
      break;
    }
    const match = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(arg);
    if (match === null) {
      if (arg.startsWith("-") && arg !== "-") throw new FlagError(`bad flag syntax: ${nameOnly(arg)}`);
      given.positional.push(arg);
      continue;
    }
    const name = match[1]!;
    const spec = specOf(table, name);
    if (spec === undefined) {
      if (name === "h" || name === "help") return "help";
      const near = suggest(name, Object.keys(table));
      throw new FlagError(
        `unknown flag ${nameOnly(arg)}${near === undefined ? "" : ` (did you mean --${near}?)`}`,
      );
    }
    let text = match[2];
    if (text === undefined && spec.kind === "bool") text = "true";
    if (text === undefined) {
      text = args[++index];
      const next = /^--?([^-=]+)/.exec(text ?? "")?.[1];
      if (text === undefined || (next !== undefined && specOf(table, next) !== undefined)) {
        const follower = next === undefined ? "nothing" : `--${next}`;
        throw new FlagError(`--${name} needs a value, but ${follower} follows it`);
      }
    }
    store(given, name, spec, text, `--${name}`);
  }
  return given;
}

function readEnvironment(table: FlagTable, environment: FlagSource["environment"], given: Given): string[] {
  if (environment === undefined) return [];
  const { variables, prefix } = environment;
  const names = Object.keys(table).filter((name) => !table[name]!.commandLineOnly);
  const known = new Map(names.map((name) => [variableOf(prefix, name), name]));
  for (const [variable, name] of known) {
    const text = variables[variable];
    if (text === undefined || isEmpty(table[name]!, text) || given.values.has(name)) continue;
    store(given, name, table[name]!, text, variable);
  }
  return Object.keys(variables).filter((variable) => variable.startsWith(prefix) && !known.has(variable));
}

/** A flag that is given elsewhere keeps that value: those of a repeatable flag are not joined. */
function readFileValues(table: FlagTable, values: readonly FileValue[], given: Given): void {
  const elsewhere = new Set(given.values.keys());
  for (const { name, texts, source } of values) {
    const spec = specOf(table, name);
    if (spec === undefined || spec.commandLineOnly || elsewhere.has(name)) continue;
    for (const text of texts) store(given, name, spec, text, source);
  }
}

function store(given: Given, name: string, spec: FlagSpec, text: string, source: string): void {
  const plain = isVerbatim(spec) ? text : spec.kind === "list" ? unquoteItems(text) : unquote(text.trim());
  if (countQuotes(plain) < countQuotes(text)) {
    given.notes.push(`${source}: removed the quotes around the value; leave them out`);
  }
  const value = convert(spec, plain, source);
  const earlier = given.values.get(name);
  given.values.set(name, spec.kind === "repeatable" ? [...((earlier ?? []) as string[]), plain] : value);
  given.sources.set(name, source);
}

/** Whether a variable counts as unset: empty, also between quotes. */
const isEmpty = (spec: FlagSpec, text: string): boolean =>
  text === "" || (!isVerbatim(spec) && unquote(text.trim()) === "");

const isVerbatim = ({ secret, verbatim }: FlagSpec): boolean => secret === true || verbatim === true;

/** Without the pair of quotes around the text, however many pairs there are. */
function unquote(text: string): string {
  const inner = /^(["'])(.*)\1$/s.exec(text)?.[2];
  return inner === undefined ? text : unquote(inner.trim());
}

/** Of a comma-separated list: without quotes around the list and around its items. */
function unquoteItems(text: string): string {
  const whole = /^(["'])((?:(?!\1).)*)\1$/s.exec(text.trim())?.[2] ?? text;
  return whole
    .split(",")
    .map((item) => unquote(item.trim()))
    .filter((item) => item !== "")
    .join(",");
}

const countQuotes = (text: string): number => text.replace(/[^"']/g, "").length;

function convert(spec: FlagSpec, text: string, source: string): FlagValue {
  switch (spec.kind) {
    case "bool": {
      const value = parseBool(text);
      if (value !== undefined) return value;
      throw new FlagError(`${source}: ${JSON.stringify(text)} is neither true nor false`);
    }
    case "int": {
      const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
      if (Number.isSafeInteger(value)) return value;
      throw new FlagError(`${source}: ${JSON.stringify(text)} is not a whole number`);
    }
    case "list":
      return text
        .split(",")
        .map((item) => item.trim())
        .filter((item) => item !== "");
    case "string":
    case "repeatable":
      return text;
  }
}

const specOf = (table: FlagTable, name: string): FlagSpec | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

/** The flag without its value, which may be a secret whose flag is misspelt. */
const nameOnly = (arg: string): string => arg.replace(/=.*/s, "");
