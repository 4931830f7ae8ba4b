/**
 * Stage 3 of the agent: runs its parts until aborted. Device, lease, then subnet.env and peers, then the firewall; ready
 * when all of it is in place. What is programmed stays in the kernel, so that containers keep their connections.
 */

import { isDeepStrictEqual } from "node:util";
import type { Host } from "../backend/backend.ts";
import { messageOf } from "../base/error.ts";
import { sleep } from "../base/timers.ts";
import { describeSubnets } from "../lease/lease.ts";
import { driftOf } from "./drift.ts";
import type { AgentEvent } from "./events.ts";
import type { ExternalInterface } from "./external-interface.ts";
import { hostOf } from "./host.ts";
import { adviceFor } from "./host-advice.ts";
import { keepMemoryLow } from "./memory-keeper.ts";
import { followNetwork } from "./network-change.ts";
import { releaseNetworks } from "./network-claim.ts";
import type { AgentParts } from "./parts.ts";
import type { ResolvedConfig } from "./planner.ts";
import type { AgentPorts } from "./ports.ts";
import type { Readiness } from "./readiness.ts";
import type { Resolver } from "./resolve.ts";

/** Longest time that an incomplete initial programming leaves the host unwatched. */
const UNWATCHED_MS = 2_000;
/** Longest time that the firewall waits for the initial programming. */
const FIREWALL_WAITS_MS = 500;

export class RunningAgent {
  readonly #parts: AgentParts;
  readonly #resolver: Resolver;
  readonly #ports: AgentPorts;
  readonly #readiness: Readiness;
  readonly #signal: AbortSignal;
  readonly #programmed = Promise.withResolvers<void>();
  #isProgrammed = false;

