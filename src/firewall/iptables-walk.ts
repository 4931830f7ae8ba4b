/** Reads rules of `iptables-save` (iptables-extensions(8)) for the walk: what they match, and what they do. */

import { parsePrefix } from "../address/prefix.ts";
import { ruleArguments, type SavedChain } from "./iptables-save.ts";
import type { ChainReader, Effect, Match, WalkRule } from "./walk.ts";

/** Reads the chains of one table, each when it is first asked for. */
export function iptablesChains(chains: ReadonlyMap<string, SavedChain>): ChainReader {
  const read = new Map<string, readonly WalkRule[]>();
  return (name) => {
    const known = read.get(name);
    if (known !== undefined) return known;
    const chain = chains.get(name);
    if (chain === undefined) return undefined;
    const rules = chain.rules.map(readIptablesRule);
    read.set(name, rules);
    return rules;
  };
}

/** Targets that decide; any other that is no chain changes the packet or logs it. */
const TARGETS: Readonly<Record<string, Effect>> = {
  ACCEPT: { kind: "accept" },
  DROP: { kind: "drop" },
  REJECT: { kind: "drop" },
  RETURN: { kind: "return" },
};

/** Never fails: what is not known becomes a match that cannot be decided. */
export function readIptablesRule(text: string): WalkRule {
  const args = ruleArguments(text);
  const matches: Match[] = [];
  let negated = false;
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!;
    const value = args[index + 1] ?? "";
    if (arg === "!") {
      negated = true;
      continue;
    }
    if (arg === "-j" || arg === "-g") {
      const effect =
        arg === "-g" ? { kind: "goto" as const, chain: value } : (TARGETS[value] ?? jumpTo(value));
      return { text, matches, effect };
    }
    if (arg === "-m" || arg === "--comment") {
      index++; // the name of a module, or any text
      continue;
    }
    matches.push(readMatch(arg, value, negated));
    negated = false;
    // options have no, one or more values
    while (index + 1 < args.length && !args[index + 1]!.startsWith("-") && args[index + 1] !== "!") index++;
  }
  return { text, matches, effect: { kind: "next" } };
}

const jumpTo = (chain: string): Effect => ({ kind: "jump", chain });

function readMatch(option: string, value: string, negated: boolean): Match {
  switch (option) {
    case "-s":
    case "-d":
      return {
        kind: "address",
        side: option === "-s" ? "source" : "destination",
        prefixes: [parsePrefix(value)],
        negated,
      };
    case "-i":
    case "-o":
      return { kind: "interface", side: option === "-i" ? "in" : "out", names: [value], negated };
    case "-p":
      return { kind: "protocol", names: [value], negated };
    case "--ctstate":
    case "--state": {
      const states = value.split(",");
      // DNAT and SNAT are states of a translation, which a new connection may have
      if (states.every((state) => state === "DNAT" || state === "SNAT"))
        return { kind: "translated", negated };
      if (states.some((state) => state === "DNAT" || state === "SNAT")) return { kind: "other" };
      return { kind: "state", includesNew: states.includes("NEW") !== negated };
    }
    case "--dport":
    case "--dports":
    case "--sport":
    case "--sports":
      return {
        kind: "port",
        side: option.startsWith("--d") ? "destination" : "source",
        protocol: undefined,
        ranges: value.split(",").map(rangeOf),
        negated,
      };
    case "--dst-type":
      return { kind: "destination-type", types: value.toLowerCase().split(","), negated };
    case "--match-set":
      return { kind: "set" };
    default:
      return { kind: "other" };
  }
}

/** "53", "8000:9000", ":1023". */
function rangeOf(text: string): [number, number] {
  const [first = "", last] = text.split(":");
  return [Number(first), last === undefined ? Number(first) : Number(last || 65535)];
}
