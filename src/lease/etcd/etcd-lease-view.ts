/**
 * Listings and events of etcd as lease updates.
 *
 * Junk is skipped and told once (W1). A lease whose value turns to junk keeps its last good content as long as its key
 * exists: a peer's slip of the pen does not cut it off.
 */

import type { Logger } from "../../base/logger.ts";
import type { Lease } from "../lease.ts";
import { isProblem } from "../lease-codec.ts";
import type { LeaseUpdate } from "../lease-store.ts";
import {
  decodeRecord,
  leaseOf,
  nameOf,
  type RecordListing,
  type RecordStore,
  sortRecords,
} from "./etcd-records.ts";
import { type Event, Event_EventType, type KeyValue } from "./kv_pb.ts";

export interface LeaseView {
  snapshot(listing: Pick<RecordListing, "records" | "junkKeys">): LeaseUpdate;
  snapshotOf(kvs: readonly KeyValue[]): LeaseUpdate;
  changes(events: readonly Event[]): Iterable<LeaseUpdate>;
}

export function createLeaseView(store: RecordStore, logger: Logger): LeaseView {
  let good = new Map<string, Lease>();
  /** What was told about which key. */
  const told = new Map<string, string>();

  const tell = (key: string, problem: string) => {
    if (told.get(key) === problem) return;
    told.set(key, problem);
    logger.warn(`skipping ${JSON.stringify(store.prefix + key)} in etcd: ${problem}`);
  };

  const snapshot: LeaseView["snapshot"] = ({ records, junkKeys }) => {
    const now = new Map<string, Lease>();
    for (const { key, problem } of junkKeys) tell(key, problem);
    for (const record of records) {
      if (record.valueProblem !== undefined) tell(record.key, record.valueProblem);
      const lease = leaseOf(record) ?? good.get(record.key);
      if (lease !== undefined) now.set(record.key, lease);
    }
    good = now;
    return { type: "snapshot", leases: [...now.values()] };
  };

  return {
    snapshot,
    snapshotOf: (kvs) => snapshot(sortRecords(store, kvs)),
    *changes(events) {
      for (const { type, kv } of events) {
        if (kv === undefined) continue;
        const key = nameOf(store, kv);
        if (type === Event_EventType.DELETE) {
          told.delete(key);
          if (good.delete(key)) yield { type: "delete", key };
          continue;
        }
        const record = decodeRecord(store, kv);
        if (isProblem(record)) {
          tell(key, record.problem);
          continue;
        }
        if (record.valueProblem !== undefined) tell(key, record.valueProblem);
        const lease = leaseOf(record);
        if (lease === undefined) continue;
        told.delete(key);
        good.set(key, lease);
        yield { type: "put", lease };
      }
    },
  };
}
