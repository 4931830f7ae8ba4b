/** Ranges of ports and addresses joined into as few as possible: what an interval set of nftables accepts. */

import { formatIp } from "../address/ip.ts";
import type { AddressRange } from "./model.ts";

interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** In order; overlapping and adjacent ranges are one. */
export function joinPorts(ranges: readonly PortRange[]): PortRange[] {
  const joined: PortRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.first - b.first)) {
    const previous = joined.at(-1);
    if (previous === undefined || range.first > previous.last + 1) joined.push(range);
    else if (range.last > previous.last)
      joined[joined.length - 1] = { first: previous.first, last: range.last };
  }
  return joined;
}

/** Ranges of one family: in order; overlapping and adjacent ranges are one. */
export function joinAddresses(ranges: readonly AddressRange[]): AddressRange[] {
  const joined: AddressRange[] = [];
  for (const range of ranges.toSorted((a, b) => (a.first.value < b.first.value ? -1 : 1))) {
    const previous = joined.at(-1);
    if (previous === undefined || range.first.value > previous.last.value + 1n) joined.push(range);
    else if (range.last.value > previous.last.value)
      joined[joined.length - 1] = { first: previous.first, last: range.last };
  }
  return joined;
}

/** "10.0.0.0-10.0.0.255", as elements of an `address-ranges` set. */
export const formatRange = ({ first, last }: AddressRange): string => `${formatIp(first)}-${formatIp(last)}`;
