/** Cloud routes for `flannelctl plan` and `flannelctl cleanup --cloud`: asked of the cloud's API with this host's rights. */

import type { Prefix } from "../address/prefix.ts";
import { FlannelError, messageOf } from "../base/error.ts";
import type { CloudRouteEntry } from "../state/kinds/cloud-route.ts";
import { describeObject } from "../state/objects.ts";
import type { Target } from "../state/target.ts";
import type { HostKernel, InspectedRoute } from "./operate-ports.ts";

/** What is there of the cloud routes that a plan desires. */
export interface ObservedCloud {
  readonly observed: readonly CloudRouteEntry[];
  /** Whether the cloud was asked, and answered. */
  readonly isKnown: boolean;
  readonly problems: readonly string[];
}

/** Never rejects: without an answer the desired routes are problems. */
export async function observeCloud(host: HostKernel, { state, ownership }: Target): Promise<ObservedCloud> {
  const claims = [...state.values()].filter((object) => object.kind === "cloud-route");
  const [first] = claims;
  if (first === undefined) return { observed: [], isKnown: false, problems: [] };
  try {
    const routes = await host.inspectCloud({
      ...{ type: first.cloud, networks: ownership.networks, claims },
      addresses: [...new Set(claims.map(({ target }) => target))],
      tables: [...new Set(claims.flatMap(({ table }) => (table === "" ? [] : [table])))],
    });
    return { observed: routes.map(({ entry }) => entry), isKnown: true, problems: [] };
  } catch (error) {
    if (!(error instanceof FlannelError)) throw error;
    const why = messageOf(error);
    return {
      ...{ observed: [], isKnown: false },
      problems: claims.map((claim) => `not compared: ${describeObject(claim)}: ${why}`),
    };
  }
}

/** The routes of this host, and those whose target no longer exists. Rejects with FlannelError. */
export function findCloudLeftovers(
  host: HostKernel,
  {
    type,
    tables,
    networks,
  }: { readonly type: string; readonly tables: readonly string[]; readonly networks: readonly Prefix[] },
): Promise<readonly InspectedRoute[]> {
  const addresses = host.rtnetlink
    .addresses()
    .filter(({ scope }) => scope === 0)
    .map(({ address }) => address);
  return host.inspectCloud({ type, tables, networks, claims: [], addresses });
}
