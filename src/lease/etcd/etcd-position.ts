/**
 * How far in the history of a range a watch has seen, in a way that distinguishes one store from another.
 *
 * An etcd that was set up again, or restored from a backup, starts its revisions over and keeps its cluster id (which
 * is derived from the members' names). A watch that resumed there by number alone would miss everything before that
 * number, for ever. So the watch reads one known key at the revision it has seen: another store has a different value
 * there, or none.
 */

import { hasCode } from "../../base/error.ts";
import type { KeyRecord } from "../keys/key-value-store.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { type Listing, recordOf, toBytes } from "./etcd-range.ts";

/** Where a watch continues, with the evidence that the store still has this history. */
export interface Position {
  /** Everything up to here has been seen. */
  readonly revision: bigint;
  /** A key of the range as it was at `revision`; undefined = none is known. */
  readonly witness: KeyRecord | undefined;
  /** The connection's {@link EtcdConnection.dialCount} then. */
  readonly dialCount: number;
}

/** A change of one key, and the revision at which it happened. */
export type KeyChange =
  | { readonly type: "put"; readonly record: KeyRecord; readonly revision: bigint }
  | { readonly type: "delete"; readonly key: string; readonly revision: bigint };

/** The position that follows a listing. */
export function positionOf({ records, revision, dialCount }: Listing): Position {
  return { revision, witness: records.reduce<KeyRecord | undefined>(betterWitness, undefined), dialCount };
}

/** The position after these changes. */
export function advance(position: Position, changes: readonly KeyChange[]): Position {
  let { revision, witness } = position;
  for (const change of changes) {
    revision = change.revision; // not the header's: events up to there may not have arrived yet
    if (change.type === "put") witness = betterWitness(witness, change.record);
    else if (witness?.key === change.key) witness = undefined;
  }
  return { ...position, revision, witness };
}

/** Whether the server that the connection reaches now has the history that `position` belongs to. Throws StoreError. */
export async function compareHistory(
  connection: EtcdConnection,
  { witness, revision, dialCount }: Position,
): Promise<"same" | "another" | "unknown"> {
  if (connection.dialCount === dialCount) return "same";
  if (witness === undefined) return "unknown";
  try {
    const request = { key: toBytes(witness.key), revision };
    const { kvs } = await connection.call(({ kv }, options) => kv.range(request, options));
    return kvs[0] !== undefined && isSameRecord(recordOf(kvs[0]), witness) ? "same" : "another";
  } catch (error) {
    if (hasCode(error, "COMPACTED")) return "unknown";
    if (hasCode(error, "INVALID")) return "another"; // there is no such revision yet
    throw error;
  }
}

/** A key on an etcd lease, whose id is random, is unlikely to recur in another store; so is the latest write. */
function betterWitness(one: KeyRecord | undefined, other: KeyRecord): KeyRecord | undefined {
  // Not valid UTF-8: the key cannot be read again by its text.
  if (other.key.includes("\ufffd")) return one;
  if (one === undefined) return other;
  const isOtherBetter =
    (one.lifeId === undefined) === (other.lifeId === undefined)
      ? other.revision >= one.revision
      : one.lifeId === undefined;
  // The same key as it is now counts in any case: its older version no longer exists.
  return isOtherBetter || one.key === other.key ? other : one;
}

const isSameRecord = (one: KeyRecord, other: KeyRecord): boolean =>
  one.createdAt === other.createdAt &&
  one.revision === other.revision &&
  one.lifeId === other.lifeId &&
  one.value === other.value;
