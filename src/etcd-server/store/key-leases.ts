/**
 * Leases with a time to live, and their keys. Deadlines are stored as wall-clock time, so that they survive a restart; while
 * the store runs they follow the monotonic clock, so that no clock step ends a lease.
 */

import type { StatementSync } from "node:sqlite";
import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import type { Timers } from "../../base/timers.ts";
import { type Key, singleEnd } from "../protocol/keys.ts";
import { leaseExists, leaseNotFound, leaseTtlTooLarge } from "../protocol/rpc-error.ts";
import { type Cell, checksumOf, isIntact } from "../storage/checksum.ts";
import type { Commits } from "../storage/commits.ts";
import { type Database, damaged } from "../storage/database.ts";
import type { Attachments } from "./attachments.ts";
import type { Keyspace } from "./keyspace.ts";

/** etcd's longest (lease/lessor.go, MaxLeaseTTL). */
const MAX_TTL_SECONDS = 9_000_000_000n;
const MIN_TTL_SECONDS = 1;
/** setTimeout accepts at most 2^31 - 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Delay before the expiry of a lease is retried after a failed write. */
const RETRY_MS = 1000;

export interface Grant {
  readonly id: bigint;
  readonly ttlSeconds: number;
}

export interface TimeToLive extends Grant {
  readonly remainingMs: number;
  /** In order. */
  readonly keys: readonly Key[];
}

interface Held {
  readonly id: bigint;
  readonly ttlSeconds: number;
  /** By the monotonic clock. */
  deadlineMs: number;
}

export interface LeasePorts {
  readonly timers: Timers;
  readonly wallClockMs: () => number;
  /** A random id: 63 bits, not 0. */
  readonly drawId: () => bigint;
  readonly logger: Logger;
}

export class Leases implements Disposable {
  readonly #keyspace: Keyspace;
  readonly #commits: Commits;
  readonly #attachments: Attachments;
  readonly #ports: LeasePorts;
  readonly #upsert: StatementSync;
  readonly #remove: StatementSync;
  readonly #leases = new Map<bigint, Held>();
  #cancelTimer: (() => void) | undefined;
  #wakeAtMs = Number.POSITIVE_INFINITY;

  /** Throws ConfigError if a lease is damaged. */
  constructor(
    database: Database,
    keyspace: Keyspace,
    commits: Commits,
    attachments: Attachments,
    ports: LeasePorts,
  ) {
    this.#keyspace = keyspace;
    this.#commits = commits;
    this.#attachments = attachments;
    this.#ports = ports;
    this.#upsert = database.sql.prepare("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)");
    this.#remove = database.sql.prepare("DELETE FROM lease WHERE id = ?");
    const all = database.sql.prepare("SELECT * FROM lease");
    all.setReadBigInts(true);
    const leftMs = (expiresAtMs: number) => expiresAtMs - ports.wallClockMs();
    for (const row of all.iterate()) {
      if (!isIntact([row.id, row.ttl_s, row.expires_at_ms] as Cell[], row.checksum)) {
        throw damaged(database.path, "checksum mismatch in a lease");
      }
      const ttlSeconds = Number(row.ttl_s);
      // A clock that was set back must not extend a lease beyond its TTL.
      const remainingMs = Math.min(leftMs(Number(row.expires_at_ms)), ttlSeconds * 1000);
      const id = row.id as bigint;
      this.#leases.set(id, { id, ttlSeconds, deadlineMs: ports.timers.nowMs() + remainingMs });
    }
    this.#schedule(this.#nextDeadlineMs());
  }

  has(id: bigint): boolean {
    return this.#leases.has(id);
  }

