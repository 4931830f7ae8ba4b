/**
 * A range of etcd's keys, watched without a gap: first a snapshot (unless the caller has a listing already), then
 * changes. A broken stream is resumed after the last revision seen; if etcd has compacted it, or is another store than
 * before, everything is read again.
 */

import { create } from "@bufbuild/protobuf";
import { StoreError } from "../../base/error.ts";
import { type Event, Event_EventType } from "../../etcd-api/kv_pb.ts";
import { type WatchRequest, WatchRequestSchema, type WatchResponse } from "../../etcd-api/rpc_pb.ts";
import type { KeyUpdates, KeyWatch } from "../keys/key-value-store.ts";
import { createOutage, type OutagePorts } from "../outage.ts";
import { StreamScope, startOver } from "../stream-scope.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { advance, compareHistory, type KeyChange, type Position, positionOf } from "./etcd-position.ts";
import { type KeyRange, listRange, rangeOf, recordOf } from "./etcd-range.ts";

/** Watches a path until the signal is aborted; never throws. */
export async function* watchRange(
  connection: EtcdConnection,
  { path, start, what, signal }: KeyWatch<Position>,
  ports: OutagePorts,
): KeyUpdates {
  const range = rangeOf(path);
  const outage = createOutage(`${what} in etcd`, connection.settings.timings, ports, signal);
  let seen = start;
  let isAnotherStore = false;
  while (!signal.aborted) {
    using scope = new StreamScope(signal);
    const isFresh = seen === undefined;
    try {
      if (seen === undefined) {
        const listing = await listRange(connection, range);
        if (signal.aborted) return;
        seen = positionOf(listing);
        yield { type: "snapshot", records: listing.records, isAnotherStore };
        isAnotherStore = false;
      }
      const { dialCount } = connection;
      const responses = await openWatch(connection, range, seen.revision + 1n, scope.signal);
      // Only now: a store that replaces this one later breaks the stream.
      const history = await compareHistory(connection, seen);
      if (history !== "same") {
        isAnotherStore = history === "another";
        throw startOver(`etcd ${isAnotherStore ? "has" : "may have"} other or older data than before`);
      }
      seen = { ...seen, dialCount };
      outage.over();
      for await (const response of responses) {
        refuseCanceled(response, connection);
        const revision = response.header?.revision ?? 0n;
        if (response.events.length > 0) {
          const changes = response.events.flatMap(changesOf);
          seen = advance(seen, changes);
          yield* changes;
        } else if (revision > seen.revision) {
          seen = { ...seen, revision }; // progress: nothing happened up to here
        }
      }
      throw new StoreError("UNAVAILABLE", "etcd ended the watch");
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof StoreError)) throw error;
      if (error.code === "COMPACTED") {
        ports.logger.info(`Resyncing ${what}: ${error.message}`);
        seen = undefined;
      }
      if (error.code !== "COMPACTED" || isFresh) await outage.pause(error);
    }
  }
}

function changesOf({ type, kv }: Event): readonly KeyChange[] {
  if (kv === undefined) return [];
  const record = recordOf(kv);
  const { key, revision } = record;
  return [
    type === Event_EventType.DELETE ? { type: "delete", key, revision } : { type: "put", record, revision },
  ];
}

/** Throws StoreError, as the responses do. */
async function openWatch(
  connection: EtcdConnection,
  range: KeyRange,
  startRevision: bigint,
  signal: AbortSignal,
): Promise<AsyncIterable<WatchResponse>> {
  const request = create(WatchRequestSchema, {
    requestUnion: {
      case: "createRequest",
      value: { key: range.key, rangeEnd: range.end, startRevision, progressNotify: true },
    },
  });
  return connection.openStream(signal, async ({ watch }, options, failed) => {
    const responses = watch.watch(keepOpen(request, signal), options)[Symbol.asyncIterator]();
    const first = await responses.next();
    if (first.done === true) throw new StoreError("UNAVAILABLE", "etcd ended the watch");
    refuseCanceled(first.value, connection);
    return {
      [Symbol.asyncIterator]: () => ({
        async next() {
          try {
            return await responses.next();
          } catch (error) {
            throw failed(error);
          }
        },
      }),
    };
  });
}

/** The client's side of the stream: one request, then nothing until it ends. */
async function* keepOpen(request: WatchRequest, signal: AbortSignal): AsyncGenerator<WatchRequest, void> {
  yield request;
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

function refuseCanceled(response: WatchResponse, connection: EtcdConnection): void {
  if (!response.canceled) return;
  if (response.compactRevision > 0n)
    throw startOver(`etcd has compacted up to revision ${response.compactRevision}`);
  // An expired token looks like a missing permission here.
  connection.forgetToken();
  throw new StoreError("UNAUTHENTICATED", `etcd refuses the watch: ${response.cancelReason}`);
}
