/**
 * The port between a lease store and a key-value store that flannel's keys live in. etcd v3 and etcd's v2 API implement
 * it; the lease store and its admin are written once, over this.
 *
 * All requests throw StoreError UNAVAILABLE, UNAUTHENTICATED or INVALID. Writes may be sent more than once, so each is a
 * compare-and-swap on the revision of the key.
 */

/** A key as it was at one time. Immutable. */
export interface KeyRecord {
  /** The whole key: "/coreos.com/network/config". */
  readonly key: string;
  readonly value: string;
  /** The revision of the whole store at which the key was created. */
  readonly createdAt: bigint;
  /** The revision of the whole store at which the key was written last. */
  readonly revision: bigint;
  /** What the key's expiry depends on, as {@link KeyValueStore.readExpiries} understands it; undefined = it never expires. */
  readonly lifeId: string | undefined;
}

/** What a write compares. */
export type KeyVersion = Pick<KeyRecord, "key" | "revision">;

/** How long a key lives. */
export interface KeyLife {
  /** Undefined = forever. */
  readonly lifeId: string | undefined;
  /** Wall-clock time in ms since the epoch; undefined = never. */
  readonly expiresAtMs: number | undefined;
}

/** The life of a reservation. */
export const FOREVER: KeyLife = { lifeId: undefined, expiresAtMs: undefined };

/** The keys of a path as of one revision. `position` is where a watch on the path continues. */
export interface KeyListing<Position> {
  readonly records: readonly KeyRecord[];
  readonly position: Position;
}

/** A key just written. */
export interface WrittenKey {
  readonly record: KeyRecord;
  /** Wall-clock time in ms since the epoch; undefined = never. */
  readonly expiresAtMs: number | undefined;
}

/** A key just created. */
export interface CreatedKey<Position> extends WrittenKey {
  /** The keys beside it that take precedence: created after the listing of the caller and before this key. May hold more. */
  readonly rivals: readonly string[];
  /** The directory after the write, if the store had to list it to find the rivals. */
  readonly listing?: KeyListing<Position>;
}

/** First a snapshot (unless the watch continues from a listing), then single changes; again a snapshot after a gap. */
export type KeyUpdate =
  /** `isAnotherStore`: missing keys were not deleted; the store that answers now has never had them. */
  | {
      readonly type: "snapshot";
      readonly records: readonly KeyRecord[];
      readonly isAnotherStore: boolean;
    }
  | { readonly type: "put"; readonly record: KeyRecord }
  | { readonly type: "delete"; readonly key: string };

/** The updates of one watch; it ends when aborted, and never throws. */
export type KeyUpdates = AsyncGenerator<KeyUpdate, void, undefined>;

/** What to watch, and from where on. */
export interface KeyWatch<Position> {
  readonly path: string;
  /** The position of a listing that the caller has; undefined = begin with a snapshot. */
  readonly start: Position | undefined;
  /** For the log: "the leases". */
  readonly what: string;
  readonly signal: AbortSignal;
}

/** `Position` is how far a listing or a watch has seen. A path that ends in "/" means all keys below it. */
export interface KeyValueStore<Position> extends Disposable {
  /** In log lines and messages: "etcd". */
  readonly name: string;
  /** The command that writes a key, up to the key: "etcdctl put". */
  readonly putCommand: string;
  /** What flannel's keys begin with: "/coreos.com/network". */
  readonly prefix: string;
  /** How long leases count that were lost with the store's data, in ms. */
  readonly lostDataGraceMs: number;
  /** Whether {@link create} finds the rivals in the same transaction. If not, a process that ends in between leaves them undetected. */
  readonly createsAtomically: boolean;
  /** Requests made so far; a stream counts as one. */
  readonly requestCount: number;

  list(path: string): Promise<KeyListing<Position>>;
  /** Undefined = there is no such key. */
  read(key: string): Promise<KeyRecord | undefined>;

  /** The life of a new lease. One grant serves several attempts to create a key. */
  grant(): Promise<KeyLife>;
  /** Gives back a grant that no key uses. */
  revoke(life: KeyLife): Promise<void>;

  /** Creates a key; undefined = it exists. `since` is the position of the caller's listing; undefined = it has none. */
  create(
    key: string,
    value: string,
    life: KeyLife,
    since: Position | undefined,
  ): Promise<CreatedKey<Position> | undefined>;
  /** Writes a key that never expires; `revision` undefined = it must not exist. False = another writer was faster. */
  write(key: string, value: string, revision: bigint | undefined): Promise<boolean>;
  /** Extends the life of a key and writes its value; undefined = it has changed since it was read, or its life ended. */
  extend(record: KeyRecord, value: string): Promise<WrittenKey | undefined>;
  /** Deletes a key; false = it has changed since it was read. */
  remove(version: KeyVersion): Promise<boolean>;
  /** Takes the expiry from a key and keeps its value; false = it has changed since it was read. */
  keepForever(version: KeyVersion): Promise<boolean>;

  /** When each life ends, as wall-clock ms since the epoch. Lives that ended, and never known ones, are not in it. */
  readExpiries(lifeIds: ReadonlySet<string>): Promise<ReadonlyMap<string, number>>;

  /** Watches a path until the signal is aborted; never throws. */
  watch(watch: KeyWatch<Position>): KeyUpdates;

  /** Drops the connections: requests in progress fail, the next ones connect again. */
  reconnect?(): void;
}
