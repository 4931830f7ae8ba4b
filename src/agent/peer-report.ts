/** Peers for people: who they are, and for a single one every object that leads packets to it. Nothing is observed for it. */

import { formatIp, type Ip } from "../address/ip.ts";
import { baseOf, formatPrefix } from "../address/prefix.ts";
import type { Lease, SubnetPair } from "../lease/lease.ts";
import { describeObject, type StateObject, sameObject } from "../state/objects.ts";
import type { PeerDetail, PeerReport } from "../status/api.ts";
import { type RouteInput, reportRoutes } from "./route-report.ts";

type PeerObject = PeerDetail["objects"][number];

/** All peers. Read lazily, because there may be thousands. */
export function* reportPeers({
  peers,
  problems,
  ...input
}: Pick<RouteInput, "peers" | "problems" | "probe" | "tunnelTo">): Generator<PeerReport> {
  const messages = new Map(problems.map(({ key, message }) => [key, message]));
  for (const peer of peers) yield reportPeer(peer, messages.get(peer.key), input);
}

/** The peer with this lease key, or with this subnet (`10.5.1.0/24`); undefined = there is none. */
export const findPeer = (peers: readonly Lease[], keyOrSubnet: string): Lease | undefined =>
  peers.find(({ key }) => key === keyOrSubnet) ??
  peers.find(({ subnets }) => subnetTexts(subnets).includes(keyOrSubnet));

/** One peer with its routes and objects. */
export function reportPeerDetail(peer: Lease, input: RouteInput): PeerDetail {
  const problem = input.problems.find(({ key }) => key === peer.key)?.message;
  return {
    ...reportPeer(peer, problem, input),
    routes: [...reportRoutes({ ...input, peers: [peer] })],
    objects: [...reportObjects(peer, input)],
  };
}

function reportPeer(
  { key, subnets, attributes }: Lease,
  problem: string | undefined,
  { probe, tunnelTo }: Pick<RouteInput, "probe" | "tunnelTo">,
): PeerReport {
  const tunnel = subnets.ipv4 === undefined ? undefined : tunnelTo?.(formatPrefix(subnets.ipv4));
  const probes = ([4, 6] as const).flatMap((family) => probe?.(key, family) ?? []);
  return {
    ...{ key, subnets: subnetTexts(subnets), backend: attributes.backendType },
    publicIps: textsOf(attributes.publicIp, attributes.publicIpv6),
    ...(problem === undefined ? {} : { problem }),
    ...(probes.length === 0 ? {} : { probes }),
    ...(tunnel === undefined ? {} : { tunnel }),
  };
}

function* reportObjects(peer: Lease, { desired, observed, refusals }: RouteInput): Generator<PeerObject> {
  const reasons = new Map<StateObject, string>();
  for (const { object, message } of refusals) reasons.set(object, message);
  for (const [key, object] of objectsOf(peer, desired)) {
    const reason = reasons.get(object);
    const found = observed.get(key);
    const isPlaced = found !== undefined && sameObject(found, object);
    const state = reason !== undefined ? "failed" : isPlaced ? "programmed" : "pending";
    yield {
      kind: object.kind,
      object: describeObject(object),
      state,
      ...(reason === undefined ? {} : { reason }),
    };
  }
}

/** An object concerns the peer whose subnet or address it names, or whose WireGuard key. */
function objectsOf({ subnets, attributes }: Lease, desired: RouteInput["desired"]): [string, StateObject][] {
  const names = new Set(textsOf(attributes.publicIp, attributes.publicIpv6));
  for (const subnet of [subnets.ipv4, subnets.ipv6]) {
    if (subnet === undefined) continue;
    names.add(formatPrefix(subnet)).add(formatIp(baseOf(subnet)));
  }
  const namesPeer = (object: StateObject) =>
    Object.values(object).some((value) => typeof value === "string" && names.has(value));
  for (const object of desired.values())
    if (object.kind === "allowed-ip" && names.has(object.prefix)) names.add(object.publicKey);
  return [...desired].filter(([, object]) => namesPeer(object));
}

/** The addresses that are there, as text. */
export const textsOf = (...ips: readonly (Ip | undefined)[]): string[] =>
  ips.flatMap((ip) => (ip === undefined ? [] : [formatIp(ip)]));

/** The subnets of both families that are there, as text. */
export const subnetTexts = ({ ipv4, ipv6 }: SubnetPair): string[] =>
  [ipv4, ipv6].flatMap((subnet) => (subnet === undefined ? [] : [formatPrefix(subnet)]));
