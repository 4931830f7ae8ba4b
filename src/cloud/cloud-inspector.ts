/** Cloud routes for one command of an operator: listed when asked, deleted at once. Nothing of the instance is changed. */

import type { Prefix } from "../address/prefix.ts";
import type { CloudRouteEntry } from "../state/kinds/cloud-route.ts";
import { keyOf } from "../state/objects.ts";
import { isWithin } from "../state/operation.ts";
import type { Cloud } from "./cloud.ts";
import { entryOf } from "./route-view.ts";

/** A route that concerns this host: its own, a foreign one in a place that it claims, or a blackhole. */
interface InspectedRoute {
  readonly entry: CloudRouteEntry;
  /** Deletes it. Throws CloudError. */
  delete(): Promise<void>;
}

/** What to ask the cloud for. */
interface Inspection {
  /** The backend's type. */
  readonly type: string;
  /** Ids of route tables that the network config names. */
  readonly tables: readonly string[];
  readonly networks: readonly Prefix[];
  /** What this host desires; empty = nothing. */
  readonly claims: readonly CloudRouteEntry[];
}

/** Lists the routes that concern this host. Throws CloudError. */
export async function inspectCloud(
  cloud: Cloud,
  { type, tables, networks, claims }: Inspection,
  signal: AbortSignal,
): Promise<InspectedRoute[]> {
  const host = await cloud.identify(signal);
  const routes = await cloud.list(host, networks, signal);
  const accessKeyId = claims[0]?.accessKeyId ?? "";
  const byKey = new Map(claims.map((claim) => [keyOf(claim), claim]));
  return routes.flatMap((route) => {
    if (!isWithin(route.destination, networks)) return [];
    const table = tables.includes(route.table) ? route.table : "";
    const { destination } = route;
    const place = { kind: "cloud-route", cloud: type, table, destination, target: "", accessKeyId } as const;
    const entry = entryOf(route, byKey.get(keyOf(place)), place);
    return entry === undefined ? [] : [{ entry, delete: () => cloud.delete(host, route, signal) }];
  });
}
