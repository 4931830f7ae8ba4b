/**
 * The subscriptions of watches. Watches of the same range share the work: the events of a commit are selected and encoded
 * once for all of them.
 */

import { isWithin, type KeyRange } from "../protocol/keys.ts";
import { encodeEventField, encodeTombstone } from "../protocol/wire.ts";
import type { Change, ChangeTable, Revision } from "../storage/changes.ts";
import { keyOfChange } from "../storage/changes.ts";
import type { Keyspace } from "./keyspace.ts";

/** The events that a watch subscribes to. */
export interface Interest {
  readonly range: KeyRange;
  readonly puts: boolean;
  readonly deletes: boolean;
  /** With the previous record. */
  readonly previous: boolean;
}

/** Events, encoded as fields of a WatchResponse, and the revision that they lead up to. */
export interface News {
  readonly events: readonly Uint8Array[];
  readonly revision: number;
}

/** Receives the events of a commit; all receivers with the same interest receive the same object. */
export type Receiver = (news: News, firstRevision: number) => void;

interface Group {
  readonly interest: Interest;
  readonly receivers: Set<Receiver>;
}

/** Larger news are delivered in parts. */
const MAX_NEWS_BYTES = 1024 * 1024;

export class Watches {
  readonly #keyspace: Keyspace;
  readonly #table: ChangeTable;
  readonly #groups = new Map<string, Group>();

  constructor(keyspace: Keyspace, table: ChangeTable) {
    this.#keyspace = keyspace;
    this.#table = table;
    keyspace.onCommitted((revisions) => this.#spread(revisions));
  }

  /** Delivers the news of each commit to `receiver`, until the returned function is called. */
  subscribe(interest: Interest, receiver: Receiver): () => void {
    const name = JSON.stringify(interest);
    let group = this.#groups.get(name);
    if (group === undefined) {
      group = { interest, receivers: new Set() };
      this.#groups.set(name, group);
    }
    const joined = group;
    joined.receivers.add(receiver);
    return () => {
      joined.receivers.delete(receiver);
      if (joined.receivers.size === 0 && this.#groups.get(name) === joined) this.#groups.delete(name);
    };
  }

  /**
   * The events since revision `first`, as many as one read allows; `next` = the revision to continue with, beyond the
   * committed revision if there are no more. Undefined = compacted.
   */
  past(interest: Interest, first: number): { readonly news: News; readonly next: number } | undefined {
    const { compactedRevision, committedRevision } = this.#keyspace;
    if (first < compactedRevision) return undefined;
    const { revisions, next } = this.#table.since(interest.range, first, committedRevision);
    const complete = interest.previous
      ? revisions.map(({ revision, changes }) => ({
          revision,
          changes: changes.map((change) => this.#withPrevious(change, revision)),
        }))
      : revisions;
    const events = complete.flatMap((revision) => eventsOf(interest, revision));
    return { news: { events, revision: next - 1 }, next };
  }

  #withPrevious(change: Change, revision: number): Change {
    if (revision - 1 < this.#keyspace.compactedRevision) return change;
    return { ...change, previous: this.#table.before(keyOfChange(change), revision) };
  }

  #spread(revisions: readonly Revision[]): void {
    for (const { interest, receivers } of this.#groups.values()) {
      for (const { news, first } of newsOf(interest, revisions)) {
        for (const receive of receivers) receive(news, first);
      }
    }
  }
}

/** The events of revisions for an interest, in parts of bounded size; empty if there are none. */
function newsOf(
  interest: Interest,
  revisions: readonly Revision[],
): { readonly news: News; readonly first: number }[] {
  const parts: { news: { events: Uint8Array[]; revision: number }; first: number }[] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const revision of revisions) {
    const events = eventsOf(interest, revision);
    if (events.length === 0) continue;
    if (bytes > MAX_NEWS_BYTES) {
      parts.push({ news: { events: [], revision: 0 }, first: revision.revision });
      bytes = 0;
    }
    const { news } = parts.at(-1)!;
    news.events.push(...events);
    news.revision = revision.revision;
    for (const event of events) bytes += event.length;
  }
  return parts;
}

function eventsOf(interest: Interest, { revision, changes }: Revision): Uint8Array[] {
  const events: Uint8Array[] = [];
  for (const change of changes) {
    const isPut = change.type === "put";
    if (!(isPut ? interest.puts : interest.deletes)) continue;
    if (!isWithin(keyOfChange(change), interest.range)) continue;
    const encoded = isPut ? change.record.encoded : encodeTombstone(change.key, revision);
    events.push(encodeEventField(!isPut, encoded, interest.previous ? change.previous?.encoded : undefined));
  }
  return events;
}
