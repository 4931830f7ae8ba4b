/** Flags as text: the usage, and the line at startup that lists the given flags, without secrets. */

import { defaultOf, type FlagSpec, type FlagTable, type ParsedFlags, variableOf } from "./flags.ts";

/** A heading and the names of the flags below it. */
export interface FlagGroup {
  readonly title: string;
  readonly names: readonly string[];
}

/** What a usage says besides the flags themselves. */
export interface UsageText {
  /** Before the flags: what the program does, and its synopsis. */
  readonly heading: string;
  /** Flags that are in no group come first, without a title. */
  readonly groups?: readonly FlagGroup[] | undefined;
  /** The prefix of the flags' variables, and the flags that have one (by default all). */
  readonly environment?:
    | { readonly prefix: string; readonly names?: readonly string[] | undefined }
    | undefined;
  readonly examples?: readonly Example[] | undefined;
  /** Further paragraphs at the end. */
  readonly notes?: readonly string[] | undefined;
}

/** A command line that does something useful, and what that is. */
export interface Example {
  readonly text: string;
  readonly line: string;
}

/** The usage: each flag with the name of its variable, its meaning and its default; ends with a line end. */
export function formatUsage(table: FlagTable, usage: UsageText): string {
  const { heading, examples = [], notes = [], environment } = usage;
  const sections = groupFlags(table, usage.groups).map(({ title, names }) => {
    const lines = names.map((name) => flagLines(name, table[name]!, environment));
    return `${title === "" ? "" : `${title}:\n`}${lines.join("")}`;
  });
  const shown = examples.map(({ text, line }) => `  # ${text}\n  ${line}\n`).join("");
  const ends = [
    ...(examples.length === 0 ? [] : [`Examples:\n${shown}`]),
    ...(notes.length === 0 ? [] : [notes.map((note) => `${note}\n`).join("")]),
  ];
  const isGrouped = sections.length > 1;
  return [`${heading}\n${isGrouped ? "\n" : ""}${sections.join("\n")}`, ...ends].join("\n");
}

/** All flags of the table in groups: first those that are in no group, with an empty title. */
export function groupFlags(table: FlagTable, groups: readonly FlagGroup[] = []): FlagGroup[] {
  const grouped = new Set(groups.flatMap(({ names }) => names));
  const others = Object.keys(table).filter((name) => !grouped.has(name));
  const present = groups.map(({ title, names }) => ({
    title,
    names: names.filter((name) => Object.hasOwn(table, name)),
  }));
  return [{ title: "", names: others }, ...present].filter(({ names }) => names.length > 0);
}

/**
 * The flags that were given, each with its value and where it came from: "iface=eth1 (FLANNELD_IFACE)". Secrets are
 * replaced, also a password inside a URL; the text is safe to log.
 */
export function describeFlags<T extends FlagTable>(table: T, flags: ParsedFlags<T>): string {
  const parts: string[] = [];
  for (const name of Object.keys(table)) {
    const source = flags.sources[name];
    if (source === undefined) continue;
    const value = showValue(table[name]!, flags.values[name]);
    const origin = source.startsWith("--") ? "" : ` (${source})`;
    parts.push(`${name}=${Array.isArray(value) ? value.join(",") : String(value)}${origin}`);
  }
  return parts.length === 0 ? "all flags at their defaults" : parts.join(" ");
}

const REDACTED = "[redacted]";

/** The value of a flag with secrets replaced; an empty secret stays empty. */
export function showValue<V>(spec: FlagSpec, value: V): V | string {
  if (spec.secret) return value === "" ? value : REDACTED;
  if (Array.isArray(value)) return value.map((item) => redactUrl(String(item))) as V;
  return typeof value === "string" ? redactUrl(value) : value;
}

/**
 * The text with user and password of a URL (RFC 3986 §3.2.1) replaced. Passwords are often not escaped, so everything up
 * to the last "@" is replaced.
 */
export const redactUrl = (text: string): string => text.replace(/:\/\/\S*@/g, `://${REDACTED}@`);

/** The value's name in the usage: "file", "urls"…; empty for a switch. */
export const placeholderOf = (spec: FlagSpec): string =>
  spec.kind === "bool" ? "" : (spec.value ?? spec.kind);

/** "(default …)", "(repeatable)", or nothing. */
export function defaultNote(spec: FlagSpec): string {
  const value = defaultOf(spec);
  const isEmpty = value === "" || value === false || (Array.isArray(value) && value.length === 0);
  if (spec.kind === "repeatable") return "(repeatable)";
  return isEmpty ? "" : `(default ${String(value)})`;
}

function flagLines(name: string, spec: FlagSpec, environment: UsageText["environment"]): string {
  const placeholder = placeholderOf(spec);
  const hasVariable = !spec.commandLineOnly && (environment?.names?.includes(name) ?? true);
  const variable =
    environment === undefined || !hasVariable ? "" : `  [${variableOf(environment.prefix, name)}]`;
  const dashes = name.length === 1 ? "-" : "--";
  const note = defaultNote(spec);
  return `  ${dashes}${name}${placeholder === "" ? "" : ` ${placeholder}`}${variable}\n        ${spec.help}${note === "" ? "" : ` ${note}`}\n`;
}
