/**
 * Routing information for people: for each peer's subnet, how packets get there and whether that is in the kernel. Read
 * from the plan and from the reconciler's model; nothing is observed for it.
 */

import { formatIp, type Ip } from "../address/ip.ts";
import { baseOf, formatPrefix, type Prefix } from "../address/prefix.ts";
import type { PeerProblem } from "../backend/backend.ts";
import type { Lease } from "../lease/lease.ts";
import type { Refusal } from "../state/failures.ts";
import {
  deviceOf,
  keyOf,
  RTPROT_FLANNEL,
  type State,
  type StateObject,
  sameObject,
} from "../state/objects.ts";
import type { ProbeReport, RouteReport, TunnelReport } from "../status/api.ts";

export interface RouteInput {
  readonly peers: readonly Lease[];
  readonly problems: readonly PeerProblem[];
  /** The devices of this host's backend. */
  readonly devices: ReadonlySet<string>;
  readonly backendType: string;
  /** The external interface, if a cloud's network carries the packets by routes that each host has there for itself. */
  readonly cloudDevice?: string | undefined;
  /** Why there are no routes at all; undefined = there are. */
  readonly obstacle: string | undefined;
  readonly desired: State;
  readonly observed: State;
  readonly refusals: Iterable<Refusal>;
  /** What the probes say about a peer in a family. */
  readonly probe?: (key: string, family: Prefix["family"]) => ProbeReport | undefined;
  /** The IPsec tunnel to a subnet ("10.5.1.0/24"). */
  readonly tunnelTo?: ((subnet: string) => TunnelReport | undefined) | undefined;
}

/** A desired object that leads packets to a peer. */
interface Carrier {
  readonly key: string;
  readonly object: StateObject;
}

/** One entry for each subnet of each peer. Quick, because thousands are asked for at once. */
export function* reportRoutes(input: RouteInput): Generator<RouteReport> {
  const problems = new Map(input.problems.map((problem) => [problem.key, problem]));
  const refused = refusalsByText(input.refusals);
  const carriersOf = carrierLookup(input);
  for (const peer of input.peers) {
    const { ipv4, ipv6 } = peer.subnets;
    const { publicIp, publicIpv6 } = peer.attributes;
    if (ipv4 !== undefined) yield reportRoute(ipv4, publicIp ?? publicIpv6, peer);
    if (ipv6 !== undefined) yield reportRoute(ipv6, publicIpv6 ?? publicIp, peer);
  }

  function reportRoute(subnet: Prefix, publicIp: Ip | undefined, peer: Lease): RouteReport {
    const destination = formatPrefix(subnet);
    const address = publicIp === undefined ? "" : formatIp(publicIp);
    const carriers = carriersOf(destination);
    const failure = refused && reasonOf(refused, [destination, formatIp(baseOf(subnet)), address]);
    const route = carriers[0]?.object;
    const { state, reason } = stateOf(peer, carriers, failure, problems.get(peer.key), input);
    const isByCloud = carriers.length === 0 && state === "programmed";
    return {
      subnet: destination,
      peer: peer.key,
      publicIp: address,
      backend: peer.attributes.backendType,
      via: route?.kind === "route" ? route.via : undefined,
      device: isByCloud ? input.cloudDevice : route === undefined ? undefined : deviceOf(route),
      state,
      reason,
      probe: input.probe?.(peer.key, subnet.family),
    };
  }
}

function stateOf(
  { attributes }: Lease,
  carriers: readonly Carrier[],
  failure: string | undefined,
  problem: PeerProblem | undefined,
  { observed, obstacle, backendType, cloudDevice }: RouteInput,
): { readonly state: RouteReport["state"]; readonly reason: string | undefined } {
  if (carriers.length === 0) {
    if (problem !== undefined) return { state: "refused", reason: problem.message };
    if (obstacle !== undefined) return { state: "pending", reason: obstacle };
    // Leases of clouds name no type; the peer's route is the peer's own business.
    if (cloudDevice !== undefined && attributes.backendType === "")
      return { state: "programmed", reason: undefined };
    const reason =
      attributes.backendType === backendType
        ? "the backend programs no routes"
        : `its backend type is ${JSON.stringify(attributes.backendType)}, this host's "${backendType}"`;
    return { state: "refused", reason };
  }
  if (failure !== undefined) return { state: "failed", reason: failure };
  for (const { key, object } of carriers) {
    const found = observed.get(key);
    if (found === undefined || !sameObject(found, object)) return { state: "pending", reason: obstacle };
  }
  return { state: "programmed", reason: problem?.message };
}

/** Finds the desired objects that lead packets to a destination, its route first. */
function carrierLookup({ desired, devices }: RouteInput): (destination: string) => readonly Carrier[] {
  const kinds = new Set<string>();
  for (const { kind } of desired.values()) kinds.add(kind);
  const keysOf: ((destination: string) => string)[] = [
    (destination) => keyOf({ kind: "route", destination, device: "", ...GATEWAY }),
  ];
  for (const device of devices) {
    if (kinds.has("forwarding"))
      keysOf.push((destination) => keyOf({ kind: "forwarding", device, destination, peer: "" }));
    if (kinds.has("allowed-ip"))
      keysOf.push((prefix) => keyOf({ kind: "allowed-ip", device, prefix, publicKey: "" }));
  }
  return (destination) => {
    const found: Carrier[] = [];
    for (const toKey of keysOf) {
      const key = toKey(destination);
      const object = desired.get(key);
      if (object !== undefined) found.push({ key, object });
    }
    return found;
  };
}

/** What a route has besides its key. */
const GATEWAY = { via: undefined, onlink: false, protocol: RTPROT_FLANNEL } as const;

/** Messages by each text in the refused object: an object concerns the peer whose subnet or address it names. */
function refusalsByText(refusals: Iterable<Refusal>): ReadonlyMap<string, string> | undefined {
  let found: Map<string, string> | undefined;
  for (const { object, message } of refusals) {
    found ??= new Map();
    for (const value of Object.values(object)) if (typeof value === "string") found.set(value, message);
  }
  return found;
}

function reasonOf(refused: ReadonlyMap<string, string>, texts: readonly string[]): string | undefined {
  for (const text of texts) {
    const reason = refused.get(text);
    if (reason !== undefined) return reason;
  }
  return undefined;
}
