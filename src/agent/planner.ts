/**
 * What this host is to hold: the backend's plan for the host, the network config, the own lease and the peers as they
 * are now, handed to the reconciler whenever one of these has changed.
 */

import { formatPrefix } from "../address/prefix.ts";
import type { Backend, Host, NextHopLookup } from "../backend/backend.ts";
import type { Network } from "../backend/backends.ts";
import type { Logger } from "../base/logger.ts";
import type { Lease, OwnLease, SubnetPair } from "../lease/lease.ts";
import type { SharedPublicIp } from "../lease/lease-table.ts";
import { keyOf, RTPROT_FLANNEL, type State, type StateObject } from "../state/objects.ts";
import type { Target } from "../state/target.ts";
import { ProblemLog, sharedAddressProblems } from "./peers.ts";

/** What does not change by itself, but by an operator. */
export interface Setting {
  readonly network: Network;
  readonly backend: Backend;
  readonly host: Host;
}

export interface PlannerOptions {
  /** `--ip-blackhole-route`. */
  readonly blackholeRoute: boolean;
  readonly own: () => OwnLease | undefined;
  /** Undefined = not known yet. */
  readonly peers: () => readonly Lease[] | undefined;
  /** Public addresses that several hosts claim. */
  readonly sharedIps: () => readonly SharedPublicIp[];
  readonly nextHop: () => NextHopLookup;
  readonly setTarget: (target: Target) => void;
  readonly logger: Logger;
}

export class Planner {
  readonly #options: PlannerOptions;
  readonly #problems: ProblemLog;
  #setting: Setting;
  #links: readonly StateObject[] = [];

  /** Throws ConfigError if the backend cannot work on this host. */
  constructor(setting: Setting, options: PlannerOptions) {
    setting.backend.checkHost(setting.host);
    this.#setting = setting;
    this.#options = options;
    this.#problems = new ProblemLog(options.logger);
  }

  get setting(): Setting {
    return this.#setting;
  }

  get mtuBytes(): number {
    return this.#setting.backend.mtuBytes(this.#setting.host);
  }

  /** The devices of the latest plan. */
  get links(): readonly StateObject[] {
    return this.#links;
  }

  /** Plans with these from now on. Throws ConfigError if they do not go together: then all stays as it was. */
  change(part: Partial<Setting>): void {
    const setting = { ...this.#setting, ...part };
    setting.backend.checkHost(setting.host);
    this.#setting = setting;
    this.replan();
  }

  replan(): void {
    const { network, backend, host } = this.#setting;
    const { own, peers, sharedIps, nextHop, setTarget, blackholeRoute } = this.#options;
    const held = own();
    const subnets = held?.subnets;
    const known = peers();
    const plan = backend.plan({ host, network, own: subnets, peers: known, nextHop: nextHop() });
    const twins = sharedAddressProblems(sharedIps(), held?.key, plan.problems);
    this.#problems.report([...plan.problems, ...twins]);
    this.#links = [...plan.state.values()].filter(({ kind }) => kind === "link");
    setTarget({
      state: blackholeRoute && subnets !== undefined ? withBlackholes(plan.state, subnets) : plan.state,
      ownership: backend.ownership(network),
      keepOthers: known === undefined,
    });
  }
}

/** Packets for containers that do not exist end here instead of going back to where they came from. */
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
