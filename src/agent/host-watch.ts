/**
 * Watches the interfaces, addresses and routes of this host. When they change, the external interface is chosen again
 * (W45) and the next hops of the peers are looked up again (W23, W27). While no interface is usable, the previous choice
 * stays in effect; it is applied again once the interface is back.
 */

import { isDeepStrictEqual } from "node:util";
import type { Ip } from "../address/ip.ts";
import { containsIp, parsePrefix } from "../address/prefix.ts";
import { ConfigError, FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { monitor, type Notification, type NotificationSource } from "../netlink/monitor.ts";
import { type ExternalInterface, NoInterfaceError } from "./external-interface.ts";
import type { NextHops } from "./next-hops.ts";

export interface HostWatchOptions {
  /** Subscribes to the kernel's notifications from this call on. */
  readonly openNotifications: () => NotificationSource;
  /** Port id of our own connection: its changes are ignored. */
  readonly ownPortId: number;
  /** An address by whose route the interface is chosen (`--iface-can-reach`). */
  readonly reach: Ip | undefined;
  /** Chooses now; `current` = the choice in effect. Throws ConfigError if no interface is usable, NetlinkError. */
  readonly choose: (current: ExternalInterface) => ExternalInterface;
  /** Called when the choice changed, or is usable again. Throws ConfigError if the backend cannot work with it. */
  readonly onInterface: (chosen: ExternalInterface) => void;
  /** Whether the interface with this index exists and is up. Throws NetlinkError. */
  readonly isPresent: (index: number) => boolean;
  readonly nextHops: NextHops;
  /** The addresses for which {@link nextHops} keeps next hops. */
  readonly peerAddresses: () => Iterable<Ip>;
  /** Called when the next hop of a peer changed. */
  readonly onNextHops: () => void;
  /** Called when links, addresses or default routes have changed, and once at the start of the watch. */
  readonly onHostChange: () => void;
  /** Called with all notifications but those of our own changes. */
  readonly onNotices: (notices: readonly Notification[]) => void;
  /** Called with the reason why no external interface is usable; undefined = one is. */
  readonly onProblem: (problem: string | undefined) => void;
  readonly logger: Logger;
  readonly timers: Timers;
}

/** One change causes several notifications: one choice for all of them. */
const SETTLE_MS = 10;
const RETRY_MS = 1_000;
/** Changes of policy rules (ip-rule(8)) are not notified in the subscribed groups; this is also the safety net. */
const REFRESH_MS = 60_000;

export class HostWatch {
  readonly #options: HostWatchOptions;
  #chosen: ExternalInterface;
  #problem: string | undefined;
  /** What was logged last; undefined = the interface is usable. */
  #loggedCause: string | undefined;
  #isChoiceDue = false;

  constructor(options: HostWatchOptions, chosen: ExternalInterface) {
    this.#options = options;
    this.#chosen = chosen;
  }

  /** Watches until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { openNotifications, ownPortId, logger, timers } = this.#options;
    void this.#refreshPeriodically(signal);
    while (!signal.aborted) {
      try {
        using scope = new DisposableStack();
        const source = scope.use(openNotifications());
        const close = () => source[Symbol.dispose]();
        signal.addEventListener("abort", close);
        scope.defer(() => signal.removeEventListener("abort", close));
        this.#handle([{ type: "overrun" }], signal); // changes from before the subscription
        for await (const notices of monitor(source, { ignorePortId: ownPortId }))
          this.#handle(notices, signal);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        logger.warn(`Failed to watch the interfaces of this host; retrying: ${messageOf(error)}`);
        await sleep(timers, RETRY_MS, signal);
      }
    }
  }

  #handle(notices: readonly Notification[], signal: AbortSignal): void {
    const { nextHops, onNextHops, onNotices, isPresent } = this.#options;
    onNotices(notices);
    // While the external interface is missing there is no better plan than the current one, and one problem to report.
    if (nextHops.update(notices) && (nextHops.hasAny || isPresent(this.#chosen.index))) onNextHops();
    if (this.#isChoiceDue || !notices.some((notice) => this.#mayChangeChoice(notice))) return;
    this.#isChoiceDue = true;
    this.#options.timers.after(SETTLE_MS, () => {
      this.#isChoiceDue = false;
      if (signal.aborted) return;
      this.#chooseAgain(signal);
      this.#options.onHostChange();
    });
  }

  #chooseAgain(signal: AbortSignal): void {
    const { choose, onInterface, onProblem, logger, timers } = this.#options;
    let problem: string | undefined;
    let cause: string | undefined;
    try {
      const chosen = choose(this.#chosen);
      if (!isDeepStrictEqual(chosen, this.#chosen) || this.#problem !== undefined) onInterface(chosen);
      this.#chosen = chosen;
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      problem = messageOf(error);
      cause = error instanceof NoInterfaceError ? error.attempts : problem;
      // A ConfigError lasts until the next change of the host, which is notified; a NetlinkError needs a retry.
      if (!(error instanceof ConfigError))
        timers.after(RETRY_MS, () => this.#handle([{ type: "overrun" }], signal));
    }
    if (problem === this.#problem) return;
    this.#problem = problem;
    onProblem(problem);
    if (cause === this.#loggedCause) return;
    this.#loggedCause = cause;
    if (problem === undefined) logger.info("External interface is usable again");
    else logger.warn(`Keeping the previous external interface: ${problem}`);
  }

  async #refreshPeriodically(signal: AbortSignal): Promise<void> {
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
