/**
 * The ali-vpc backend: route tables of the Alibaba Cloud VPC lead each host's subnet to the host's instance. Reads `AccessKeyID` and
 * `AccessKeySecret`, as Go flannel, and `RouteTableID`, a string or a list, as aws-vpc.
 */

import type { Family } from "../address/ip.ts";
import type { Members } from "../config/json-members.ts";
import type { BackendModule } from "./backend.ts";
import { accessKeyOf, type ConfiguredAccessKey, requireIpv4, routeTableIdsOf } from "./cloud-members.ts";
import { createCloudRoutesBackend } from "./cloud-routes.ts";

const TYPE = "ali-vpc";
const EXAMPLE = "vtb-bp145q7glnuzdv";

/** The members of `Backend`. */
export interface AliVpcConfig extends ConfiguredAccessKey {
  readonly type: typeof TYPE;
  /** Ids of route tables; empty = that of the host's vSwitch. */
  readonly routeTableIds: readonly string[];
}

/** The module of the type `ali-vpc`: no devices. `parse` throws ConfigError for IPv6 and a malformed RouteTableID. */
export const aliVpc: BackendModule<AliVpcConfig> = {
  type: TYPE,
  devices: [],
  parse(members: Members, families: readonly Family[]) {
    requireIpv4(TYPE, families);
    return { type: TYPE, routeTableIds: routeTableIdsOf(members, EXAMPLE), ...accessKeyOf(members) };
  },
  deviceNames: () => [],
  create: ({ routeTableIds, accessKey, keyNotes }, context) =>
    createCloudRoutesBackend(
      {
        ...{ type: TYPE, tables: routeTableIds, accessKey, notes: keyNotes },
        fixedMembers: { RouteTableID: routeTableIds.join(",") || "(detected)" },
      },
      context,
    ),
};
