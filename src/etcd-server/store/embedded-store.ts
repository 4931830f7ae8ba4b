/**
 * The embedded store: etcd's data model (keys with revisions, transactions, leases, watches) on a database of one
 * process, without a network; {@link EmbeddedServer} serves it. It is not a cluster: if its machine is down, it is unavailable.
 */

import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import type { Logger } from "../../base/logger.ts";
import { systemTimers, type Timers } from "../../base/timers.ts";
import type { DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest } from "../../etcd-api/rpc_pb.ts";
import { keyOf } from "../protocol/keys.ts";
import { checkKey, checkPut, checkTxn } from "../protocol/request-checks.ts";
import { stopped } from "../protocol/rpc-error.ts";
import { ChangeTable } from "../storage/changes.ts";
import { Commits } from "../storage/commits.ts";
import { type Database, openDatabase } from "../storage/database.ts";
import { Numbers } from "../storage/stored-numbers.ts";
import { Attachments } from "./attachments.ts";
import { Compactor } from "./compactor.ts";
import { type Grant, Leases, type TimeToLive } from "./key-leases.ts";
import { Keyspace } from "./keyspace.ts";
import { type RangeResult, runRange } from "./listing.ts";
import {
  checkPutKey,
  checkPutLease,
  type DeleteRangeResult,
  type PutResult,
  runDelete,
  runPut,
  runTxn,
  type TxnResult,
} from "./txn.ts";

import { Watches } from "./watches.ts";

export interface EmbeddedStoreOptions {
  /** Created if missing. */
  readonly dataDirectory: string;
  readonly logger: Logger;
  readonly timers?: Timers;
  /** Wall-clock time in ms since the epoch. */
  readonly wallClockMs?: () => number;
  /** 63 random bits, not all 0. */
  readonly drawId?: () => bigint;
}

/** An answer, and the revision of the store when it was made. */
export interface Answer<T> {
  readonly revision: number;
  readonly result: T;
}

/**
 * Every method resolves once all that it read and wrote is on disk, and then survives a crash. All throw RpcError with
 * etcd's texts.
 */
export class EmbeddedStore implements AsyncDisposable {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly dataDirectory: string;
  readonly watches: Watches;
  readonly #database: Database;
  readonly #commits: Commits;
  readonly #keyspace: Keyspace;
  readonly #leases: Leases;
  readonly #compactor: Compactor;
  #isOpen = true;

