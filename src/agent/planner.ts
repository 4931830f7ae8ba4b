/**
 * Plans the desired state of this host: the backend's plan for the current host, network config, own lease and peers is
 * set as the reconciler's target whenever one of these changes.
 */

import { formatPrefix, type Prefix } from "../address/prefix.ts";
import type { Backend, Host, NextHopLookup, PeerProblem } from "../backend/backend.ts";
import { typeConflicts } from "../backend/backend-types.ts";
import type { Network } from "../backend/backends.ts";
import type { Logger } from "../base/logger.ts";
import type { Lease, OwnLease, SubnetPair } from "../lease/lease.ts";
import type { SharedPublicIp } from "../lease/lease-table.ts";
import { keyOf, RTPROT_FLANNEL, type State, type StateObject } from "../state/objects.ts";
import type { Target } from "../state/target.ts";
import { ownSubnetProblems, ProblemLog, sharedAddressProblems } from "./peers.ts";

/** What a start resolves and only an operator changes: the inputs of a plan besides leases and routes. */
export interface ResolvedConfig {
  readonly network: Network;
  readonly backend: Backend;
  readonly host: Host;
}

export interface PlannerOptions {
  /** Networks of an earlier run, owned until {@link Planner.forgetFormerNetworks}. */
  readonly formerNetworks?: readonly Prefix[];
  /** `--ip-blackhole-route`. */
  readonly blackholeRoute: boolean;
  readonly own: () => OwnLease | undefined;
  /** The own lease as the datastore lists it; undefined = not yet. */
  readonly listedOwn?: () => Lease | undefined;
  /** Undefined = the leases were not received yet. */
  readonly peers: () => readonly Lease[] | undefined;
  /** Public addresses that more than one host claims. */
  readonly sharedIps: () => readonly SharedPublicIp[];
  readonly nextHop: () => NextHopLookup;
  readonly setTarget: (target: Target) => void;
  readonly logger: Logger;
}

export class Planner {
  readonly #options: PlannerOptions;
  readonly #problems: ProblemLog;
  #config: ResolvedConfig;
  #links: readonly StateObject[] = [];
  #state: State = new Map();
  #peerProblems: readonly PeerProblem[] = [];
  #formerNetworks: readonly Prefix[];
  #hasDeviceAddress = false;
  #isComplete = false;

  /** Throws ConfigError if the backend cannot work on this host. */
  constructor(config: ResolvedConfig, options: PlannerOptions) {
    config.backend.checkHost(config.host);
    this.#config = config;
    this.#options = options;
    this.#problems = new ProblemLog(options.logger);
    this.#formerNetworks = options.formerNetworks ?? [];
  }

  /** The config in effect. */
  get config(): ResolvedConfig {
    return this.#config;
  }

  /** MTU for containers. */
  get mtuBytes(): number {
    return this.#config.backend.mtuBytes(this.#config.host);
  }

  /** Peers that cannot be reached and why, one line each. */
  get problems(): readonly string[] {
    return this.#problems.lines;
  }

  /** The same by peer. */
  get peerProblems(): readonly PeerProblem[] {
    return this.#peerProblems;
  }

  /** Whether the latest plan has a route to exactly this destination. */
  hasRoute(destination: string): boolean {
    return this.#state.has(keyOf(routeTo(destination)));
  }

  /** Whether the latest plan has anything that carries packets to peers. */
  get carriesPeers(): boolean {
    return this.#state.size > 0;
  }

  /** Whether each host of the network has an address of its own subnet on a device of the backend. */
  get hasDeviceAddress(): boolean {
    return this.#hasDeviceAddress;
  }

  /** The devices of the latest plan. */
  get links(): readonly StateObject[] {
    return this.#links;
  }

  /** Plans with these from now on. Throws ConfigError, and keeps the previous config, if they do not fit together. */
  change(part: Partial<ResolvedConfig>): void {
    const config = { ...this.#config, ...part };
    config.backend.checkHost(config.host);
    this.#config = config;
    this.replan();
  }

  /** Gives up former networks, once they were planned to be empty; returns those given up. To be called after a pass that converged. */
  forgetFormerNetworks(): readonly Prefix[] {
    if (this.#formerNetworks.length === 0 || !this.#isComplete) return [];
    const former = this.#formerNetworks;
    this.#formerNetworks = [];
    this.replan();
    return former;
  }

  /** Plans again and sets the reconciler's target. */
  replan(): void {
    const { network, backend, host } = this.#config;
    const { own, peers, sharedIps, nextHop, setTarget, blackholeRoute } = this.#options;
    const held = own();
    const subnets = held?.subnets;
    const known = peers();
    const plan = backend.plan({ host, network, own: subnets, peers: known, nextHop: nextHop() });
    const duplicates = sharedAddressProblems(sharedIps(), held?.key, plan.problems);
    const refused = ownSubnetProblems(this.#options.listedOwn?.(), known ?? []);
    const conflicts = typeConflicts(known ?? [], backend.type);
    this.#peerProblems = duplicates.length === 0 ? plan.problems : [...plan.problems, ...duplicates];
    this.#problems.report(this.#peerProblems, [...refused, ...conflicts]);
    this.#state = plan.state;
    this.#links = linksOf(plan.state);
    this.#hasDeviceAddress = plan.state.values().some(({ kind }) => kind === "address");
    this.#isComplete = known !== undefined;
    const ownership = backend.ownership(network);
    setTarget({
      state: blackholeRoute && subnets !== undefined ? withBlackholes(plan.state, subnets) : plan.state,
      ownership: { ...ownership, networks: [...ownership.networks, ...this.#formerNetworks] },
      keepOthers: known === undefined,
    });
  }
}

function linksOf(state: State): StateObject[] {
  const links: StateObject[] = [];
  state.forEach((object) => {
    if (object.kind === "link") links.push(object);
  });
  return links;
}

const routeTo = (destination: string): StateObject => ({
  ...{ kind: "route", destination, device: "", via: undefined, onlink: false, protocol: RTPROT_FLANNEL },
});

/** Packets for containers that do not exist are dropped here instead of being routed back to their sender. */
function withBlackholes(state: State, { ipv4, ipv6 }: SubnetPair): State {
  const all = new Map(state);
  for (const subnet of [ipv4, ipv6]) {
    if (subnet === undefined) continue;
    const route: StateObject = {
      kind: "route",
      type: "blackhole",
      destination: formatPrefix(subnet),
      device: "",
      via: undefined,
      onlink: false,
      protocol: RTPROT_FLANNEL,
    };
    all.set(keyOf(route), route);
  }
  return all;
}
