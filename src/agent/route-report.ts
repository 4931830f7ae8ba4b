/**
 * Routing information for people: for each peer's subnet, how packets get there and whether that is in the kernel. Read
 * from the plan and from the reconciler's model; nothing is observed for it.
 */

import { formatIp } from "../address/ip.ts";
import { baseOf, formatPrefix } from "../address/prefix.ts";
import type { PeerProblem } from "../backend/backend.ts";
import type { Lease } from "../lease/lease.ts";
import type { Refusal } from "../state/failures.ts";
import { keyOf, RTPROT_FLANNEL, type State, type StateObject, sameObject } from "../state/objects.ts";
import type { RouteReport } from "../status/api.ts";

export interface RouteInput {
  readonly peers: readonly Lease[];
  readonly problems: readonly PeerProblem[];
  /** The devices of this host's backend. */
  readonly devices: ReadonlySet<string>;
  readonly backendType: string;
  /** Why there are no routes at all; undefined = there are. */
  readonly obstacle: string | undefined;
  readonly desired: State;
  readonly observed: State;
  readonly refusals: Iterable<Refusal>;
}

/** One entry for each subnet of each peer. */
export function* reportRoutes(input: RouteInput): Generator<RouteReport> {
  const problems = new Map(input.problems.map((problem) => [problem.key, problem]));
  const refused = refusalsByText(input.refusals);
  for (const peer of input.peers) {
    const { subnets, attributes } = peer;
    for (const [subnet, publicIp] of [
      [subnets.ipv4, attributes.publicIp ?? attributes.publicIpv6],
      [subnets.ipv6, attributes.publicIpv6 ?? attributes.publicIp],
    ] as const) {
      if (subnet === undefined) continue;
      const destination = formatPrefix(subnet);
      const address = publicIp === undefined ? "" : formatIp(publicIp);
      const carriers = carriersOf(destination, input);
      const failure = refused && reasonOf(refused, [destination, formatIp(baseOf(subnet)), address]);
      const route = carriers.find(({ kind }) => kind === "route") ?? carriers[0];
      const via = route?.kind === "route" ? route.via : undefined;
      yield {
        subnet: destination,
        peer: peer.key,
        publicIp: address,
        backend: attributes.backendType,
        ...(via === undefined ? {} : { via }),
        ...(route === undefined || !("device" in route) ? {} : { device: route.device }),
        ...stateOf(peer, carriers, failure, problems.get(peer.key), input),
      };
    }
  }
}

function stateOf(
  { attributes }: Lease,
  carriers: readonly StateObject[],
  failure: string | undefined,
  problem: PeerProblem | undefined,
  { observed, obstacle, backendType }: RouteInput,
): Pick<RouteReport, "state" | "reason"> {
  if (carriers.length === 0) {
    if (problem !== undefined) return { state: "refused", reason: problem.message };
    if (obstacle !== undefined) return { state: "pending", reason: obstacle };
    const reason =
      attributes.backendType === backendType
        ? "the backend programs no routes"
        : `its backend type is ${JSON.stringify(attributes.backendType)}, this host's "${backendType}"`;
    return { state: "refused", reason };
  }
  if (failure !== undefined) return { state: "failed", reason: failure };
  const isProgrammed = carriers.every((object) => {
    const found = observed.get(keyOf(object));
    return found !== undefined && sameObject(found, object);
  });
  if (!isProgrammed) return { state: "pending", ...(obstacle === undefined ? {} : { reason: obstacle }) };
  return { state: "programmed", ...(problem === undefined ? {} : { reason: problem.message }) };
}

/** The desired objects that lead packets to `destination`. */
function carriersOf(destination: string, { desired, devices }: RouteInput): StateObject[] {
  const found: StateObject[] = [];
  const look = (key: string) => {
    const object = desired.get(key);
    if (object !== undefined) found.push(object);
  };
  look(
    keyOf({
      kind: "route",
      destination,
      device: "",
      via: undefined,
      onlink: false,
      protocol: RTPROT_FLANNEL,
    }),
  );
  for (const device of devices) {
    look(keyOf({ kind: "forwarding", device, destination, peer: "" }));
    look(keyOf({ kind: "allowed-ip", device, prefix: destination, publicKey: "" }));
  }
  return found;
}

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