  /** Throws ConfigError if the data directory is in use, damaged, unusable or of a newer version; the message has the remedy. */
  static open(options: EmbeddedStoreOptions): EmbeddedStore {
    const database = openDatabase(options.dataDirectory);
    try {
      return new EmbeddedStore(database, options);
    } catch (error) {
      database[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(database: Database, options: EmbeddedStoreOptions) {
    const { logger, timers = systemTimers, wallClockMs = Date.now, drawId = drawRandomId } = options;
    this.dataDirectory = options.dataDirectory;
    this.#database = database;
    const numbers = new Numbers(database);
    this.clusterId = numbers.id("cluster_id", drawId);
    this.memberId = numbers.id("member_id", drawId);
    const table = new ChangeTable(database);
    const attachments = new Attachments();
    this.#commits = new Commits(database, logger);
    this.#keyspace = new Keyspace(table, this.#commits, attachments, numbers);
    this.#commits.listen(this.#keyspace);
    const ports = { timers, wallClockMs, drawId, logger };
    this.#leases = new Leases(database, this.#keyspace, this.#commits, attachments, ports);
    this.#compactor = new Compactor(database, this.#keyspace, this.#commits, numbers, logger);
    this.watches = new Watches(this.#keyspace, table);
    logger.info(
      `Store opened directory=${options.dataDirectory} keys=${this.#keyspace.size} revision=${this.#keyspace.revision}`,
    );
  }

  get revision(): number {
    return this.#keyspace.revision;
  }

  /** The last revision that watches have received. */
  get committedRevision(): number {
    return this.#keyspace.committedRevision;
  }

  get compactedRevision(): number {
    return this.#keyspace.compactedRevision;
  }

  /** Whether the last write succeeded. */
  get isHealthy(): boolean {
    return this.#commits.isHealthy;
  }

  /** Size of the database on disk, in bytes. */
  get sizeBytes(): number {
    return statSync(this.#database.path).size;
  }

  range(request: RangeRequest): Promise<Answer<RangeResult>> {
    return this.#answer(() => {
      checkKey(request);
      return runRange(this.#keyspace, request);
    });
  }

  put(request: PutRequest): Promise<Answer<PutResult>> {
    return this.#answer(() => {
      checkPut(request);
      const ports = { keyspace: this.#keyspace, leases: this.#leases };
      checkPutLease(ports, request);
      checkPutKey(ports, request);
      return this.#write(() => this.#keyspace.change((writer) => runPut(this.#keyspace, writer, request)));
    });
  }

  deleteRange(request: DeleteRangeRequest): Promise<Answer<DeleteRangeResult>> {
    return this.#answer(() => {
      checkKey(request);
      return this.#write(() => this.#keyspace.change((writer) => runDelete(writer, request)));
    });
  }

  txn(request: TxnRequest): Promise<Answer<TxnResult>> {
    return this.#answer(() => {
      checkTxn(request);
      return this.#write(() => runTxn({ keyspace: this.#keyspace, leases: this.#leases }, request));
    });
  }

  /** Compacts all that was replaced or deleted by `revision`; with `isPhysical` resolves when it is deleted from disk. */
  async compact(revision: number, isPhysical: boolean): Promise<Answer<void>> {
    const answer = await this.#answer(() => this.#keyspace.compact(revision));
    const sweeping = this.#compactor.sweep();
    if (isPhysical) await sweeping;
    return answer;
  }

  /** Grants a lease; `id` 0 = any. The TTL is one second at least. */
  grantLease(id: bigint, ttlSeconds: bigint): Promise<Answer<Grant>> {
    return this.#answer(() => this.#leases.grant(id, ttlSeconds));
  }

  /** Revokes a lease and deletes its keys. */
  revokeLease(id: bigint): Promise<Answer<void>> {
    return this.#answer(() => this.#leases.revoke(id));
  }

  /** Undefined = the lease does not exist. */
  keepLeaseAlive(id: bigint): Promise<Answer<Grant | undefined>> {
    return this.#answer(() => this.#leases.keepAlive(id));
  }

  /** Undefined = the lease does not exist. */
  leaseTimeToLive(id: bigint): Promise<Answer<TimeToLive | undefined>> {
    return this.#answer(() => this.#leases.timeToLive(id));
  }

  /** The ids of all leases, sorted. */
  leaseIds(): Promise<Answer<readonly bigint[]>> {
    return this.#answer(() => this.#leases.ids());
  }

  /** Writes a key if it does not exist; false = it exists. */
  async putIfAbsent(key: string, value: string): Promise<boolean> {
    const keyName = keyOf(Buffer.from(key));
    const { result } = await this.#answer(() => {
      if (this.#keyspace.get(keyName) !== undefined) return false;
      this.#keyspace.change((writer) => writer.put(keyName, Buffer.from(value), 0n));
      return true;
    });
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#leases[Symbol.dispose]();
    await this.#compactor.stop();
    this.#commits.flush();
    this.#database[Symbol.dispose]();
  }

  /** Reads are answered only when they are on disk, too: a crash must not revert what a client has seen. */
  async #answer<T>(run: () => T): Promise<Answer<T>> {
    if (!this.#isOpen) throw stopped();
    const result = run();
    const { revision } = this.#keyspace;
    await this.#commits.durable();
    return { revision, result };
  }

  #write<T>(run: () => T): T {
    const result = run();
    this.#compactor.compactIfLong();
    return result;
  }
}

/** Readable as an int64: the highest bit is 0. */
const drawRandomId = (): bigint => BigInt.asUintN(63, randomBytes(8).readBigUInt64BE()) || 1n;