  constructor(
    parts: AgentParts,
    resolver: Resolver,
    ports: AgentPorts,
    readiness: Readiness,
    signal: AbortSignal,
  ) {
    this.#parts = parts;
    this.#resolver = resolver;
    this.#ports = ports;
    this.#readiness = readiness;
    this.#signal = signal;
    const { keeper, follower, planner, reconciler, events } = parts;
    readiness.watch("lease", () => (keeper.problem === undefined ? [] : [keeper.problem]));
    readiness.watch("peers", () => (follower.isKnown ? [] : ["leases not received yet"]));
    readiness.addNotes(() => planner.problems);
    readiness.watch("kernel", () => {
      const { problems } = reconciler.status;
      return this.#isProgrammed || problems.length > 0 ? problems : ["initial programming is not complete"];
    });
    events.subscribe((event) => this.#react(event));
    // Nothing waits for the initial programming of a process that ends.
    signal.addEventListener("abort", () => this.#programmed.resolve(), { once: true });
  }

  /** Until aborted, or until a part fails: rejects with its error. */
  async run(): Promise<void> {
    await Promise.all([this.#serve(), this.#watchHost(), this.#followConfig()]);
  }

  #react(event: AgentEvent): void {
    const { planner, publisher, reconciler, follower, bridges, foreignRoutes } = this.#parts;
    switch (event.type) {
      case "pass":
        this.#isProgrammed ||= follower.isKnown && reconciler.status.converged;
        if (this.#isProgrammed) this.#programmed.resolve();
        if (reconciler.status.converged) releaseNetworks(planner.forgetFormerNetworks(), this.#ports.claims);
        this.#readiness.changed();
        break;
      case "repair":
        this.#ports.drift.record(driftOf(event.repair, this.#ports.socketOwner));
        break;
      case "subnets":
        planner.replan();
        bridges.check();
        publisher.publish(this.#signal);
        break;
      case "lease":
        this.#readiness.changed();
        break;
      case "copied":
        this.#ports.logger.warn(
          "Another host has this host's VTEP MAC: one of the two is a clone; taking a fresh MAC and another subnet",
        );
        this.#change({ backend: this.#resolver.createFreshBackend(planner.config.network) });
        break;
      case "peers":
        if (!this.#isProgrammed) this.#ports.limitMemory(); // reading it takes a third of a millisecond
        planner.replan();
        if (this.#isProgrammed) foreignRoutes.schedule();
        break;
      case "next-hops":
        if (planner.config.backend.asksForNextHops) planner.replan();
        break;
    }
  }

  async #serve(): Promise<void> {
    const { planner, reconciler, keeper, follower } = this.#parts;
    planner.replan(); // the device first: peers use it as soon as the lease is published
    await reconciler.whenConverged(this.#signal);
    if ((await keeper.acquire(this.#signal)) === undefined) return;
    const work = [keeper.run(this.#signal), follower.run(this.#signal), this.#keepFirewall()];
    await Promise.all([...work, this.#onceReady(), this.#probe()]);
  }

  /** After the initial programming: starting the tools blocks this thread, which has thousands of routes to program first. */
  async #keepFirewall(): Promise<void> {
    await this.#whenProgrammed(FIREWALL_WAITS_MS);
    if (!this.#signal.aborted) await this.#parts.firewall.run(this.#signal);
  }

  /** After the initial programming: its thousands of notifications carry no news. */
  async #watchHost(): Promise<void> {
    await this.#whenProgrammed(UNWATCHED_MS);
    await this.#parts.createWatch((chosen) => this.#changeHost(chosen)).run(this.#signal);
  }

  /** Peers that are not programmed yet would not answer. */
  async #probe(): Promise<void> {
    await this.#programmed.promise;
    if (!this.#signal.aborted) await this.#parts.prober.run(this.#signal);
  }

  async #whenProgrammed(limitMs: number): Promise<void> {
    await Promise.race([this.#programmed.promise, sleep(this.#ports.timers, limitMs, this.#signal)]);
  }

  #followConfig(): Promise<void> {
    const { planner } = this.#parts;
    return followNetwork(
      {
        ...this.#ports,
        current: () => planner.config,
        createBackend: (network) => this.#resolver.createBackend(network, planner.links),
        apply: (network, backend) => this.#change({ network, backend }),
      },
      this.#signal,
    );
  }

  /** Throws ConfigError if the backend does not work with this interface. */
  #changeHost(chosen: ExternalInterface): void {
    const { planner } = this.#parts;
    const { store, logger } = this.#ports;
    const before = planner.config.host;
    const host = hostOf(chosen);
    this.#change({ host }, () => {
      if (!isDeepStrictEqual([host.ipv4, host.ipv6], [before.ipv4, before.ipv6])) store.addressesChanged?.();
      if (!isDeepStrictEqual(withoutOthers(host), withoutOthers(before)))
        logger.info(`External interface ${this.#resolver.describe(planner.config)}`);
    });
  }

  /** Programs and publishes another config. Throws ConfigError, and changes nothing, if it does not work on this host. */
  #change(part: Partial<ResolvedConfig>, onAccepted: () => void = () => {}): void {
    const { planner, keeper, publisher } = this.#parts;
    planner.change(part);
    onAccepted();
    keeper.update(planner.config.network, this.#resolver.attributesOf(planner.config));
    publisher.publish(this.#signal);
  }

  async #onceReady(): Promise<void> {
    const { store, memory, timers } = this.#ports;
    await this.#readiness.whenReady(this.#signal);
    if (this.#signal.aborted) return;
    this.#announceReadiness();
    await Promise.all([store.keepAvailable?.(this.#signal), keepMemoryLow(memory, timers, this.#signal)]);
  }

  #announceReadiness(): void {
    const { logger, notifyReady, readFile } = this.#ports;
    const { network } = this.#parts.planner.config;
    for (const advice of adviceFor({ network, readFile })) logger.warn(advice);
    this.#parts.foreignRoutes.check();
    logger.info(`flanneld is ready: ${describeSubnets(this.#parts.keeper.own!.subnets)}`);
    try {
      notifyReady();
    } catch (error) {
      logger.error(`Failed to notify the service manager of readiness: ${messageOf(error)}`);
    }
  }
}

/** What concerns the external interface itself. */
const withoutOthers = (host: Host): Host => ({ ...host, localAddresses: undefined });
