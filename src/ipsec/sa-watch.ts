/**
 * Follows the security associations of the connections: initiates those that have none (the peer restarted, or gave up), and
 * reports peers that have had no tunnel for 15 s, once when that begins and once when it is over.
 */

import { hasCode } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import { connectionName } from "../state/kinds/ipsec-connection.ts";
import type { IpsecConnection } from "../state/objects.ts";
import { childName } from "./connection-message.ts";
import { MISSING, type Tunnel, tunnelsOf } from "./tunnel.ts";
import type { ViciClient } from "./vici-client.ts";

/** How long a peer may have no tunnel until it is reported. */
const QUIET_MS = 15_000;
/** A connection without security association is initiated at most so often. */
const INITIATE_MS = 4_000;

interface Missing {
  readonly sinceMs: number;
  /** When it may be initiated. */
  initiateMs: number;
  isReported: boolean;
}

/** The security associations of charon as they were last listed, by connection. */
export class SaWatch {
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #missing = new Map<string, Missing>();
  readonly #tunnels = new Map<string, Tunnel>();
  #notes: readonly string[] = [];

  constructor({ logger, timers }: { readonly logger: Logger; readonly timers: Timers }) {
    this.#logger = logger;
    this.#timers = timers;
  }

  get notes(): readonly string[] {
    return this.#notes;
  }

  /** By the peer's subnet. */
  get tunnels(): ReadonlyMap<string, Tunnel> {
    return this.#tunnels;
  }

  /** Forgets what charon said about one connection, or about all. */
  forget(connection?: IpsecConnection): void {
    if (connection !== undefined) this.#tunnels.delete(connection.remoteSubnet);
    else for (const subnet of this.#tunnels.keys()) this.#tunnels.set(subnet, MISSING);
  }

  /** Rejects with FlannelError if charon does not answer. */
  async check(client: ViciClient, connections: readonly IpsecConnection[]): Promise<void> {
    const tunnels = tunnelsOf(await client.stream("list-sas", "list-sa"));
    const names = new Set(connections.map(connectionName));
    for (const name of this.#missing.keys()) if (!names.has(name)) this.#missing.delete(name);
    this.#tunnels.clear();
    const notes: string[] = [];
    for (const connection of connections) {
      const name = connectionName(connection);
      const tunnel = tunnels.get(name) ?? MISSING;
      this.#tunnels.set(connection.remoteSubnet, tunnel);
      if (tunnel.state === "established") {
        if (this.#missing.get(name)?.isReported)
          this.#logger.info(`IPsec tunnel to ${connection.remote} established`);
        this.#missing.delete(name);
        continue;
      }
      const note = await this.#noteMissing(client, connection, tunnel);
      if (note !== undefined) notes.push(note);
    }
    this.#notes = notes;
  }

  async #noteMissing(
    client: ViciClient,
    connection: IpsecConnection,
    tunnel: Tunnel,
  ): Promise<string | undefined> {
    const nowMs = this.#timers.nowMs();
    const name = connectionName(connection);
    const known = this.#missing.get(name);
    const missing = known ?? { sinceMs: nowMs, initiateMs: nowMs + INITIATE_MS, isReported: false };
    this.#missing.set(name, missing);
    if (tunnel.state === "missing" && nowMs >= missing.initiateMs) {
      missing.initiateMs = nowMs + INITIATE_MS;
      await initiate(client, connection);
    }
    if (nowMs - missing.sinceMs < QUIET_MS) return undefined;
    const note = `no IPsec tunnel to ${connection.remote}: it is down, has another PSK or proposal, or UDP 500 and 4500 are closed`;
    if (!missing.isReported) this.#logger.warn(`${note[0]!.toUpperCase()}${note.slice(1)}`);
    missing.isReported = true;
    return note;
  }
}

/** Does not wait for the outcome, which the next listing shows. */
async function initiate(client: ViciClient, connection: IpsecConnection): Promise<void> {
  try {
    const message = { ike: connectionName(connection), child: childName(connection), timeout: "-1" };
    await client.command("initiate", message);
  } catch (error) {
    if (!hasCode(error, "REFUSED")) throw error;
  }
}
