/** Publishes the own subnets and the config in effect to this host's other consumers: firewall and subnet.env. */

import { isDeepStrictEqual } from "node:util";
import type { FlanneldOptions } from "../config/options.ts";
import type { SubnetEnv } from "../config/subnet-env.ts";
import { desiredFirewall } from "./desired-firewall.ts";
import type { FirewallKeeper } from "./firewall-keeper.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";
import type { Planner } from "./planner.ts";
import type { SubnetFile } from "./subnet-file.ts";

export interface PublisherParts {
  readonly planner: Planner;
  readonly keeper: LeaseKeeper;
  readonly firewall: FirewallKeeper;
  readonly subnetFile: SubnetFile;
}

export class Publisher {
  readonly #options: FlanneldOptions["firewall"];
  readonly #parts: PublisherParts;
  #published: SubnetEnv | undefined;

  constructor(options: FlanneldOptions["firewall"], parts: PublisherParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** Publishes what has changed; nothing before the host has a lease. */
  publish(signal: AbortSignal): void {
    const { planner, keeper, firewall, subnetFile } = this.#parts;
    if (keeper.own === undefined) return;
    const { network, backend, host } = planner.config;
    const { subnets } = keeper.own;
    const listeners = backend.listeners(host).map((each) => ({ ...each, device: host.interfaceName }));
    firewall.setDesired({ ...desiredFirewall(this.#options, network, subnets), listeners });
    const networks = { ipv4: network.ipv4?.network, ipv6: network.ipv6?.network };
    const env = { network: networks, subnets, mtuBytes: planner.mtuBytes, ipMasq: this.#options.ipMasq };
    if (isDeepStrictEqual(env, this.#published)) return;
    this.#published = env;
    subnetFile.publish(env, signal);
  }
}