  /** In order. */
  ids(): readonly bigint[] {
    return [...this.#leases.keys()].sort((a, b) => (a < b ? -1 : 1));
  }

  /** Creates a lease; `id` 0 = any. A TTL below the minimum is raised to it. Throws RpcError: exists, too long. */
  grant(id: bigint, ttlSeconds: bigint): Grant {
    if (ttlSeconds > MAX_TTL_SECONDS) throw leaseTtlTooLarge();
    if (this.#leases.has(id)) throw leaseExists();
    const lease: Held = {
      id: id === 0n ? this.#freeId() : id,
      ttlSeconds: Math.max(Number(ttlSeconds), MIN_TTL_SECONDS),
      deadlineMs: 0,
    };
    this.#leases.set(lease.id, lease);
    this.#extend(lease, () => this.#leases.delete(lease.id));
    return lease;
  }

  /** Renews a lease for its full TTL. Undefined = the lease does not exist. */
  keepAlive(id: bigint): Grant | undefined {
    const lease = this.#leases.get(id);
    if (lease === undefined) return undefined;
    const before = lease.deadlineMs;
    this.#extend(lease, () => {
      lease.deadlineMs = before;
    });
    return lease;
  }

  /** Revokes a lease and deletes its keys, in one revision. Throws RpcError: not found. */
  revoke(id: bigint): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw leaseNotFound();
    this.#keyspace.change((writer) => {
      for (const key of this.#attachments.keysOf(id)) writer.delete({ from: key, to: singleEnd(key) });
    });
    this.#leases.delete(id);
    this.#commits.write(
      () => this.#leases.set(id, lease),
      () => this.#remove.run(id),
    );
  }

  /** Undefined = the lease does not exist. */
  timeToLive(id: bigint): TimeToLive | undefined {
    const lease = this.#leases.get(id);
    if (lease === undefined) return undefined;
    const remainingMs = Math.max(0, lease.deadlineMs - this.#ports.timers.nowMs());
    return { id, ttlSeconds: lease.ttlSeconds, remainingMs, keys: this.#attachments.keysOf(id) };
  }

  [Symbol.dispose](): void {
    this.#cancelTimer?.();
  }

  #extend(lease: Held, undo: () => void): void {
    const lifeMs = lease.ttlSeconds * 1000;
    lease.deadlineMs = this.#ports.timers.nowMs() + lifeMs;
    const expiresAtMs = Math.round(this.#ports.wallClockMs() + lifeMs);
    const cells = [lease.id, lease.ttlSeconds, expiresAtMs] as const;
    this.#commits.write(undo, () => this.#upsert.run(...cells, checksumOf(cells)));
    this.#schedule(lease.deadlineMs);
  }

  #freeId(): bigint {
    let id = this.#ports.drawId();
    while (this.#leases.has(id)) id = this.#ports.drawId();
    return id;
  }

  #nextDeadlineMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { deadlineMs } of this.#leases.values()) next = Math.min(next, deadlineMs);
    return next;
  }

  /** Schedules the next check, at the deadline or earlier. */
  #schedule(deadlineMs: number): void {
    if (deadlineMs >= this.#wakeAtMs) return;
    this.#cancelTimer?.();
    this.#wakeAtMs = deadlineMs;
    const delayMs = Math.min(Math.max(0, deadlineMs - this.#ports.timers.nowMs()), MAX_TIMER_MS);
    this.#cancelTimer = this.#ports.timers.after(delayMs, () => this.#expire());
  }

  #expire(): void {
    this.#wakeAtMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#ports.timers.nowMs();
    const retry = (error: unknown) => {
      this.#ports.logger.debug(`Failed to revoke expired leases; retrying: ${messageOf(error)}`);
      this.#schedule(nowMs + RETRY_MS);
    };
    try {
      for (const { id } of [...this.#leases.values()].filter(({ deadlineMs }) => deadlineMs <= nowMs)) {
        this.revoke(id);
        this.#ports.logger.debug(`Lease ${id.toString(16)} expired`);
      }
    } catch (error) {
      retry(error);
      return;
    }
    this.#commits.durable().catch(retry);
    this.#schedule(Math.max(this.#nextDeadlineMs(), nowMs + 1));
  }
}
