/**
 * Follows the security associations of the connections: initiates those that have none (the peer restarted, or gave up), and
 * reports peers that have had no tunnel for 15 s, once when that begins and once when it is over.
 */

import { FlannelError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import { connectionName } from "../state/kinds/ipsec-connection.ts";
import type { IpsecConnection } from "../state/objects.ts";
import type { ViciSection } from "./vici.ts";
import type { ViciClient } from "./vici-client.ts";

/** How long a peer may have no tunnel until it is reported. */
const QUIET_MS = 15_000;

interface Missing {
  readonly sinceMs: number;
  isReported: boolean;
}

export class SaWatch {
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #missing = new Map<string, Missing>();
  #notes: readonly string[] = [];

  constructor({ logger, timers }: { readonly logger: Logger; readonly timers: Timers }) {
    this.#logger = logger;
    this.#timers = timers;
  }

  get notes(): readonly string[] {
    return this.#notes;
  }

  /** Rejects with FlannelError if charon cannot be asked. */
  async check(client: ViciClient, connections: readonly IpsecConnection[]): Promise<void> {
    const states = statesOf(await client.stream("list-sas", "list-sa"));
    const names = new Set(connections.map(connectionName));
    for (const name of this.#missing.keys()) if (!names.has(name)) this.#missing.delete(name);
    const notes: string[] = [];
    for (const connection of connections) {
      const name = connectionName(connection);
      const state = states.get(name);
      const before = this.#missing.get(name);
      if (state === "established") {
        if (before?.isReported) this.#logger.info(`IPsec tunnel to ${connection.remote} established`);
        this.#missing.delete(name);
        continue;
      }
      const missing = before ?? { sinceMs: this.#timers.nowMs(), isReported: false };
      this.#missing.set(name, missing);
      if (before !== undefined && state === undefined) await initiate(client, connection);
      if (this.#timers.nowMs() - missing.sinceMs < QUIET_MS) continue;
      const note = `no IPsec tunnel to ${connection.remote}: it is down, has another PSK or proposal, or UDP 500 and 4500 are closed`;
      notes.push(note);
      if (!missing.isReported) this.#logger.warn(`${note[0]!.toUpperCase()}${note.slice(1)}`);
      missing.isReported = true;
    }
    this.#notes = notes;
  }
}

/** Does not wait for the outcome, which the next listing shows. */
async function initiate(client: ViciClient, connection: IpsecConnection): Promise<void> {
  try {
    await client.command("initiate", {
      ike: connectionName(connection),
      child: `${connection.localSubnet}-${connection.remoteSubnet}`,
      timeout: "-1",
    });
  } catch (error) {
    if (!(error instanceof FlannelError) || error.code !== "REFUSED") throw error;
  }
}

/** Per connection: whether it has an installed tunnel, or works on one; those without any are left out. */
function statesOf(events: readonly ViciSection[]): ReadonlyMap<string, "established" | "connecting"> {
  const states = new Map<string, "established" | "connecting">();
  for (const event of events) {
    for (const [name, sa] of Object.entries(event)) {
      if (typeof sa === "string" || Array.isArray(sa)) continue;
      const children = (sa as ViciSection)["child-sas"];
      const isInstalled =
        typeof children === "object" &&
        Object.values(children).some((child) => (child as ViciSection).state === "INSTALLED");
      if (isInstalled) states.set(name, "established");
      else if (!states.has(name)) states.set(name, "connecting");
    }
  }
  return states;
}
