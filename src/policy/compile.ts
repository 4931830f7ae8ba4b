/**
 * Policies, namespaces and pods of the cluster → the filter of this node. The result is a function of the input alone; what the
 * compiler remembers of the last input only saves work, so that a changed pod or policy costs what depends on it.
 *
 * Pods of this node that the same policies select in the same way share a chain. A chain's name is a digest of its contents and
 * a set's of what it contains, so that a restarted flanneld finds its own again.
 */

import type { Family } from "../address/ip.ts";
import { AddressOwners, ownsAddresses } from "./address-owners.ts";
import { keyOfTerm, rulesOfPolicies } from "./chain-rules.ts";
import type {
  DesiredFilter,
  Direction,
  FilterChain,
  FilterSet,
  NetworkPolicy,
  PolicyInput,
  PolicyPod,
} from "./model.ts";
import { matchesSelector } from "./parse-selector.ts";
import { familyOfAddress, keyOfSelector, type PeerSelector, PeerSet } from "./peer-sets.ts";

/** A cryptographic hash as hexadecimal text: names must not collide, also if somebody tries. */
export type Digest = (text: string) => string;

/** Characters of a digest that are used in names: 96 bits. */
const DIGEST_LENGTH = 24;

const EMPTY_INPUT: PolicyInput = { pods: new Map(), namespaces: new Map(), policies: new Map() };
const EMPTY_FILTER: DesiredFilter = {
  ingress: new Map(),
  egress: new Map(),
  chains: new Map(),
  sets: new Map(),
};

/** Which chains a pod's addresses have. Valid for one version of the pod and of its namespace's policies. */
interface PodPlan {
  readonly pod: PolicyPod;
  readonly policies: readonly NetworkPolicy[];
  readonly selecting: Readonly<Record<Direction, readonly NetworkPolicy[]>>;
  /** By direction and family, as far as its addresses need them. */
  readonly chains: Map<string, PlannedChain>;
}

interface PlannedChain {
  /** What the chain is made from. */
  readonly key: string;
  readonly chain: FilterChain;
}

/** Compiles one input after the other. */
export class PolicyCompiler {
  readonly #digest: Digest;
  readonly #owners = new AddressOwners();
  /** Pods of this node that policies can select. */
  readonly #local = new Map<string, PolicyPod>();
  readonly #plans = new Map<string, PodPlan>();
  readonly #policiesOf = new Map<string, readonly NetworkPolicy[]>();
  readonly #policyIds = new WeakMap<NetworkPolicy, number>();
  readonly #peerSets = new Map<string, PeerSet>();
  readonly #rangeSets = new Map<string, FilterSet>();
  /** Chains by what they are made from. */
  readonly #chains = new Map<string, PlannedChain>();
  #nextPolicyId = 0;
  #input = EMPTY_INPUT;
  #filter = EMPTY_FILTER;

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  /** The same object as before if nothing changed for this node; its unchanged parts are the same objects. */
  compile(input: PolicyInput): DesiredFilter {
    const previous = this.#input;
    this.#input = input;
    let isPlanStale = this.#takePolicies(previous.policies, input.policies);
    const changed = new Set<string>();
    if (this.#takePods(previous.pods, input.pods, changed)) isPlanStale = true;
    if (previous.namespaces !== input.namespaces) this.#takeNamespaces(previous, input, changed);
    for (const set of this.#peerSets.values()) this.#update(set, changed);
    this.#filter = isPlanStale ? this.#plan() : this.#withCurrentSets(this.#filter);
    return this.#filter;
  }

  /** @returns whether any policy changed. */
  #takePolicies(before: PolicyInput["policies"], after: PolicyInput["policies"]): boolean {
    if (before === after) return false;
    const namespaces = new Set<string>();
    for (const [key, policy] of before) if (after.get(key) !== policy) namespaces.add(policy.namespace);
    for (const [key, policy] of after) if (before.get(key) !== policy) namespaces.add(policy.namespace);
    if (namespaces.size === 0) return false;
    const lists = new Map<string, NetworkPolicy[]>();
    for (const policy of after.values()) {
      if (!namespaces.has(policy.namespace)) continue;
      const list = lists.get(policy.namespace);
      if (list === undefined) lists.set(policy.namespace, [policy]);
      else list.push(policy);
    }
    for (const name of namespaces) {
      const list = lists.get(name);
      if (list === undefined) this.#policiesOf.delete(name);
      else
        this.#policiesOf.set(
          name,
          list.sort((a, b) => (a.name < b.name ? -1 : 1)),
        );
    }
    return true;
  }

