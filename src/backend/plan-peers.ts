/**
 * The part of a plan that is the same for every backend: for each peer and family, check the lease, ask the backend how to
 * reach the peer, give each subnet to one peer only, and report the peers that cannot be reached. What a peer comes to is
 * worked out once while nothing that it depends on changes.
 */

import type { Ip } from "../address/ip.ts";
import type { Prefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import { byEstablishment, supersedes } from "../lease/precedence.ts";
import { keyOf, type StateObject } from "../state/objects.ts";
import type { PeerProblem, PlanInput } from "./backend.ts";
import { type FamilyFields, labelled } from "./families.ts";
import { publicIpProblem, subnetProblem } from "./peer-problems.ts";
import { createSubnetClaims } from "./subnet-claims.ts";

/** One family of a peer's lease, whose subnet and public IP may be used. */
export interface PeerAddresses {
  readonly subnet: Prefix;
  readonly publicIp: Ip;
  /** The peer's BackendData or BackendV6Data, unchecked. */
  readonly data: unknown;
}

/** How a peer is reached in one family. */
export interface Reach {
  readonly objects: readonly StateObject[];
  /**
   * What no two hosts may share, as it reads after "its" ("VtepMAC 0a:00:00:00:00:01 on flannel.1"). Which of two peers
   * with one identity is reached: lease/precedence.ts. Undefined = nothing but the subnet.
   */
  readonly identity?: string | undefined;
}

/** What is particular to a backend. `F` is what it knows of a family, e.g. its device. */
export interface PeerRules<F extends FamilyFields> {
  /** The BackendType in the leases of its peers. */
  readonly type: string;
  /** The enabled families, IPv4 first. */
  readonly families: readonly F[];
  /** How to reach a peer; text = why that is not possible. Depends on nothing but its arguments. */
  readonly reach: (peer: PeerAddresses, family: F, input: PlanInput) => Reach | string;
  /** The address at which a peer is reached for its subnet of `family`; by default its public IP of that family. */
  readonly addressOf?: (peer: Lease, family: F, input: PlanInput) => Ip | undefined;
}

/**
 * Adds the objects of all peers that can be reached to `state`, and returns why others cannot. Adds nothing before this
 * host has a lease. `ownIdentities` are those of this host, which no peer may have.
 */
export type PlanPeers = (
  input: PlanInput,
  state: Map<string, StateObject>,
  ownIdentities?: readonly string[],
) => readonly PeerProblem[];

/** One family of one peer, before it is compared with other peers. */
interface Outcome {
  readonly family: FamilyFields;
  /** Undefined = there is a problem. */
  readonly subnet: Prefix | undefined;
  readonly identity: string | undefined;
  readonly entries: readonly (readonly [key: string, object: StateObject])[];
  readonly problem: string | undefined;
}

/** A planner for the peers of one backend. It keeps the outcomes of the last plan, by the identity of lease, host and lookup. */
export function createPeerPlanner<F extends FamilyFields>(rules: PeerRules<F>): PlanPeers {
  const { type, families } = rules;
  const outcomes = rememberByPeer((peer, input) =>
    families.map((family) => outcomeOf(peer, family, input, rules)),
  );
  return (input, state, ownIdentities = []) => {
    if (input.own === undefined) return [];
    const outcomesOf = outcomes(input);
    const problems: PeerProblem[] = [];
    const refuse = (key: string, { family }: Outcome, problem: string) =>
      problems.push({ key, message: labelled(families, family.family, problem) });
    const claims = new Map(families.map(({ family }) => [family, createSubnetClaims()]));
    const own = new Set(ownIdentities);
    const holders = new Map<string, Lease>();
    const accepted: (readonly [peer: Lease, outcome: Outcome])[] = [];
    for (const peer of peersOfType(input, type)) {
      for (const outcome of outcomesOf(peer)) {
        const { family, subnet, identity } = outcome;
        const problem =
          outcome.problem ??
          (identity !== undefined && own.has(identity) ? sharedIdentity(identity, "this host") : undefined) ??
          claims.get(family.family)!(peer.key, subnet!);
        if (problem !== undefined) {
          refuse(peer.key, outcome, problem);
          continue;
        }
        accepted.push([peer, outcome]);
        const holder = identity === undefined ? undefined : holders.get(identity);
        if (identity !== undefined && (holder === undefined || supersedes(peer, holder)))
          holders.set(identity, peer);
      }
    }
    for (const [peer, outcome] of accepted) {
      const holder = outcome.identity === undefined ? undefined : holders.get(outcome.identity);
      if (holder !== undefined && holder !== peer)
        refuse(peer.key, outcome, sharedIdentity(outcome.identity!, holder.key));
      else for (const [key, object] of outcome.entries) state.set(key, object);
    }
    return problems.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  };
}

const sharedIdentity = (identity: string, holder: string): string =>
  `its ${identity} is already that of ${holder}`;

function outcomeOf<F extends FamilyFields>(
  peer: Lease,
  family: F,
  input: PlanInput,
  rules: PeerRules<F>,
): Outcome {
  const refused = (problem: string): Outcome => ({
    ...{ family, problem, subnet: undefined, identity: undefined, entries: [] },
  });
  const { name, publicName, dataName } = family;
  const subnet = peer.subnets[name];
  const publicIp =
    rules.addressOf === undefined ? peer.attributes[publicName] : rules.addressOf(peer, family, input);
  if (subnet === undefined) return refused(`it has no IPv${family.family} subnet`);
  const problem =
    subnetProblem(subnet, input.network[name]!, input.own?.[name]) ??
    publicIpProblem(publicIp, {
      own: publicIp?.family === 6 ? input.host.publicIpv6 : input.host.publicIp,
      local: publicIp?.family === 6 ? input.host.ipv6 : input.host.ipv4,
      localAddresses: input.host.localAddresses ?? [],
      network: input.network[name]!.network,
      subnets: [subnet, input.own?.[name]].filter((prefix) => prefix !== undefined),
    });
  if (problem !== undefined) return refused(problem);
  const reach = rules.reach({ subnet, publicIp: publicIp!, data: peer.attributes[dataName] }, family, input);
  if (typeof reach === "string") return refused(reach);
  const entries = reach.objects.map((object) => [keyOf(object), object] as const);
  return { family, subnet, identity: reach.identity, entries, problem: undefined };
}

/** The peers of one backend type, the established ones first, so that a plan does not depend on the order of events. */
const peersOfType = (input: PlanInput, type: string): Lease[] =>
  [...(input.peers ?? [])].filter((peer) => peer.attributes.backendType === type).sort(byEstablishment);

/**
 * Remembers a result per lease as long as host, network, own subnets and next hops are the same. A lease never changes (a
 * new one replaces it), so that planning for 5,000 peers after one change is 5,000 look-ups, and what did not change keeps
 * its identity.
 */
function rememberByPeer<T>(
  work: (peer: Lease, input: PlanInput) => T,
): (input: PlanInput) => (peer: Lease) => T {
  let basis: PlanInput | undefined;
  let known = new WeakMap<Lease, T>();
  return (input) => {
    const isSame =
      basis?.host === input.host &&
      basis.network === input.network &&
      basis.own === input.own &&
      basis.nextHop === input.nextHop;
    if (!isSame) {
      known = new WeakMap();
      basis = { ...input, peers: [] };
    }
    return (peer) => {
      let result = known.get(peer);
      if (result === undefined) {
        result = work(peer, input);
        known.set(peer, result);
      }
      return result;
    };
  };
}
