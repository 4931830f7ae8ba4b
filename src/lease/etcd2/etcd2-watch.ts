/**
 * A key, or all keys of a directory, watched without a gap: first a snapshot (unless the caller has a listing already),
 * then changes, each by a poll of its own that starts at the index after the last one seen.
 *
 * etcd keeps the last 1,000 changes of the whole store. If they do not reach back far enough, the store is another than
 * before, or a whole directory was removed, everything is read again.
 */

import { messageOf, StoreError } from "../../base/error.ts";
import type { KeyRecord, KeyUpdate, KeyUpdates, KeyWatch } from "../keys/key-value-store.ts";
import { createOutage, type OutagePorts } from "../outage.ts";
import { StreamScope, startOver } from "../stream-scope.ts";
import type { Etcd2Connection, StoreState } from "./etcd2-connection.ts";
import { KeysHistory } from "./etcd2-history.ts";
import { ECODE_EVENT_INDEX_CLEARED, isRefusal, isRemoval, type KeysAnswer, recordOf } from "./keys-api.ts";

/** Everything at or below a key, in the order of the keys, as of `state`. A watch continues from there. */
export interface KeysPosition {
  readonly records: readonly KeyRecord[];
  readonly state: StoreState;
}

/** Reads a key or directory; empty if it does not exist. Throws StoreError. */
export async function listKeys(connection: Etcd2Connection, key: string): Promise<KeysPosition> {
  const query = { recursive: "true", sorted: "true", quorum: "true" };
  const { body, state } = await connection.call({ method: "GET", key, query });
  return { records: isRefusal(body) ? [] : body.leaves.map(recordOf), state };
}

/** Watches a key or directory until the signal is aborted; never throws. */
export function watchKeys(
  connection: Etcd2Connection,
  watch: KeyWatch<KeysPosition>,
  ports: OutagePorts,
): KeyUpdates {
  const history = new KeysHistory(watch.start?.records ?? []);
  return follow(connection, { ...watch, start: watch.start?.state }, history, ports); // without the listing: it may be large
}

async function* follow(
  connection: Etcd2Connection,
  { path: key, start, what, signal }: KeyWatch<StoreState>,
  history: KeysHistory,
  ports: OutagePorts,
): KeyUpdates {
  const outage = createOutage(`${what} in etcd`, connection.settings.timings, ports, signal);
  let seen = start;
  /** Where the last poll began, if it brought no change: nothing happened up to there, if the next one is answered too. */
  let quietUntil: number | undefined;
  /** Whether another etcd may have taken its place. */
  let isUnsure = false;
  while (!signal.aborted) {
    using scope = new StreamScope(signal);
    let isFresh = false;
    try {
      if (seen === undefined) {
        const listing = await listKeys(connection, key);
        if (signal.aborted) return;
        seen = listing.state;
        isFresh = true;
        isUnsure = false;
        const isAnotherStore = history.isForeignTo(listing.records);
        history.restart(listing.records);
        yield { type: "snapshot", records: listing.records, isAnotherStore };
      }
      if (isUnsure && !(await history.continuesIn(connection, seen))) {
        throw startOver("etcd may have other data than before");
      }
      isUnsure = false;
      const after: number = quietUntil ?? seen.index;
      const poll = await connection.poll(key, after + 1, quietUntil !== undefined, scope.signal);
      if (poll.state.index < after || poll.state.clusterId !== seen.clusterId) {
        throw startOver("etcd has other data than before");
      }
      seen = { ...seen, index: after };
      quietUntil = undefined;
      outage.over();
      const answer = await poll.next();
      if (answer === undefined) {
        quietUntil = poll.state.index;
        continue;
      }
      if (isRefusal(answer)) {
        if (answer.errorCode === ECODE_EVENT_INDEX_CLEARED)
          throw startOver("etcd has discarded older changes");
        throw new StoreError("INVALID", `etcd refuses the watch: ${answer.message}`);
      }
      seen = { ...seen, index: answer.node.modifiedIndex };
      history.take(answer);
      const update = updateOf(answer);
      if (update !== undefined) yield update;
    } catch (error) {
      if (signal.aborted) return;
      quietUntil = undefined;
      const isStale = error instanceof StoreError && error.code === "COMPACTED";
      if (isStale) {
        ports.logger.info(`Resyncing ${what}: ${messageOf(error)}`);
        seen = undefined;
      }
      if (!isStale || isFresh) {
        isUnsure = true;
        await outage.pause(error);
      }
    }
  }
}

/** The update for a change; undefined = none. Throws COMPACTED if the change alone does not show which keys it affects. */
function updateOf(answer: KeysAnswer): KeyUpdate | undefined {
  const { node, previous } = answer;
  if (isRemoval(answer)) {
    if (node.isDirectory) throw startOver(`the directory ${node.key} was removed from etcd`);
    return { type: "delete", key: node.key };
  }
  // A renewal writes the same value again: no update.
  if (node.isDirectory || previous?.value === node.value) return undefined;
  return { type: "put", record: recordOf(node) };
}
