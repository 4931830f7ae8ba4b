/**
 * Watches the host that flanneld runs on: its interfaces, addresses and routes. When they change, the external interface
 * is chosen again (W45), and so are the ways to the peers (W23, W27); a host whose interface is away for the moment keeps
 * what it has and gets it back with the interface.
 */

import { isDeepStrictEqual } from "node:util";
import type { Ip } from "../address/ip.ts";
import { containsIp, parsePrefix } from "../address/prefix.ts";
import { ConfigError, FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { monitor, type Notification, type NotificationSource } from "../netlink/monitor.ts";
import type { ExternalInterface } from "./external-interface.ts";
import type { NextHops } from "./next-hops.ts";

export interface HostWatchOptions {
  /** Subscribes to the kernel's notifications from this call on. */
  readonly openNotifications: () => NotificationSource;
  /** Our own connection's: what it changes is no news. */
  readonly ownPortId: number;
  /** An address by whose route the interface is chosen (`--iface-can-reach`). */
  readonly reach: Ip | undefined;
  /** The choice as it would be made now. Throws ConfigError if there is none, NetlinkError. */
  readonly choose: () => ExternalInterface;
  /** The choice was another than before. Throws ConfigError if the host cannot work with it. */
  readonly onInterface: (chosen: ExternalInterface) => void;
  readonly nextHops: NextHops;
  /** The addresses that {@link nextHops} is to know. */
  readonly peerAddresses: () => Iterable<Ip>;
  /** A way to a peer has changed. */
  readonly onNextHops: () => void;
  /** What stands in the way of the external interface; undefined = nothing. */
  readonly onProblem: (problem: string | undefined) => void;
  readonly logger: Logger;
  readonly timers: Timers;
}

/** One change comes as several notices: these are waited for. */
const SETTLE_MS = 10;
const RETRY_MS = 1_000;
/** Policy rules (ip-rule(8)) have no notices here, and nobody is infallible. */
const REFRESH_MS = 60_000;

export class HostWatch {
  readonly #options: HostWatchOptions;
  #chosen: ExternalInterface;
  #problem: string | undefined;
  #isChoiceDue = false;

  constructor(options: HostWatchOptions, chosen: ExternalInterface) {
    this.#options = options;
    this.#chosen = chosen;
  }

  /** Watches until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { openNotifications, ownPortId, logger, timers } = this.#options;
    void this.#refreshAtTimes(signal);
    while (!signal.aborted) {
      try {
        using scope = new DisposableStack();
        const source = scope.use(openNotifications());
        const close = () => source[Symbol.dispose]();
        signal.addEventListener("abort", close);
        scope.defer(() => signal.removeEventListener("abort", close));
        this.#heed([{ type: "overrun" }], signal); // what happened before there was a source
        for await (const notices of monitor(source, { ignorePortId: ownPortId })) this.#heed(notices, signal);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        logger.warn(`Changes of this host's interfaces cannot be watched, trying again: ${messageOf(error)}`);
        await sleep(timers, RETRY_MS, signal);
      }
    }
  }

  #heed(notices: readonly Notification[], signal: AbortSignal): void {
    const { nextHops, onNextHops } = this.#options;
    if (nextHops.heed(notices)) onNextHops();
    if (this.#isChoiceDue || !notices.some((notice) => this.#mayChangeChoice(notice))) return;
    this.#isChoiceDue = true;
    this.#options.timers.after(SETTLE_MS, () => {
      this.#isChoiceDue = false;
      if (!signal.aborted) this.#chooseAgain(signal);
    });
  }

  #chooseAgain(signal: AbortSignal): void {
    const { choose, onInterface, onProblem, logger, timers } = this.#options;
    let problem: string | undefined;
    try {
      const chosen = choose();
      if (!isDeepStrictEqual(chosen, this.#chosen) || this.#problem !== undefined) onInterface(chosen);
      this.#chosen = chosen;
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      problem = messageOf(error);
      // A ConfigError passes with the next change of the host; whatever else the kernel said passes by itself.
      if (!(error instanceof ConfigError))
        timers.after(RETRY_MS, () => this.#heed([{ type: "overrun" }], signal));
    }
    if (problem === this.#problem) return;
    this.#problem = problem;
    if (problem === undefined) logger.info("There is a usable external interface again");
    else logger.warn(`Going on with the external interface as it was: ${problem}`);
    onProblem(problem);
  }

  async #refreshAtTimes(signal: AbortSignal): Promise<void> {
    const { nextHops, peerAddresses, onNextHops, timers } = this.#options;
    for (;;) {
      await sleep(timers, REFRESH_MS, signal);
      if (signal.aborted) return;
      try {
        if (nextHops.refresh(peerAddresses())) onNextHops();
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
      }
    }
  }

  #mayChangeChoice(notice: Notification): boolean {
    if (notice.type !== "route") return notice.type !== "neighbour" && notice.type !== "fdb";
    const { reach } = this.#options;
    const prefix = parsePrefix(notice.value.destination);
    return (
      prefix !== undefined && (prefix.length === 0 || (reach !== undefined && containsIp(prefix, reach)))
    );
  }
}
