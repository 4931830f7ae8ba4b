/** The routes of a VPC as its router has them: what works now, and what changed since the last look. */

import type { Vpc } from "./vpc.ts";

/** A route that carries packets. */
export interface VpcRoute {
  readonly destination: string;
  /** An address of the target, of the destination's family. */
  readonly via: string;
}

/**
 * The routes of the table that the hosts' subnet uses. A route carries packets if its target exists and does not check source and
 * destination: with the check, the VPC drops packets of other addresses.
 */
export function workingRoutes(vpc: Vpc): VpcRoute[] {
  const tables = [...vpc.tables.values()];
  const table =
    tables.find(({ subnets }) => subnets.has(vpc.subnetId)) ?? tables.find(({ isMain }) => isMain);
  return [...(table?.routes ?? [])].flatMap(([destination, target]) => {
    const eni = vpc.interfaces.get(target);
    const via = eni?.addresses.find((address) => address.includes(":") === destination.includes(":"));
    return eni === undefined || eni.sourceDestCheck || via === undefined ? [] : [{ destination, via }];
  });
}
