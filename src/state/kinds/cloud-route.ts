/** Routes to this host's subnets in a cloud's route tables. Held by cloud/cloud-route-provider.ts. */

import type { ObjectKind } from "../object-kind.ts";

/** One route in one table. */
export interface CloudRouteEntry {
  readonly kind: "cloud-route";
  /** The backend's type: "aws-vpc". */
  readonly cloud: string;
  /** The table's id; "" = the table that the cloud associates with this host. */
  readonly table: string;
  /** "10.5.3.0/24". */
  readonly destination: string;
  /** Where it leads: an address of this host ("192.0.2.11"), or of a foreign route what the cloud says ("eni-0a1b"). */
  readonly target: string;
  /** Fingerprint of the access key of the network config; "" = environment, or a role of the instance. */
  readonly accessKeyId: string;
}

/** Key: table and destination. It depends on no device. */
export const cloudRoute: ObjectKind<CloudRouteEntry> = {
  kind: "cloud-route",
  key: ({ table, destination }) => `cloud-route ${table} ${destination}`,
  device: () => "",
  describe: ({ cloud, table, destination, target }) =>
    `cloud-route ${destination} to ${target} in ${cloud} ${table === "" ? "table of this host" : `table ${table}`}`,
};
