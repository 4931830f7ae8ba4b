/**
 * Our table as `nft -j list table` prints it (libnftables-json(5)), in the words of table.ts, so that both can be compared.
 * What the listing has and this program never writes makes the declaration differ, so that the table is written anew.
 */

import { formatIp, parseIp } from "../address/ip.ts";
import { addressAt, baseOf, parsePrefix, sizeOf } from "../address/prefix.ts";
import { FlannelError } from "../base/error.ts";
import {
  CUT_CHAIN,
  POLICY_TABLE,
  type TableChain,
  type TableContents,
  type TableRule,
  type TableSet,
} from "./table.ts";

type Json = Readonly<Record<string, unknown>>;
const isJson = (value: unknown): value is Json => typeof value === "object" && value !== null;

/** Throws FlannelError `EBADMSG` if it is no listing of nft's. */
export function readListing(text: string): TableContents {
  let listing: unknown;
  try {
    listing = JSON.parse(text);
  } catch (error) {
    throw new FlannelError("EBADMSG", "failed to read nft's listing: it is no JSON", { cause: error });
  }
  const objects = isJson(listing) ? listing.nftables : undefined;
  if (!Array.isArray(objects))
    throw new FlannelError("EBADMSG", "failed to read nft's listing: no nftables in it");
  const sets = new Map<string, TableSet>();
  const chains = new Map<string, { readonly hook: string; readonly rules: TableRule[] }>();
  for (const object of objects as readonly Json[]) {
    const { set, map, chain, rule } = object as Readonly<Record<string, Json | undefined>>;
    const each = set ?? map ?? chain ?? rule;
    if (each === undefined || `${each.family} ${each.table}` !== POLICY_TABLE) continue;
    if (chain?.name === CUT_CHAIN || rule?.chain === CUT_CHAIN) continue;
    if (chain !== undefined) chains.set(String(chain.name), { hook: hookOf(chain), rules: [] });
    else if (rule !== undefined)
      chains.get(String(rule.chain))?.rules.push({ body: undefined, mark: String(rule.comment ?? "") });
    else sets.set(String(each.name), setOf(each));
  }
  return { sets, chains: chains satisfies ReadonlyMap<string, TableChain> };
}

const hookOf = (chain: Json): string =>
  chain.hook === undefined
    ? ""
    : `type ${chain.type} hook ${chain.hook} priority ${chain.prio}; policy ${chain.policy}`;

function setOf(set: Json): TableSet {
  const flags = [set.flags ?? []].flat() as string[];
  const types = ([set.type].flat() as string[]).join(" . ");
  // nft 1.0.6 lists the type of `ct id` as "integer", and a dynamic set with a timeout as one with a timeout.
  if (types === "integer" || types === "ct_id") return { declaration: "typeof ct id", elements: undefined };
  if (flags.includes("timeout") || flags.includes("dynamic")) {
    const declaration = `type ${types}; flags dynamic, timeout; timeout ${Number(set.timeout) / 3600}h; size ${set.size}; counter`;
    return { declaration, elements: undefined };
  }
  const map = set.map === undefined ? "" : ` : ${set.map}`;
  const flag = flags.length === 0 ? "" : `; flags ${flags.join(", ")}`;
  const elements = (Array.isArray(set.elem) ? set.elem : []).map((element: unknown) =>
    elementOf(element, flags.includes("interval")),
  );
  return { declaration: `type ${types}${map}${flag}`, elements: elements.sort() };
}

/** In the form that table.ts writes; what it never writes comes out as a text that equals nothing. */
function elementOf(element: unknown, isInterval: boolean): string {
  if (Array.isArray(element)) return `${elementOf(element[0], false)} : ${verdictOf(element[1])}`;
  if (!isJson(element)) {
    const text = canonical(element);
    return isInterval ? `${text}-${text}` : text;
  }
  const { elem, concat, range, prefix } = element;
  if (isJson(elem)) return elementOf(elem.val, isInterval);
  if (Array.isArray(concat)) return concat.map((each) => elementOf(each, false)).join(" . ");
  if (Array.isArray(range)) return range.map(canonical).join("-");
  if (isJson(prefix)) {
    const parsed = parsePrefix(`${prefix.addr}/${prefix.len}`);
    if (parsed !== undefined)
      return `${formatIp(baseOf(parsed))}-${formatIp(addressAt(parsed, sizeOf(parsed) - 1n))}`;
  }
  return JSON.stringify(element);
}

/** nft writes IPv6 addresses as inet_ntop(3) does: "::10.5.1.7" is "::a05:107" to others. */
function canonical(value: unknown): string {
  const text = String(value);
  const ip = text.includes(":") ? parseIp(text) : undefined;
  return ip === undefined ? text : formatIp(ip);
}

const verdictOf = (verdict: unknown): string =>
  isJson(verdict) && isJson(verdict.jump) ? `jump ${verdict.jump.target}` : JSON.stringify(verdict);

/** Denied packets since the element exists, of one pod and direction. */
export interface DeniedCount {
  readonly address: string;
  readonly packets: number;
  readonly bytes: number;
}

/** The elements of a set of counters, from `nft -j list set`. Throws as {@link readListing} does. */
export function readCounters(text: string): DeniedCount[] {
  const objects = (JSON.parse(text) as { nftables: readonly Json[] }).nftables;
  const counts: DeniedCount[] = [];
  for (const { set } of objects as readonly Readonly<Record<string, Json | undefined>>[]) {
    for (const element of Array.isArray(set?.elem) ? (set.elem as readonly unknown[]) : []) {
      const elem = isJson(element) ? element.elem : undefined;
      if (!isJson(elem) || !isJson(elem.counter)) continue;
      const { packets, bytes } = elem.counter;
      counts.push({ address: String(elem.val), packets: Number(packets), bytes: Number(bytes) });
    }
  }
  return counts;
}
