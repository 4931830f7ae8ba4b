/** An `ipBlock` of a policy as ranges of addresses: the block without its exceptions. */

import type { Ip } from "../address/ip.ts";
import { containsPrefix, type Prefix, parsePrefix, sizeOf } from "../address/prefix.ts";
import type { AddressRange, PolicyPeer } from "./model.ts";
import { hasUnknownMembers, isObject, type ReportProblem, show } from "./parse-selector.ts";

/** Undefined, and reported, if any part of it is malformed: half an exception would allow too much. */
export function parseBlock(value: unknown, path: string, report: ReportProblem): PolicyPeer | undefined {
  const refuse = (problem: string): undefined => report(path, `${problem}; it allows nothing`) as undefined;
  if (!isObject(value)) return refuse(`${show(value)} is no ipBlock`);
  if (hasUnknownMembers(value, ["cidr", "except"], path, report)) return undefined;
  const block = typeof value.cidr === "string" ? parsePrefix(value.cidr) : undefined;
  if (block === undefined) return refuse(`cidr ${show(value.cidr)} is no prefix such as 10.0.0.0/8`);
  const list: unknown = value.except ?? [];
  if (!Array.isArray(list)) return refuse(`except ${show(list)} is no list`);
  const exceptions: Prefix[] = [];
  for (const each of list as readonly unknown[]) {
    const prefix = typeof each === "string" ? parsePrefix(each) : undefined;
    if (prefix === undefined) return refuse(`except ${show(each)} is no prefix such as 10.1.0.0/16`);
    if (!containsPrefix(block, prefix) || prefix.length === block.length)
      return refuse(`except ${show(each)} is not inside of ${show(value.cidr)}`);
    exceptions.push(prefix);
  }
  return { kind: "block", family: block.family, ranges: subtract(block, exceptions) };
}

/** What is left of a block, in order. */
function subtract(block: Prefix, exceptions: readonly Prefix[]): AddressRange[] {
  const { family } = block;
  const ip = (value: bigint): Ip => ({ family, value });
  const ranges: AddressRange[] = [];
  let next = block.base;
  for (const each of exceptions.toSorted((a, b) => (a.base < b.base ? -1 : a.base > b.base ? 1 : 0))) {
    if (each.base > next) ranges.push({ first: ip(next), last: ip(each.base - 1n) });
    const after = each.base + sizeOf(each);
    if (after > next) next = after;
  }
  const end = block.base + sizeOf(block);
  if (next < end) ranges.push({ first: ip(next), last: ip(end - 1n) });
  return ranges;
}
