/** What subnet.env means for the containers of a host: the bridge takes the subnet's first address, they the next ones. */

import { type Family, formatIp } from "../../address/ip.ts";
import { addressAt } from "../../address/prefix.ts";
import type { ParsedSubnetEnv } from "../../config/subnet-env.ts";

export interface ContainerNetwork {
  readonly mtuBytes: number;
  /** IPv4, then IPv6, as far as they are enabled; at least one. */
  readonly families: readonly FamilyNetwork[];
}

interface FamilyNetwork {
  readonly family: Family;
  /** Address number `offset` of the subnet: "10.5.43.2". */
  addressAt(offset: number): string;
  /** The same with the subnet's length: "10.5.43.2/24". */
  prefixAt(offset: number): string;
  /** Destination of the default route. */
  readonly everything: "0.0.0.0/0" | "::/0";
}

/** Undefined if the file is not complete. */
export function containerNetwork(env: ParsedSubnetEnv): ContainerNetwork | undefined {
  const subnets = [env.subnets.ipv4, env.subnets.ipv6].filter((subnet) => subnet !== undefined);
  const isComplete = env.missing.length === 0 && env.invalid.length === 0 && subnets.length > 0;
  if (!isComplete || env.mtuBytes === undefined) return undefined;
  const families = subnets.map((subnet): FamilyNetwork => {
    const at = (offset: number): string => formatIp(addressAt(subnet, BigInt(offset)));
    return {
      family: subnet.family,
      addressAt: at,
      prefixAt: (offset) => `${at(offset)}/${subnet.length}`,
      everything: subnet.family === 4 ? "0.0.0.0/0" : "::/0",
    };
  });
  return { mtuBytes: env.mtuBytes, families };
}
