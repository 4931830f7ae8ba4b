/**
 * The path of a packet from containers of this host to those of a peer: the objects that it meets in the kernel and in
 * flanneld, in their order, each with whether it is in place. Read from the plan and from the reconciler's model.
 */

import { formatIp, parseIp } from "../address/ip.ts";
import { containsIp, formatPrefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import {
  describeObject,
  deviceOf,
  keyOf,
  linkKey,
  RANK,
  type State,
  type StateObject,
  sameObject,
} from "../state/objects.ts";
import type { PathReport } from "../status/api.ts";
import { findPeer } from "./peer-report.ts";
import type { RouteInput } from "./route-report.ts";

export interface PathInput extends Pick<RouteInput, "problems" | "desired" | "observed" | "refusals"> {
  readonly peer: Lease;
  readonly own: Lease["subnets"] | undefined;
  readonly externalInterface: PathReport["externalInterface"];
}

/** The peer whose key or subnet is `to`, or in whose subnet that address is. */
export function findDestination(peers: readonly Lease[], to: string): Lease | undefined {
  const ip = parseIp(to);
  return (
    findPeer(peers, to) ??
    (ip &&
      peers.find(({ subnets }) =>
        [subnets.ipv4, subnets.ipv6].some((subnet) => subnet !== undefined && containsIp(subnet, ip)),
      ))
  );
}

/** The path to each subnet of the peer. */
export function reportPath(input: PathInput): PathReport {
  const { peer, own, externalInterface, problems, desired, observed, refusals } = input;
  const { publicIp, publicIpv6 } = peer.attributes;
  const refused = new Map([...refusals].map(({ object, message }) => [keyOf(object), message]));
  const ways = (["ipv4", "ipv6"] as const).flatMap((family) => {
    const subnet = peer.subnets[family];
    if (subnet === undefined) return [];
    const to = formatPrefix(subnet);
    const address = family === "ipv4" ? (publicIp ?? publicIpv6) : (publicIpv6 ?? publicIp);
    const from = own?.[family];
    return {
      ...{ to, from: from && formatPrefix(from), publicIp: address === undefined ? "" : formatIp(address) },
      objects: objectsTo(to, desired).map((object) => reportObject(object, observed, refused)),
    };
  });
  const problem = problems.find(({ key }) => key === peer.key)?.message;
  return { peer: peer.key, problem, externalInterface, ways };
}

/** As a packet meets them: the reverse of the order in which they are made, because each needs those below it. */
function objectsTo(destination: string, desired: State): StateObject[] {
  const found = new Set<StateObject>();
  const add = (isMeant: (object: StateObject) => boolean): void => {
    for (const object of desired.values()) if (isMeant(object)) found.add(object);
  };
  add((object) => !isInward(object) && namesDestination(object, destination));
  // What the first ones refer to: by gateway, by link-layer address, by key.
  const references = new Set<unknown>();
  const isReferred = (object: StateObject): boolean =>
    Object.entries(object).some(([name, value]) => LINKED.has(name) && references.has(`${name} ${value}`));
  for (const object of found) if ("via" in object) references.add(`address ${object.via}`);
  add((object) => object.kind !== "address" && isReferred(object));
  for (const object of found)
    for (const [name, value] of Object.entries(object))
      if (name === "mac" || name === "publicKey") references.add(`${name} ${value}`);
  add((object) => object.kind !== "link" && object.kind !== "wireguard" && isReferred(object));
  for (const device of new Set([...found].map(deviceOf))) {
    const link = desired.get(linkKey(device));
    if (link !== undefined) found.add(link);
  }
  return [...found].sort((a, b) => RANK[b.kind] - RANK[a.kind]);
}

/** Members by which one object refers to another. */
const LINKED: ReadonlySet<string> = new Set(["address", "mac", "publicKey"]);

/** Members that say where packets go. */
const DESTINATION = ["destination", "prefix", "remoteSubnet", "subnet", "ipv6Subnet"] as const;

const namesDestination = (object: StateObject, destination: string): boolean =>
  DESTINATION.some((name) => (object as unknown as Record<string, unknown>)[name] === destination);

/** Policies for packets from the peer. */
const isInward = (object: StateObject): boolean => "direction" in object && object.direction !== "out";

function reportObject(
  object: StateObject,
  observed: State,
  refused: ReadonlyMap<string, string>,
): PathReport["ways"][number]["objects"][number] {
  const key = keyOf(object);
  const found = observed.get(key);
  const base = { kind: object.kind, what: describe(object) };
  const refusal = refused.get(key);
  if (refusal !== undefined) return { ...base, state: "failed", reason: refusal };
  if (found === undefined) return { ...base, state: "missing" };
  if (sameObject(found, object)) return { ...base, state: "programmed" };
  return { ...base, state: "different", reason: `in place: ${describe(found)}` };
}

/** Without the fingerprint of a preshared key: whoever has it could try out weak keys. */
const describe = (object: StateObject): string => describeObject(object).replace(/ preshared key \S+/, "");
