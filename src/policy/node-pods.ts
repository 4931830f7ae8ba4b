/** This node's addresses that no known pod has: closed, until a pod has them and its policies are in effect. */

import { type Ip, parseIp } from "../address/ip.ts";
import { addressAt, baseOf, type Prefix, sizeOf } from "../address/prefix.ts";
import type { AddressRange, DesiredFilter } from "./model.ts";

/** The addresses that pods of these subnets can have. Without IPv4's broadcast addresses, which are no pod's. */
export const rangesOfSubnets = (subnets: readonly Prefix[]): AddressRange[] =>
  subnets.flatMap((subnet) => {
    const size = sizeOf(subnet);
    const last = subnet.family === 4 && size > 2n ? size - 2n : size - 1n;
    return [{ first: baseOf(subnet), last: addressAt(subnet, last) }];
  });

/** Whether nothing passes to or from an address. */
export function isClosed({ pods }: DesiredFilter, address: string): boolean {
  if (pods === undefined || pods.addresses.has(address)) return false;
  const ip = parseIp(address);
  return ip !== undefined && pods.ranges.some((range) => isWithin(range, ip));
}

const isWithin = ({ first, last }: AddressRange, ip: Ip): boolean =>
  first.family === ip.family && first.value <= ip.value && ip.value <= last.value;
