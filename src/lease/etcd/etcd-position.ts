/**
 * How far in the history of a range a watch has seen, in a way that tells one store from another.
 *
 * An etcd that was set up again, or restored from a backup, counts its revisions anew and keeps its cluster id (which
 * is made from the members' names). A watch that resumed there by number alone would miss whatever came before that
 * number, for ever. So a key that was there is asked for as it was then: another store has it otherwise or not at all.
 */

import { hasCode } from "../../base/error.ts";
import { type Event, Event_EventType, type KeyValue } from "../../etcd-api/kv_pb.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import type { Listing } from "./etcd-range.ts";

export interface Position {
  /** Everything up to here has been seen. */
  readonly revision: bigint;
  /** A key of the range as it was at `revision`; undefined = none is known. */
  readonly witness: KeyValue | undefined;
  /** The connection's {@link EtcdConnection.dialCount} then. */
  readonly dialCount: number;
}

/** The position of whoever has this listing. */
export function positionOf({ kvs, revision, dialCount }: Listing): Position {
  return { revision, witness: kvs.reduce<KeyValue | undefined>(betterWitness, undefined), dialCount };
}

/** The position after these events. */
export function advance(position: Position, events: readonly Event[]): Position {
  let { revision, witness } = position;
  for (const { type, kv } of events) {
    if (kv === undefined) continue;
    revision = kv.modRevision; // not the header's: events up to there may still be on their way
    if (type === Event_EventType.PUT) witness = betterWitness(witness, kv);
    else if (witness !== undefined && isSameBytes(witness.key, kv.key)) witness = undefined;
  }
  return { ...position, revision, witness };
}

/** Whether what the connection reaches now has the history in which `position` is. Throws StoreError. */
export async function compareHistory(
  connection: EtcdConnection,
  { witness, revision, dialCount }: Position,
): Promise<"same" | "another" | "unknown"> {
  if (connection.dialCount === dialCount) return "same";
  if (witness === undefined) return "unknown";
  try {
    const { kvs } = await connection.call(({ kv }, options) =>
      kv.range({ key: witness.key, revision }, options),
    );
    return kvs[0] !== undefined && isSameRecord(kvs[0], witness) ? "same" : "another";
  } catch (error) {
    if (hasCode(error, "COMPACTED")) return "unknown";
    if (hasCode(error, "INVALID")) return "another"; // there is no such revision yet
    throw error;
  }
}

/** A key on an etcd lease, whose id is drawn by lot, is hard to come by a second time; so is what was written last. */
function betterWitness(one: KeyValue | undefined, other: KeyValue): KeyValue {
  if (one === undefined) return other;
  const isOtherBetter =
    (one.lease === 0n) === (other.lease === 0n) ? other.modRevision >= one.modRevision : one.lease === 0n;
  // The same key as it is now counts in any case: the older one is not there any more.
  return isOtherBetter || isSameBytes(one.key, other.key) ? other : one;
}

const isSameRecord = (one: KeyValue, other: KeyValue): boolean =>
  one.createRevision === other.createRevision &&
  one.modRevision === other.modRevision &&
  one.lease === other.lease &&
  isSameBytes(one.value, other.value);

const isSameBytes = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, index) => byte === other[index]);
