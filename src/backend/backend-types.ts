/**
 * Which backends the leases of a cluster run. Two rules:
 *
 * - A network config without a backend means what the cluster runs: the type that most leases name, among those that this
 *   version has; of equally many vxlan, then the first by name; vxlan if there are no leases (W12). Go flannel would
 *   run udp, and its udp leases name no type.
 * - Hosts of different types have no routes to each other. Each other type among the peers is reported.
 *
 * A lease without a type is a udp host's, or one of this host's own cloud: the backends of Go flannel that name none besides udp
 * (alloc, the clouds) need a `Backend` in the config, and program no host. A reservation that no host has claimed names no type either; it never expires and is no host.
 */

import type { DefaultBackend } from "../config/network-config.ts";
import type { Lease } from "../lease/lease.ts";
import { encodeLeaseKey } from "../lease/lease-codec.ts";

const FALLBACK = "vxlan";
/** The type of leases that name none. */
const UNNAMED = "udp";
/** The types of hosts whose leases name none, as in Go flannel. */
const TYPES_WITHOUT_NAME: ReadonlySet<string> = new Set([
  UNNAMED,
  "aws-vpc",
  "gce",
  "ali-vpc",
  "tencent-vpc",
]);
/** The type of hosts that route to no peer of any type. */
const WITHOUT_ROUTES = "alloc";
/** How many peers of another type are named. */
const MAX_NAMED = 3;

/** The backend type of the host that has this lease; undefined = a reservation that perhaps no host has claimed. */
function typeOfLease({ key, subnets, attributes, renewedAt }: Lease): string | undefined {
  if (attributes.backendType !== "") return attributes.backendType.toLowerCase();
  // In Kubernetes, where nothing is renewed, keys are names of nodes.
  const isReservation = renewedAt === undefined && key === encodeLeaseKey(subnets);
  return isReservation ? undefined : UNNAMED;
}

/** What a config without a backend means where these leases exist. `usable` are the types that the network can run. */
export function defaultBackend(leases: Iterable<Lease>, usable: readonly string[]): DefaultBackend {
  const counts = countTypes(leases);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  const best = counts.find(([type]) => usable.includes(type));
  if (best === undefined) {
    const reason = total === 0 ? "there are no leases yet" : "no lease names a backend that can be used here";
    return { type: FALLBACK, reason };
  }
  const [type, count] = best;
  return { type, reason: `${count} of ${total} leases run it` };
}

/** "hosts run different backends, …", for an operator; undefined = all run the same. */
export function describeTypes(leases: Iterable<Lease>): string | undefined {
  const counts = countTypes(leases);
  if (counts.length < 2) return undefined;
  const parts = counts.map(([type, count]) => `${type.slice(0, 40)}: ${count}`);
  return (
    `hosts run different backends, so there are no routes between them (${parts.join(", ")}); ` +
    "set Backend.Type in the network config and restart flanneld on every host"
  );
}

/** Types with the number of their leases: most leases first, of equally many vxlan, then by name. */
function countTypes(leases: Iterable<Lease>): (readonly [type: string, count: number])[] {
  const counts = new Map<string, number>();
  for (const lease of leases) {
    const type = typeOfLease(lease);
    if (type !== undefined) counts.set(type, (counts.get(type) ?? 0) + 1);
  }
  const preference = (type: string) => Number(type !== FALLBACK);
  return [...counts].sort(
    ([a, countA], [b, countB]) => countB - countA || preference(a) - preference(b) || (a < b ? -1 : 1),
  );
}

/** What an operator has to know about the peers that run another type than this host: one line for each type. */
export function typeConflicts(peers: Iterable<Lease>, ownType: string): string[] {
  if (ownType === WITHOUT_ROUTES) return [];
  const others = new Map<string, string[]>();
  for (const peer of peers) {
    const type = typeOfLease(peer);
    if (type === undefined || type === ownType) continue;
    // A lease without a type is taken for one of this host's.
    if (peer.attributes.backendType === "" && TYPES_WITHOUT_NAME.has(ownType)) continue;
    const keys = others.get(type);
    if (keys === undefined) others.set(type, [peer.key]);
    else keys.push(peer.key);
  }
  return [...others]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([type, keys]) => describe(type, keys, ownType));
}

/** The same text however many they are above the limit: while a cluster is migrated it is logged once. */
function describe(type: string, keys: readonly string[], ownType: string): string {
  const shown = JSON.stringify(type.slice(0, 40));
  const named = keys.toSorted().slice(0, MAX_NAMED);
  const who =
    keys.length > MAX_NAMED
      ? `More than ${MAX_NAMED} peers run`
      : `${keys.length === 1 ? "Peer" : "Peers"} ${named.join(", ")} ${keys.length === 1 ? "runs" : "run"}`;
  return (
    `${who} backend ${shown} and this host ${JSON.stringify(ownType)}, so there is no route between them; ` +
    "set Backend.Type in the network config and restart flanneld on every host"
  );
}
