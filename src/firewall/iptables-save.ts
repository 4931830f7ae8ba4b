/** Reads the output of `iptables-save` (iptables-save(8)); one parser for iptables-legacy, iptables-nft and both families. */

import { parsePrefix } from "../address/prefix.ts";
import { type FirewallRule, outside, rule, type Verdict, within } from "./rules.ts";

/** A chain as `iptables-save` prints it. */
export interface SavedChain {
  /** "ACCEPT", "DROP"; "-" for a chain that is not built in. */
  readonly policy: string;
  /** Rules without "-A CHAIN ", as printed. */
  readonly rules: string[];
}

/** Table name → chain name → chain. */
export type SavedTables = ReadonlyMap<string, ReadonlyMap<string, SavedChain>>;

/** Parses a dump. Other lines (comments, warnings) are skipped. */
export function parseIptablesSave(text: string): SavedTables {
  const tables = new Map<string, Map<string, SavedChain>>();
  let chains = new Map<string, SavedChain>();
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      chains = new Map();
      tables.set(line.slice(1).trim(), chains);
    } else if (line.startsWith(":")) {
      const [name = "", policy = "-"] = line.slice(1).split(" ");
      chains.set(name, { policy, rules: [] });
    } else {
      const appended = /^-A (\S+) (.*)$/.exec(line);
      if (appended !== null) chains.get(appended[1]!)?.rules.push(appended[2]!.trim());
    }
  }
  return tables;
}

/**
 * Tables that iptables-nft did not print because they contain rules that only nft understands. Its restore would still
 * write to them: a table that cannot be read must not be written.
 */
export const unreadableTables = (text: string): string[] =>
  [...text.matchAll(/^# Table `(\S+)' is incompatible/gm)].map((found) => found[1]!);

/** Splits a rule into its arguments, without quotes. */
export function ruleArguments(text: string): string[] {
  const words = text.match(/"(?:\\.|[^"\\])*"|\S+/g) ?? [];
  return words.map((word) => (word.startsWith('"') ? word.slice(1, -1).replace(/\\(.)/g, "$1") : word));
}

/** A rule's arguments and its comment apart. */
export interface SplitRule {
  readonly comment: string | undefined;
  /** The arguments without the comment match. */
  readonly args: readonly string[];
}

/** Splits a rule of {@link SavedChain}; quoted arguments are unquoted. Without a comment all arguments remain. */
export function splitComment(text: string): SplitRule {
  const args = ruleArguments(text);
  const at = args.indexOf("--comment");
  if (at < 0) return { comment: undefined, args };
  const start = args[at - 1] === "comment" && args[at - 2] === "-m" ? at - 2 : at;
  return { comment: args[at + 1], args: [...args.slice(0, start), ...args.slice(at + 2)] };
}

const VERDICTS: Readonly<Record<string, Verdict>> = {
  ACCEPT: "accept",
  RETURN: "return",
  MASQUERADE: "masquerade",
  "MASQUERADE --random-fully": "masquerade-random",
};

/** The meaning of a rule; undefined if it has anything that flanneld's rules never have. */
export function parseIptablesRule(text: string): FirewallRule | undefined {
  const { args } = splitComment(text);
  const match: { source?: FirewallRule["source"]; destination?: FirewallRule["destination"]; mark?: number } =
    {};
  let negated = false;
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!;
    if (arg === "!") {
      negated = true;
    } else if (arg === "-s" || arg === "-d") {
      const prefix = parsePrefix(args[++index] ?? "");
      if (prefix === undefined) return undefined;
      match[arg === "-s" ? "source" : "destination"] = negated ? outside(prefix) : within(prefix);
      negated = false;
    } else if (arg === "-m" && args[index + 1] === "mark" && args[index + 2] === "--mark" && !negated) {
      const [value, mask] = (args[index + 3] ?? "").split("/").map(Number);
      if (value === undefined || value !== mask) return undefined;
      match.mark = value;
      index += 3;
    } else if (arg === "-j" && !negated) {
      const verdict = VERDICTS[args.slice(index + 1).join(" ")];
      return verdict && rule(verdict, match);
    } else {
      return undefined;
    }
  }
  return undefined;
}
