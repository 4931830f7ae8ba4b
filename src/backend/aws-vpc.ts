/**
 * The aws-vpc backend: the VPC's route tables lead each host's subnet to the host's network interface. Reads `RouteTableID`, a
 * string or a list, as Go flannel v0.11.
 */

import { ConfigError } from "../base/error.ts";
import { type Members, readMember } from "../config/json-members.ts";
import type { BackendModule } from "./backend.ts";
import { createCloudRoutesBackend } from "./cloud-routes.ts";

const TYPE = "aws-vpc";

/** The members of `Backend`. */
export interface AwsVpcConfig {
  readonly type: typeof TYPE;
  /** Ids of route tables; empty = the table of the host's VPC subnet, or the VPC's main one. */
  readonly routeTableIds: readonly string[];
}

/** The module of the type `aws-vpc`: no devices. `parse` throws ConfigError for a malformed RouteTableID. */
export const awsVpc: BackendModule<AwsVpcConfig> = {
  type: TYPE,
  devices: [],
  parse: (members: Members) => ({ type: TYPE, routeTableIds: routeTableIdsOf(members) }),
  deviceNames: () => [],
  create: ({ routeTableIds }, context) =>
    createCloudRoutesBackend(
      {
        type: TYPE,
        tables: routeTableIds,
        fixedMembers: { RouteTableID: routeTableIds.join(",") || "(detected)" },
      },
      context,
    ),
};

function routeTableIdsOf(members: Members): readonly string[] {
  const value = readMember(members, "RouteTableID");
  if (value === undefined || value === null || value === "") return [];
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  for (const id of ids) {
    if (typeof id === "string" && /^rtb-[0-9a-zA-Z]{1,40}$/.test(id)) continue;
    throw new ConfigError(
      `network config: Backend.RouteTableID must be the id of a route table ("rtb-0a1b2c3d") or a list of them, not ${JSON.stringify(id).slice(0, 60)}`,
    );
  }
  return [...new Set(ids as readonly string[])];
}
