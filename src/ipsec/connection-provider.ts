/**
 * The provider of IKE connections to peers, which charon has; over VICI. charon reports names only, so that the provider
 * remembers what it loaded; what a charon has from elsewhere (an earlier flanneld) is loaded again, or unloaded if no peer
 * needs it. A charon that restarted has nothing, and gets everything again.
 *
 * Requests to charon run beside the reconciler: a charon that hangs delays only its own connections.
 */

import { FlannelError, hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import { BackgroundJobs } from "../state/background-jobs.ts";
import { connectionName, parseConnectionName } from "../state/kinds/ipsec-connection.ts";
import type {
  IpsecConnection,
  StateChange,
  StateKind,
  StateObject,
  StateOperation,
} from "../state/objects.ts";
import { isWithin, type Ownership } from "../state/operation.ts";
import type { Notice, Provider } from "../state/provider.ts";
import type { Charon } from "./charon.ts";
import { connectionMessage, secretId } from "./connection-message.ts";
import { SaWatch } from "./sa-watch.ts";
import type { Tunnel } from "./tunnel.ts";
import type { ViciClient } from "./vici-client.ts";

/** What the provider needs of its process. */
export interface ConnectionProviderOptions {
  readonly charon: Pick<Charon, "client" | "existing">;
  /** The preshared key with a fingerprint; undefined = unknown. */
  readonly secretOf: (fingerprint: string) => string | undefined;
  /** Removes the kernel's security associations between two addresses. Throws FlannelError. */
  readonly removeAssociations: (local: string, remote: string) => void;
  readonly logger: Logger;
  readonly timers: Timers;
}

/** How often the security associations are listed, if no event of charon says that they have changed. */
const POLL_MS = 5_000;
/** Events come in bursts. */
const BURST_MS = 100;
/** How long a pass of the reconciler waits for charon. */
const PATIENCE_MS = 100;
/** Events after which the tunnels are listed. */
const EVENTS = ["ike-updown", "child-updown"];

/** The provider of connections in charon, over VICI. It waits 100 ms at most for charon, and continues in the background. */
export class ConnectionProvider implements Provider {
  readonly name = "charon";
  readonly kinds: ReadonlySet<StateKind> = new Set(["ipsec-connection"]);
  readonly #options: ConnectionProviderOptions;
  /** What charon has, by name. */
  readonly #loaded = new Map<string, IpsecConnection>();
  readonly #watch: SaWatch;
  readonly #jobs: BackgroundJobs;
  readonly #wake = new WakeSignal();
  /** The charon that has them. */
  #owner: ViciClient | undefined;

  constructor(options: ConnectionProviderOptions) {
    this.#options = options;
    this.#watch = new SaWatch(options);
    this.#jobs = new BackgroundJobs({
      ...{ timers: options.timers, patienceMs: PATIENCE_MS, unfinished: "charon has not answered yet" },
      run: (operation) => this.#run(operation),
    });
  }

  /** Peers without a tunnel, one line each. */
  get notes(): readonly string[] {
    return this.#watch.notes;
  }

  /** The tunnel to a peer's subnet, as last seen; undefined if none is desired. */
  tunnelTo(remoteSubnet: string): Tunnel | undefined {
    return this.#watch.tunnels.get(remoteSubnet);
  }

  async observe(): Promise<StateObject[]> {
    return [...this.#loaded.values()];
  }

  apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    return this.#jobs.apply(operations);
  }

  async *watch(ownership: () => Ownership, signal: AbortSignal): AsyncGenerator<Notice> {
    const following = this.#follow(ownership, signal);
    yield* this.#jobs.watch(signal);
    await following;
  }

  async #run({ action, object }: StateOperation): Promise<void> {
    const connection = object as IpsecConnection;
    const client = await this.#options.charon.client();
    this.#own(client);
    if (action === "remove") await this.#unload(client, connection);
    else await this.#load(client, connection);
  }

  /** Never rejects. */
  async #follow(ownership: () => Ownership, signal: AbortSignal): Promise<void> {
    const { timers, charon } = this.#options;
    // Connections of an earlier flanneld may be in a charon that no peer needs now.
    const existing = await charon.existing().catch(() => undefined);
    if (existing !== undefined) this.#own(existing);
    let adopted: ViciClient | undefined;
    while (!signal.aborted) {
      await this.#wake.wait({ timers, timeoutMs: POLL_MS, signal });
      const owner = this.#owner;
      if (signal.aborted || owner === undefined) continue;
      if (owner.closed.aborted) {
        this.#options.logger.warn(
          `The connection to charon ended; loading all connections again: ${messageOf(owner.closed.reason)}`,
        );
        this.#forget();
        continue;
      }
      try {
        await this.#compare(owner, ownership(), owner !== adopted);
        adopted = owner;
        if (this.#loaded.size === 0 && this.#jobs.running.length === 0) {
          // Another backend's host: its charon is none of our business.
          this.#owner = undefined;
          owner[Symbol.dispose]();
          continue;
        }
        await this.#watch.check(owner, [...this.#loaded.values()]);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        this.#options.logger.debug(`Failed to list what charon has: ${messageOf(error)}`);
      }
    }
  }

  /** Compares charon's connections with what was loaded, and the first time adds those of an earlier flanneld. */
  async #compare(owner: ViciClient, ownership: Ownership, isFirst: boolean): Promise<void> {
    const { conns } = await owner.command("get-conns");
    const names = new Set(Array.isArray(conns) ? (conns as readonly string[]) : []);
    const changes: StateChange[] = [];
    const busy = new Set(this.#jobs.running.map(({ object }) => connectionName(object as IpsecConnection)));
    for (const [name, connection] of this.#loaded) {
      if (names.has(name) || busy.has(name)) continue;
      this.#loaded.delete(name);
      changes.push({ action: "gone", object: connection });
    }
    for (const name of isFirst ? names : []) {
      const connection = parseConnectionName(name);
      if (connection === undefined || this.#loaded.has(name) || busy.has(name)) continue;
      const subnets = [connection.localSubnet, connection.remoteSubnet];
      if (!subnets.every((subnet) => isWithin(subnet, ownership.networks))) continue;
      this.#loaded.set(name, connection);
      changes.push({ action: "set", object: connection });
    }
    if (changes.length > 0) this.#jobs.report(...changes);
  }

  #own(client: ViciClient): void {
    if (client === this.#owner) return;
    this.#forget();
    this.#owner = client;
    client.closed.addEventListener("abort", () => this.#wake.wake(), { once: true });
    const onEvent = () => this.#options.timers.after(BURST_MS, () => this.#wake.wake());
    // Without events the tunnels are listed at intervals.
    client.subscribe(EVENTS, onEvent).catch(() => {});
    this.#wake.wake();
  }

  #forget(): void {
    this.#owner = undefined;
    const lost = [...this.#loaded.values()];
    this.#loaded.clear();
    this.#watch.forget();
    if (lost.length > 0) this.#jobs.report(...lost.map((object) => ({ action: "gone" as const, object })));
  }

  async #load(client: ViciClient, connection: IpsecConnection): Promise<void> {
    const { local, remote, presharedKeyId } = connection;
    const secret = this.#options.secretOf(presharedKeyId);
    if (secret === undefined)
      throw new FlannelError("EINVAL", `the preshared key ${presharedKeyId} is not known to this process`);
    for (const owner of [local, remote])
      await client.command("load-shared", {
        ...{ id: secretId(owner), type: "IKE", data: secret, owners: [owner] },
      });
    const name = connectionName(connection);
    await client.command("load-conn", { [name]: connectionMessage(connection) });
    if (client === this.#owner) this.#loaded.set(name, connection);
    this.#wake.wake();
  }

  async #unload(client: ViciClient, connection: IpsecConnection): Promise<void> {
    const name = connectionName(connection);
    await ignoreRefusal(client.command("unload-conn", { name }));
    this.#loaded.delete(name);
    this.#watch.forget(connection);
    // There may be no security association, and another connection may have the same peer's key.
    await ignoreRefusal(client.command("terminate", { ike: name, force: "yes", timeout: "-1" }));
    const isKeyInUse = this.#loaded.values().some(({ remote }) => remote === connection.remote);
    if (isKeyInUse) return;
    await ignoreRefusal(client.command("unload-shared", { id: secretId(connection.remote) }));
    this.#options.removeAssociations(connection.local, connection.remote);
  }
}

async function ignoreRefusal(answer: Promise<unknown>): Promise<void> {
  try {
    await answer;
  } catch (error) {
    if (!hasCode(error, "REFUSED")) throw error;
  }
}
