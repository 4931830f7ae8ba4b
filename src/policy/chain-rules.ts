/**
 * One direction of the policies that select a pod as rules of a chain. The lists of a policy's rule are OR-ed within, AND-ed
 * with each other: a rule of the chain for each peer and each run of ports. Exceptions of an `ipBlock` are part of its ranges,
 * so that they never take away what another rule allows.
 */

import type { Family } from "../address/ip.ts";
import type {
  Direction,
  FilterRule,
  FilterSet,
  NamedPort,
  NetworkPolicy,
  PolicyPeer,
  PolicyProtocol,
  PolicyRule,
} from "./model.ts";
import { EVERY_POD, type PeerSelector, portNamed } from "./peer-sets.ts";
import { formatRange, joinAddresses, joinPorts } from "./ranges.ts";

/** Gives the names of sets, and keeps them for the filter. */
export interface SetNames {
  /** Of the pods that a selector matches. */
  forPeers(selector: PeerSelector): string;
  /** Of ranges, whose set never changes. */
  forRanges(type: "address-ranges" | "port-ranges", elements: FilterSet["elements"]): string;
}

/** The end that the rules are for. */
export interface ChainSubject {
  readonly direction: Direction;
  readonly family: Family;
  /** The ports of the selected pod: named ports of ingress rules are its own. */
  readonly ports: readonly NamedPort[];
}

type Term = Omit<FilterRule, "policies">;
const ANY: Term = {};

/** In the order of the policies, without duplicates; one rule without conditions replaces all others. */
export function rulesOfPolicies(
  policies: readonly NetworkPolicy[],
  subject: ChainSubject,
  sets: SetNames,
): FilterRule[] {
  const rules = new Map<string, { readonly term: Term; readonly policies: string[] }>();
  for (const policy of policies) {
    const origin = `${policy.namespace}/${policy.name}`;
    for (const rule of policy[subject.direction] ?? []) {
      for (const term of termsOf(rule, policy.namespace, subject, sets)) {
        const key = keyOfTerm(term);
        const known = rules.get(key);
        if (known === undefined) rules.set(key, { term, policies: [origin] });
        else if (known.policies.at(-1) !== origin) known.policies.push(origin);
      }
    }
  }
  const all = [...rules.values()].map(({ term, policies: origins }) => ({ ...term, policies: origins }));
  const everything = rules.get(keyOfTerm(ANY));
  return everything === undefined ? all : [{ policies: everything.policies }];
}

/** The conditions of a rule as text: equal if they mean the same. */
export const keyOfTerm = ({ peers, protocol, ports, endpoints }: Term): string => {
  const range = typeof ports === "object" ? `${ports.first}-${ports.last}` : ports;
  return [peers, protocol, range, endpoints].map((each) => each ?? "").join(" ");
};

function termsOf(rule: PolicyRule, namespace: string, subject: ChainSubject, sets: SetNames): Term[] {
  const { numbers, names } = portsOf(rule, subject);
  const numbered = numbers === undefined ? [ANY] : portTerms(numbers, sets);
  const terms: Term[] = [];
  for (const peer of peersOf(rule.peers, subject.family)) {
    const selector = selectorOf(peer, namespace);
    const base = peerTerm(peer, selector, sets);
    if (base === undefined) continue;
    if (numbered.length > 0) for (const ports of numbered) terms.push({ ...base.term, ...ports });
    // The destination's name for the port: known of pods only, also where the peer is a block of addresses.
    for (const port of names) {
      const endpoints = sets.forPeers({ ...(selector ?? EVERY_POD), port });
      terms.push(selector === undefined ? { ...base.term, endpoints } : { endpoints });
    }
  }
  return terms;
}

interface NamedPortOf {
  readonly name: string;
  readonly protocol: PolicyProtocol;
}

/** `numbers` undefined = every protocol and port; `names` are those that only the destination can resolve. */
function portsOf(
  { ports }: PolicyRule,
  subject: ChainSubject,
): {
  readonly numbers: ReadonlyMap<PolicyProtocol, { first: number; last: number }[]> | undefined;
  readonly names: readonly NamedPortOf[];
} {
  if (ports === undefined) return { numbers: undefined, names: [] };
  const numbers = new Map<PolicyProtocol, { first: number; last: number }[]>();
  const names: NamedPortOf[] = [];
  const add = (protocol: PolicyProtocol, first: number, last: number) => {
    const ranges = numbers.get(protocol);
    if (ranges === undefined) numbers.set(protocol, [{ first, last }]);
    else ranges.push({ first, last });
  };
  for (const port of ports) {
    if (port.kind === "range") add(port.protocol, port.first, port.last);
    else if (subject.direction === "egress") names.push({ name: port.name, protocol: port.protocol });
    else {
      const number = portNamed(subject.ports, port.name, port.protocol);
      if (number !== undefined) add(port.protocol, number, number);
    }
  }
  return { numbers, names };
}

function portTerms(
  numbers: ReadonlyMap<PolicyProtocol, { first: number; last: number }[]>,
  sets: SetNames,
): Term[] {
  return [...numbers].map(([protocol, ranges]) => {
    const joined = joinPorts(ranges);
    const [only] = joined;
    if (joined.length > 1 || only === undefined) {
      const elements = joined.map(({ first, last }) => `${first}-${last}`).sort();
      return { protocol, ports: sets.forRanges("port-ranges", elements) };
    }
    return only.first === 0 && only.last === 65535 ? { protocol } : { protocol, ports: only };
  });
}

type Block = Extract<PolicyPeer, { kind: "block" }>;
type Peer = Exclude<PolicyPeer, Block> | Block | "everyone";

/** The blocks of one rule are one peer; those of the other family none. */
function peersOf(peers: PolicyRule["peers"], family: Family): Peer[] {
  if (peers === undefined) return ["everyone"];
  const pods = peers.filter((peer) => peer.kind === "pods");
  const ranges = peers.flatMap((peer) =>
    peer.kind === "block" && peer.family === family ? peer.ranges : [],
  );
  if (ranges.length === 0) return pods;
  return [...pods, { kind: "block", family, ranges: joinAddresses(ranges) }];
}

const selectorOf = (peer: Peer, namespace: string): PeerSelector | undefined =>
  peer === "everyone" || peer.kind === "block"
    ? undefined
    : {
        namespace: peer.namespaces === undefined ? namespace : undefined,
        namespaces: peer.namespaces ?? [],
        pods: peer.pods,
        port: undefined,
      };

function peerTerm(
  peer: Peer,
  selector: PeerSelector | undefined,
  sets: SetNames,
): { readonly term: Term } | undefined {
  if (selector !== undefined) return { term: { peers: sets.forPeers(selector) } };
  if (peer === "everyone" || peer.kind === "pods") return { term: ANY };
  const elements = peer.ranges.map(formatRange).sort();
  return { term: { peers: sets.forRanges("address-ranges", elements) } };
}
