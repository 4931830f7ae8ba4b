/**
 * The gce backend: routes of the Google Compute Engine network lead each host's subnet to the host's instance. It has no members of
 * its own, as in Go flannel v0.11.
 */

import type { Family } from "../address/ip.ts";
import type { Members } from "../config/json-members.ts";
import type { BackendModule } from "./backend.ts";
import { requireIpv4 } from "./cloud-members.ts";
import { createCloudRoutesBackend } from "./cloud-routes.ts";

const TYPE = "gce";

/** The members of `Backend`: none. */
export interface GceConfig {
  readonly type: typeof TYPE;
}

/** The module of the type `gce`: no devices. `parse` throws ConfigError for IPv6. */
export const gce: BackendModule<GceConfig> = {
  type: TYPE,
  devices: [],
  parse(_members: Members, families: readonly Family[]) {
    requireIpv4(TYPE, families);
    return { type: TYPE };
  },
  deviceNames: () => [],
  create: (_config, context) =>
    createCloudRoutesBackend({ type: TYPE, tables: [], fixedMembers: {} }, context),
};
