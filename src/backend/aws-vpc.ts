/**
 * The aws-vpc backend: the VPC's route tables lead each host's subnet to the host's network interface. Reads `RouteTableID`, a
 * string or a list, as Go flannel v0.11.
 */

import type { Members } from "../config/json-members.ts";
import type { BackendModule } from "./backend.ts";
import { routeTableIdsOf } from "./cloud-members.ts";
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
  parse: (members: Members) => ({ type: TYPE, routeTableIds: routeTableIdsOf(members, "rtb-0a1b2c3d") }),
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
