/** What the key-value stores on etcd, v3 and v2, have in common: their settings, ports, and one connection to the cluster. */

import { completePorts, type KeyStorePorts } from "../keys/key-store-ports.ts";
import type { EtcdSettings } from "./etcd-options.ts";

/** A connection to the cluster; disposing it ends its requests. */
interface Connection extends Disposable {
  /** Requests sent so far. */
  readonly requestCount: number;
}

/** Opens a connection; nothing is sent yet. `random`: 0 ≤ random() < 1. */
type Connect<C> = new (settings: EtcdSettings, random: () => number) => C;

/** A store on one connection; disposing it closes the connection. `ports`: with the real ones as defaults. */
export abstract class EtcdKeyBase<C extends Connection> implements Disposable {
  readonly prefix: string;
  readonly lostDataGraceMs: number;
  protected readonly connection: C;
  protected readonly ports: Required<KeyStorePorts>;

  constructor(settings: EtcdSettings, ports: KeyStorePorts, Connect: Connect<C>) {
    this.ports = completePorts(ports);
    this.connection = new Connect(settings, this.ports.random);
    this.prefix = settings.prefix;
    this.lostDataGraceMs = settings.timings.lostDataGraceMs;
  }

  get requestCount(): number {
    return this.connection.requestCount;
  }

  [Symbol.dispose](): void {
    this.connection[Symbol.dispose]();
  }
}
