/** Flags as text: the usage, and the line at startup that lists the given flags, without secrets. */

import { defaultOf, type FlagSpec, type FlagTable, type ParsedFlags } from "./flags.ts";

/** The usage: `heading` (without a final line end), then every flag with its default. */
export function formatUsage(heading: string, table: FlagTable): string {
  const lines = Object.entries(table).map(([name, spec]) => {
    const placeholder = spec.kind === "bool" ? "" : ` ${spec.value ?? spec.kind}`;
    return `  --${name}${placeholder}\n        ${spec.help}${defaultNote(spec)}\n`;
  });
  return `${heading}\n${lines.join("")}`;
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
    const value = flags.values[name];
    const text = Array.isArray(value) ? value.map(redactUrl).join(",") : redactUrl(String(value));
    const origin = source.startsWith("--") ? "" : ` (${source})`;
    parts.push(`${name}=${table[name]!.secret ? REDACTED : text}${origin}`);
  }
  return parts.length === 0 ? "all flags at their defaults" : parts.join(" ");
}

const REDACTED = "[redacted]";

/**
 * The text with user and password of a URL (RFC 3986 §3.2.1) replaced. Passwords are often not escaped, so everything up
 * to the last "@" is replaced.
 */
export const redactUrl = (text: string): string => text.replace(/:\/\/\S*@/g, `://${REDACTED}@`);

function defaultNote(spec: FlagSpec): string {
  const value = defaultOf(spec);
  const isEmpty = value === "" || value === false || (Array.isArray(value) && value.length === 0);
  if (spec.kind === "repeatable") return " (repeatable)";
  return isEmpty ? "" : ` (default ${String(value)})`;
}
