/**
 * The provider of IKE connections to peers, held by charon over VICI. charon reports names only, so that the provider
 * remembers what it loaded; what a charon has from elsewhere is loaded again, which changes nothing if it is equal. A charon
 * that restarted has nothing, and gets everything again.
 */

import { FlannelError, hasCode } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { connectionName } from "../state/kinds/ipsec-connection.ts";
import type { IpsecConnection, StateKind, StateObject, StateOperation } from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";
import type { Notice, Provider } from "../state/provider.ts";
import type { Charon } from "./charon.ts";
import { REQID } from "./policy-provider.ts";
import { SaWatch } from "./sa-watch.ts";
import type { ViciClient } from "./vici-client.ts";

export interface ConnectionProviderOptions {
  readonly charon: Charon;
  /** The preshared key with a fingerprint; undefined = unknown. */
  readonly secretOf: (fingerprint: string) => string | undefined;
  readonly logger: Logger;
  readonly timers: Timers;
}

/** How often the security associations are listed. */
const POLL_MS = 5_000;

export class ConnectionProvider implements Provider {
  readonly name = "charon";
  readonly kinds: ReadonlySet<StateKind> = new Set(["ipsec-connection"]);
  readonly #options: ConnectionProviderOptions;
  /** What was loaded, by name. */
  readonly #loaded = new Map<string, IpsecConnection>();
  readonly #watch: SaWatch;
  /** The charon that has them. */
  #owner: ViciClient | undefined;

  constructor(options: ConnectionProviderOptions) {
    this.#options = options;
    this.#watch = new SaWatch(options);
  }

  /** Peers without a tunnel, one line each. */
  get notes(): readonly string[] {
    return this.#watch.notes;
  }

  async observe(): Promise<StateObject[]> {
    if (this.#owner === undefined) return [];
    if (this.#owner.closed.aborted) this.#forget();
    else {
      const { conns } = await this.#owner.command("get-conns");
      const names = new Set(Array.isArray(conns) ? conns : []);
      for (const name of this.#loaded.keys()) if (!names.has(name)) this.#loaded.delete(name);
    }
    return [...this.#loaded.values()];
  }

  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const results: (FlannelError | undefined)[] = [];
    for (const { object, action } of operations) {
      const connection = object as IpsecConnection;
      try {
        const client = await this.#options.charon.client();
        if (client !== this.#owner) this.#forget();
        this.#owner = client;
        if (action === "remove") await this.#unload(client, connection);
        else await this.#load(client, connection);
        results.push(undefined);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        results.push(error);
      }
    }
    return results;
  }

  async *watch(_ownership: () => Ownership, signal: AbortSignal): AsyncGenerator<Notice> {
    while (!signal.aborted) {
      const owner = this.#owner;
      const ends = owner === undefined ? signal : AbortSignal.any([signal, owner.closed]);
      await sleep(this.#options.timers, POLL_MS, ends);
      if (signal.aborted || owner === undefined) continue;
      if (owner.closed.aborted) {
        this.#options.logger.warn("The connection to charon ended; loading all connections again");
        this.#forget();
        yield "overrun";
        continue;
      }
      try {
        const names = (await owner.command("get-conns")).conns;
        const isLost = [...this.#loaded.keys()].some(
          (name) => !Array.isArray(names) || !names.includes(name),
        );
        if (isLost) yield "overrun";
        await this.#watch.check(owner, [...this.#loaded.values()]);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
      }
    }
  }

  #forget(): void {
    this.#owner = undefined;
    this.#loaded.clear();
  }

  async #load(client: ViciClient, connection: IpsecConnection): Promise<void> {
    const { local, remote, localSubnet, remoteSubnet, udpEncap, espProposal, presharedKeyId } = connection;
    const secret = this.#options.secretOf(presharedKeyId);
    if (secret === undefined)
      throw new FlannelError("EINVAL", `the preshared key ${presharedKeyId} is not known to this process`);
    for (const owner of [local, remote])
      await client.command("load-shared", {
        id: `flannel-${owner}`,
        type: "IKE",
        data: secret,
        owners: [owner],
      });
    const name = connectionName(connection);
    await client.command("load-conn", {
      [name]: {
        version: "2",
        local_addrs: [local],
        remote_addrs: [remote],
        proposals: ["aes256-sha256-modp4096"],
        encap: udpEncap ? "yes" : "no",
        keyingtries: "0",
        // Go flannel asks for dpd_action without a delay, which leaves it off.
        dpd_delay: "10s",
        local: { auth: "psk" },
        remote: { auth: "psk" },
        children: {
          [`${localSubnet}-${remoteSubnet}`]: {
            local_ts: [localSubnet],
            remote_ts: [remoteSubnet],
            esp_proposals: [espProposal],
            mode: "tunnel",
            reqid: String(REQID),
            policies: "no",
            rekey_time: "1h",
            start_action: "start",
            close_action: "trap",
            dpd_action: "restart",
          },
        },
      },
    });
    this.#loaded.set(name, connection);
  }

  async #unload(client: ViciClient, connection: IpsecConnection): Promise<void> {
    const name = connectionName(connection);
    this.#loaded.delete(name);
    await client.command("unload-conn", { name });
    for (const [command, message] of [
      ["terminate", { ike: name, force: "yes", timeout: "-1" }],
      ["unload-shared", { id: `flannel-${connection.remote}` }],
    ] as const) {
      try {
        await client.command(command, message);
      } catch (error) {
        // There was no security association, or the key is gone already.
        if (!hasCode(error, "REFUSED")) throw error;
      }
    }
  }
}
