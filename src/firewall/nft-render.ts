/** Rules as nft reads them (nft(8)). */

import { formatPrefix } from "../address/prefix.ts";
import type { FirewallFamily } from "./names.ts";
import type { AddressMatch, FirewallRule, Verdict } from "./rules.ts";

const VERDICTS: Readonly<Record<Verdict, string>> = {
  accept: "accept",
  return: "return",
  masquerade: "masquerade",
  "masquerade-random": "masquerade fully-random",
};

/** One rule without its comment. `counter`: "counter ", or nothing. */
export function renderNftRule(family: FirewallFamily, rule: FirewallRule, counter = ""): string {
  const mark = rule.mark === undefined ? "" : `0x${rule.mark.toString(16)}`;
  return [
    renderMatch(family, "saddr", rule.source),
    renderMatch(family, "daddr", rule.destination),
    mark === "" ? "" : `meta mark & ${mark} == ${mark} `,
    counter,
    VERDICTS[rule.verdict],
  ].join("");
}

const renderMatch = (family: FirewallFamily, field: string, match: AddressMatch | undefined): string =>
  match === undefined
    ? ""
    : `${family.nft} ${field} ${match.negated ? "!= " : ""}${formatPrefix(match.prefix)} `;
