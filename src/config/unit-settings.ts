/**
 * The settings of flanneld's systemd unit, as flannelctl reads them: systemd's EnvironmentFile format (systemd.exec(5)), and
 * the variables of Go flannel's packages as variables of flanneld's flags.
 */

import { type Environment, parseFlags, variableOf } from "./flags.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS } from "./options-table.ts";

/** The files of the unit, in its order: the later one takes precedence. */
export const UNIT_SETTINGS_FILES = ["/etc/sysconfig/flanneld", "/etc/default/flanneld"] as const;

/** By their flags. The second names are those of Go flannel's first packages. */
const VARIABLES = {
  "etcd-endpoints": ["FLANNEL_ETCD_ENDPOINTS", "FLANNEL_ETCD"],
  "etcd-prefix": ["FLANNEL_ETCD_PREFIX", "FLANNEL_ETCD_KEY"],
};

/**
 * The variables that these texts of settings files give flanneld, as FLANNELD_… variables: those in FLANNEL_OPTIONS take
 * precedence, as they do on its command line. A flag that is given several times is left out: a variable holds one value.
 * Options that flanneld would refuse are left out too.
 */
export function readUnitSettings(texts: readonly string[]): Environment {
  const variables: Record<string, string> = {};
  for (const text of texts) Object.assign(variables, parseEnvironmentFile(text));
  for (const [flag, names] of Object.entries(VARIABLES)) {
    const value = names.map((name) => variables[name]).find((text) => text !== undefined && text !== "");
    if (value !== undefined) variables[variableOf(ENVIRONMENT_PREFIX, flag)] = value;
  }
  const parsed = parseFlags(FLANNELD_FLAGS, { args: splitWords(variables.FLANNEL_OPTIONS ?? "") });
  if (parsed.type !== "ok") return variables;
  for (const name of Object.keys(parsed.flags.sources)) {
    const value = parsed.flags.values[name as keyof typeof FLANNELD_FLAGS];
    const isRepeated = FLANNELD_FLAGS[name as keyof typeof FLANNELD_FLAGS].kind === "repeatable";
    if (isRepeated && Array.isArray(value) && value.length > 1) continue;
    variables[variableOf(ENVIRONMENT_PREFIX, name)] = Array.isArray(value) ? value.join(",") : String(value);
  }
  return variables;
}

/** Variables by name. Comments, lines without "=" and names that no shell accepts are ignored, as systemd does. */
export function parseEnvironmentFile(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  // A value begins with quoted parts, which may go on over lines, or has none: a later quote is a character like others.
  const line =
    /^[ \t]*([A-Za-z_]\w*)=[ \t]*((?:(?:"(?:\\[\s\S]|[^"\\])*"|'[^']*')[ \t]*)*)((?:\\[\s\S]|[^\\\n])*)/gm;
  for (const [, name, quoted, plain] of text.replaceAll("\r\n", "\n").matchAll(line)) {
    const parts = quoted!.match(QUOTED) ?? [];
    variables[name!] = parts.map(unquote).join("") + withoutBackslashes(plain!.trimEnd());
  }
  return variables;
}

/** The words of a value, as systemd splits `$FLANNEL_OPTIONS`: at white space, except within quotes. */
function splitWords(text: string): string[] {
  const words = text.match(/(?:"(?:\\[\s\S]|[^"\\])*"|'[^']*'|\\[\s\S]|[^\s"'\\])+/g) ?? [];
  return words.map(unquote);
}

const QUOTED = /"(?:\\[\s\S]|[^"\\])*"|'[^']*'/g;

const withoutBackslashes = (text: string): string =>
  text.replace(/\\([\s\S])/g, (_, character: string) => (character === "\n" ? "" : character));

/** Without quotes and backslashes. In double quotes a backslash stays before other characters than these. */
const unquote = (text: string): string =>
  text.replace(
    /"((?:\\[\s\S]|[^"\\])*)"|'([^']*)'|\\([\s\S])/g,
    (_, double?: string, single?: string, escaped?: string) =>
      double?.replace(/\\(["\\`$\n])/g, (_, character: string) => (character === "\n" ? "" : character)) ??
      single ??
      (escaped === "\n" ? "" : (escaped ?? "")),
  );
