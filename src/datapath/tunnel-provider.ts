/** The provider of the udp backend's tunnel and its forwarding entries, which live in this process (tunnel-driver.ts). */

import { FlannelError } from "../base/error.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import type { StateKind, StateObject, StateOperation, UdpTunnel } from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";
import type { Notice, Provider } from "../state/provider.ts";
import type { TunnelDriver } from "./tunnel-driver.ts";

export class TunnelProvider implements Provider {
  readonly name = "the udp data path";
  readonly kinds: ReadonlySet<StateKind> = new Set(["tunnel", "forwarding"]);
  readonly #driver: TunnelDriver;

  constructor(driver: TunnelDriver) {
    this.#driver = driver;
  }

  async observe({ devices }: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]> {
    return this.#driver.observe().filter(({ kind, device }) => kinds.has(kind) && devices.has(device));
  }

  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const results: (FlannelError | undefined)[] = [];
    for (const operation of operations) {
      try {
        await this.#driver.apply(operation);
        results.push(undefined);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        results.push(error);
      }
    }
    this.#driver.commit();
    return results;
  }

  /** One notice whenever a tunnel ended without an order. */
  watch(_ownership: () => Ownership, signal: AbortSignal): AsyncIterable<Notice> {
    const ended: UdpTunnel[] = [];
    const news = new WakeSignal();
    this.#driver.onEnd = (tunnel) => {
      ended.push(tunnel);
      news.wake();
    };
    return (async function* () {
      while ((await news.wait({ signal })) === "woken")
        yield ended.splice(0).map((object) => ({ action: "touched" as const, object }));
    })();
  }
}