  /** @returns whether a pod of this node changed. */
  #takePods(before: PolicyInput["pods"], after: PolicyInput["pods"], changed: Set<string>): boolean {
    if (before === after) return false;
    let isLocalChanged = false;
    const replace = (key: string, old: PolicyPod | undefined, now: PolicyPod | undefined) => {
      for (const address of this.#owners.replace(old, now)) {
        changed.add(address);
        // A local pod may have lost its address to another pod, or got it back.
        if (this.#isPlanned(address) || this.#owners.ownerOf(address)?.isLocal) isLocalChanged = true;
      }
      if (now?.isLocal === true && ownsAddresses(now)) this.#local.set(key, now);
      else if (!this.#local.delete(key)) return;
      isLocalChanged = true;
    };
    for (const [key, pod] of before) if (!after.has(key)) replace(key, pod, undefined);
    for (const [key, pod] of after) {
      const old = before.get(key);
      if (old !== pod) replace(key, old, pod);
    }
    return isLocalChanged;
  }

  #isPlanned(address: string): boolean {
    return this.#filter.ingress.has(address) || this.#filter.egress.has(address);
  }

  #takeNamespaces(previous: PolicyInput, input: PolicyInput, changed: Set<string>): void {
    const names = new Set<string>();
    for (const [name, namespace] of previous.namespaces)
      if (input.namespaces.get(name)?.labels !== namespace.labels) names.add(name);
    for (const name of input.namespaces.keys()) if (!previous.namespaces.has(name)) names.add(name);
    if (names.size === 0) return;
    for (const set of this.#peerSets.values()) for (const name of names) set.forgetNamespace(name);
    this.#owners.forEach((address, { namespace }) => {
      if (names.has(namespace)) changed.add(address);
    });
  }

  #update(set: PeerSet, addresses: Iterable<string>): void {
    for (const address of addresses)
      set.update(address, this.#owners.ownerOf(address), this.#input.namespaces);
  }

  /** Chains for all addresses of this node's pods; sets and chains that none uses any more are forgotten. */
  #plan(): DesiredFilter {
    const usedSets = new Set<string>();
    const usedChains = new Set<string>();
    const filter = {
      ingress: new Map<string, string>(),
      egress: new Map<string, string>(),
      chains: new Map<string, FilterChain>(),
    };
    for (const key of this.#plans.keys()) if (!this.#local.has(key)) this.#plans.delete(key);
    for (const [key, pod] of this.#local) {
      const plan = this.#planOf(key, pod);
      for (const address of pod.addresses) {
        if (this.#owners.ownerOf(address) !== pod) continue;
        for (const direction of ["ingress", "egress"] as const) {
          if (plan.selecting[direction].length === 0) continue;
          const { key: chainKey, chain } = this.#chainOf(plan, direction, familyOfAddress(address));
          usedChains.add(chainKey);
          filter[direction].set(address, chain.name);
          if (filter.chains.has(chain.name)) continue;
          filter.chains.set(chain.name, chain);
          for (const { peers, ports, endpoints } of chain.rules) {
            for (const name of [peers, ports, endpoints]) if (typeof name === "string") usedSets.add(name);
          }
        }
      }
    }
    for (const key of this.#chains.keys()) if (!usedChains.has(key)) this.#chains.delete(key);
    for (const name of this.#peerSets.keys()) if (!usedSets.has(name)) this.#peerSets.delete(name);
    for (const name of this.#rangeSets.keys()) if (!usedSets.has(name)) this.#rangeSets.delete(name);
    return this.#withCurrentSets({ ...filter, sets: new Map() });
  }

  #planOf(key: string, pod: PolicyPod): PodPlan {
    const policies = this.#policiesOf.get(pod.namespace) ?? [];
    const known = this.#plans.get(key);
    if (known?.policies === policies && known.pod === pod) return known;
    const selecting =
      known?.policies === policies && known.pod.labels === pod.labels
        ? known.selecting
        : selectingPolicies(policies, pod);
    const plan = { pod, policies, selecting, chains: new Map<string, PlannedChain>() };
    this.#plans.set(key, plan);
    return plan;
  }

  #chainOf(plan: PodPlan, direction: Direction, family: Family): PlannedChain {
    const name = `${direction}${family}`;
    const known = plan.chains.get(name);
    // Another pod may have had its address meanwhile, and its chain and sets are forgotten.
    if (known !== undefined && this.#chains.get(known.key) === known) return known;
    const planned = this.#chainFor(plan.selecting[direction], direction, family, plan.pod);
    plan.chains.set(name, planned);
    return planned;
  }

  #chainFor(
    policies: readonly NetworkPolicy[],
    direction: Direction,
    family: Family,
    { ports }: PolicyPod,
  ): PlannedChain {
    // Only the ports that a rule names tell pods apart.
    const names = direction === "egress" ? new Set<string>() : namedPortsOf(policies);
    const numbers = ports.filter(({ name }) => names.has(name));
    const ids = policies.map((policy) => this.#idOf(policy));
    const key = JSON.stringify([direction, family, ids, numbers]);
    const known = this.#chains.get(key);
    if (known !== undefined) return known;
    const rules = rulesOfPolicies(
      policies,
      { direction, family, ports },
      {
        forPeers: (selector) => this.#peerSet(selector, family),
        forRanges: (type, elements) => this.#rangeSet(type, elements, family),
      },
    );
    const origins = policies.map((policy) => `${policy.namespace}/${policy.name}`);
    const contents = [...rules.map((rule) => `${keyOfTerm(rule)} ${rule.policies.join()}`), ...origins];
    const name = `${direction === "ingress" ? "in" : "eg"}${family}-${this.#short(contents.join("\n"))}`;
    const planned = { key, chain: { name, direction, family, rules, policies: origins } };
    this.#chains.set(key, planned);
    return planned;
  }

  /** The same for one version of a policy. */
  #idOf(policy: NetworkPolicy): number {
    const known = this.#policyIds.get(policy);
    if (known !== undefined) return known;
    this.#policyIds.set(policy, this.#nextPolicyId);
    return this.#nextPolicyId++;
  }

  #peerSet(selector: PeerSelector, family: Family): string {
    const kind = selector.port === undefined ? "pods" : "ports";
    const name = `${kind}${family}-${this.#short(keyOfSelector(selector))}`;
    if (!this.#peerSets.has(name)) {
      const set = new PeerSet(name, family, selector);
      this.#peerSets.set(name, set);
      set.fill(this.#owners, this.#input.namespaces);
    }
    return name;
  }

  #rangeSet(type: "address-ranges" | "port-ranges", elements: readonly string[], family: Family): string {
    const kind = type === "port-ranges" ? "range" : `block${family}`;
    const name = `${kind}-${this.#short(elements.join())}`;
    if (!this.#rangeSets.has(name)) this.#rangeSets.set(name, { name, type, family, elements });
    return name;
  }

  #short(text: string): string {
    return this.#digest(text).slice(0, DIGEST_LENGTH);
  }

  #withCurrentSets(filter: DesiredFilter): DesiredFilter {
    const sets = new Map<string, FilterSet>(this.#rangeSets);
    for (const [name, set] of this.#peerSets) sets.set(name, set.current);
    const { sets: before } = filter;
    const isSame = sets.size === before.size && [...sets].every(([name, set]) => before.get(name) === set);
    return isSame ? filter : { ...filter, sets };
  }
}

function selectingPolicies(policies: readonly NetworkPolicy[], pod: PolicyPod): PodPlan["selecting"] {
  const selecting = policies.filter(({ podSelector }) => matchesSelector(podSelector, pod.labels, true));
  return {
    ingress: selecting.filter(({ ingress }) => ingress !== undefined),
    egress: selecting.filter(({ egress }) => egress !== undefined),
  };
}

/** The names of ports in ingress rules. */
function namedPortsOf(policies: readonly NetworkPolicy[]): Set<string> {
  const names = new Set<string>();
  for (const { ingress } of policies) {
    for (const { ports } of ingress ?? []) {
      for (const port of ports ?? []) if (port.kind === "named") names.add(port.name);
    }
  }
  return names;
}
