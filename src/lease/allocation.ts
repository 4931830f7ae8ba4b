/**
 * Which subnets of a network are free.
 *
 * The subnets from SubnetMin to SubnetMax are numbered 0, 1, 2…; what existing leases of any length cover is a sorted list
 * of number ranges, adjacent ones merged. Finding the first hundred free ones then walks at
 * most a hundred gaps, however many leases there are.
 */

import { FAMILIES } from "../address/family.ts";
import { bitsOf } from "../address/ip.ts";
import { addressAt, type Prefix, prefixOf, sizeOf } from "../address/prefix.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { FamilyConfig } from "../config/network-family.ts";
import type { SubnetPair } from "./lease.ts";

/** From how many of the first free subnets one is drawn, so that hosts that start together seldom collide. */
export const CANDIDATES = 100;

/** Numbers stay exact in a double; no network has so many subnets in use. */
const MAX_SUBNETS = 2n ** 52n;

/** A run of taken subnets, by number, both ends included. */
interface Range {
  first: number;
  last: number;
}

/** The free subnets of one family of a network, as of the leases that it was built from. */
export interface FreeSubnets {
  /** The first free subnets from SubnetMin, at most `limit`. */
  first(limit: number): readonly Prefix[];
  /** Whether the subnet is one that may be leased (right length and bounds) and nothing overlaps it. */
  isFree(subnet: Prefix): boolean;
  /** Marks everything that `prefix` covers as taken. */
  take(prefix: Prefix): void;
}

/** Whether a subnet has the length and the place that the config wants. */
export const isCompatible = (config: FamilyConfig, subnet: Prefix): boolean =>
  subnet.family === config.network.family &&
  subnet.length === config.subnetLength &&
  subnet.base >= config.subnetMin.base &&
  subnet.base <= config.subnetMax.base;

/** Whether a pair has a compatible subnet of each family of the network, and of no other. */
export const isCompatiblePair = (network: NetworkFamilies, pair: SubnetPair): boolean =>
  FAMILIES.every(({ name }) => {
    const config = network[name];
    const subnet = pair[name];
    return config === undefined || subnet === undefined ? config === subnet : isCompatible(config, subnet);
  });

/** The free subnets of one family, given everything that is taken (other families are ignored). */
export function createFreeSubnets(config: FamilyConfig, taken: Iterable<Prefix>): FreeSubnets {
  const { network, subnetLength, subnetMin, subnetMax } = config;
  const shift = BigInt(bitsOf(network.family) - subnetLength);
  const span = ((subnetMax.base - subnetMin.base) >> shift) + 1n;
  const count = Number(span < MAX_SUBNETS ? span : MAX_SUBNETS);

  const numberOf = (address: bigint): number => {
    const offset = (address - subnetMin.base) >> shift; // rounds down, also below SubnetMin
    return offset < 0n ? -1 : Number(offset < MAX_SUBNETS ? offset : MAX_SUBNETS);
  };
  const rangeOf = (prefix: Prefix): Range | undefined => {
    if (prefix.family !== network.family) return undefined;
    const last = numberOf(prefix.base + sizeOf(prefix) - 1n);
    const first = Math.max(0, numberOf(prefix.base));
    return last < 0 || first >= count ? undefined : { first, last: Math.min(last, count - 1) };
  };
  const subnetAt = (index: number): Prefix =>
    prefixOf(addressAt(subnetMin, BigInt(index) << shift), subnetLength);

  const ranges = mergeRanges(Array.from(taken, rangeOf).filter((range) => range !== undefined));

  return {
    first(limit) {
      const free: Prefix[] = [];
      let next = 0;
      for (const range of ranges) {
        while (next < range.first && free.length < limit) free.push(subnetAt(next++));
        if (free.length === limit) return free;
        next = range.last + 1;
      }
      while (next < count && free.length < limit) free.push(subnetAt(next++));
      return free;
    },
    isFree(subnet) {
      if (!isCompatible(config, subnet)) return false;
      const index = numberOf(subnet.base);
      const after = ranges[firstEndingAtOrAfter(ranges, index)];
      return after === undefined || after.first > index;
    },
    take(prefix) {
      const range = rangeOf(prefix);
      if (range !== undefined) insertRange(ranges, range);
    },
  };
}

/**
 * One of the first free subnets at random; undefined if none is free. `attempt` counts from 1: the more races were lost,
 * the more subnets are in the draw (100, 200, 400…), so that a thousand hosts that start at once all find one.
 */
export function drawSubnet(free: FreeSubnets, random: () => number, attempt = 1): Prefix | undefined {
  const candidates = free.first(CANDIDATES * 2 ** (attempt - 1));
  return candidates[Math.floor(random() * candidates.length)];
}

function mergeRanges(ranges: Range[]): Range[] {
  const merged: Range[] = [];
  for (const range of ranges.sort((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1) {
      previous.last = Math.max(previous.last, range.last);
    } else {
      merged.push(range);
    }
  }
  return merged;
}

/** Puts a range in its place, joined with those it overlaps or touches. */
function insertRange(ranges: Range[], range: Range): void {
  const start = firstEndingAtOrAfter(ranges, range.first - 1);
  let end = start;
  while (end < ranges.length && ranges[end]!.first <= range.last + 1) end++;
  const first = Math.min(range.first, ranges[start]?.first ?? range.first);
  const last = Math.max(range.last, ranges[end - 1]?.last ?? range.last);
  ranges.splice(start, end - start, { first, last });
}

/** Index of the first range whose last number is at or after `index`; the length if there is none. */
function firstEndingAtOrAfter(ranges: readonly Range[], index: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle]!.last < index) low = middle + 1;
    else high = middle;
  }
  return low;
}
