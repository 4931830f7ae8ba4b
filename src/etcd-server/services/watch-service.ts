/**
 * The Watch method: many watches on one stream (etcd, server/etcdserver/api/v3rpc/watch.go).
 *
 * A watch is up to date or behind. Behind are watches that start at an old revision and watches whose client does not read
 * its responses. Both catch up from the database, so that the memory for a slow client is bounded. No event is lost unless it
 * is compacted, which is reported to the client.
 */

import type { Timers } from "../../base/timers.ts";
import {
  type WatchCreateRequest,
  WatchCreateRequest_FilterType,
  WatchRequestSchema,
  type WatchResponse,
} from "../../etcd-api/rpc_pb.ts";
import type { ResponseStream, StreamHandlers, StreamMethod } from "../grpc/grpc-server.ts";
import { type KeyRange, rangeOf } from "../protocol/keys.ts";
import { RpcError } from "../protocol/rpc-error.ts";
import type { EmbeddedStore } from "../store/embedded-store.ts";
import type { Interest, News } from "../store/watches.ts";
import { decode, type Encoding } from "./etcd-messages.ts";

/** A client with more unsent bytes than this is behind. */
const MAX_BUFFERED_BYTES = 1024 * 1024;
/** etcd's interval of progress_notify. */
const PROGRESS_INTERVAL_MS = 10 * 60_000;
/** Of one stream. */
const MAX_WATCHES = 10_000;
const NO_WATCH = -1n;
/** etcd sends no revision when compaction ends a watch. */
const NO_REVISION = 0;

interface Watch {
  readonly id: bigint;
  readonly interest: Interest;
  readonly notifiesProgress: boolean;
  /** Earlier events were sent or do not belong to this watch. */
  nextRevision: number;
  isBehind: boolean;
  unsubscribe: () => void;
  /** Since the last progress notification. */
  hasNews: boolean;
}

/** The Watch method. */
export const watchMethod = (store: EmbeddedStore, encoding: Encoding, timers: Timers): StreamMethod => ({
  open: (stream) => new WatchStream(store, encoding, timers, stream),
});

class WatchStream implements StreamHandlers {
  readonly #store: EmbeddedStore;
  readonly #encoding: Encoding;
  readonly #timers: Timers;
  readonly #stream: ResponseStream;
  readonly #watches = new Map<bigint, Watch>();
  #nextId = 0n;
  #isCatchingUp = false;
  #isClosed = false;
  #owesProgress = false;
  #cancelProgress: (() => void) | undefined;

  constructor(store: EmbeddedStore, encoding: Encoding, timers: Timers, stream: ResponseStream) {
    this.#store = store;
    this.#encoding = encoding;
    this.#timers = timers;
    this.#stream = stream;
  }

  message(bytes: Uint8Array): void {
    if (this.#stream.bufferedBytes > 2 * MAX_BUFFERED_BYTES) {
      throw new RpcError("RESOURCE_EXHAUSTED", "etcdserver: responses are not read");
    }
    const { requestUnion: request } = decode(WatchRequestSchema, bytes);
    switch (request.case) {
      case "createRequest":
        this.#create(request.value);
        break;
      case "cancelRequest":
        if (this.#remove(request.value.watchId)) {
          this.#send({ watchId: request.value.watchId, canceled: true });
        }
        break;
      case "progressRequest":
        this.#owesProgress = true;
        this.#payProgress();
        break;
    }
  }

  end(): void {
    this.#stream.end();
  }

  drained(): void {
    this.#catchUp();
  }

  closed(): void {
    this.#isClosed = true;
    this.#cancelProgress?.();
    for (const id of [...this.#watches.keys()]) this.#remove(id);
  }

  #create(request: WatchCreateRequest): void {
    if (this.#watches.size >= MAX_WATCHES)
      throw new RpcError("RESOURCE_EXHAUSTED", "etcdserver: too many watches");
    const problem = this.#problemOf(request);
    if (problem !== undefined) {
      this.#send({ watchId: NO_WATCH, created: true, canceled: true, cancelReason: problem });
      return;
    }
    const { committedRevision } = this.#store;
    const start = Number(request.startRevision);
    const { NOPUT, NODELETE } = WatchCreateRequest_FilterType;
    const watch: Watch = {
      id: request.watchId === 0n ? this.#freeId() : request.watchId,
      interest: {
        range: rangeOfWatch(request),
        puts: !request.filters.includes(NOPUT),
        deletes: !request.filters.includes(NODELETE),
        previous: request.prevKv,
      },
      notifiesProgress: request.progressNotify,
      nextRevision: start > 0 ? start : committedRevision + 1,
      isBehind: false,
      unsubscribe: () => {},
      hasNews: false,
    };
    this.#watches.set(watch.id, watch);
    this.#send({ watchId: watch.id, created: true });
    watch.unsubscribe = this.#store.watches.subscribe(watch.interest, (news, first) =>
      this.#receive(watch, news, first),
    );
    if (watch.nextRevision <= committedRevision) {
      watch.isBehind = true;
      this.#catchUp();
    }
    if (watch.notifiesProgress) this.#cancelProgress ??= this.#scheduleProgress();
  }

  /** etcd's message for an invalid watch; undefined = valid. */
  #problemOf(request: WatchCreateRequest): string | undefined {
    const { from, to } = rangeOfWatch(request);
    if (to !== undefined && from >= to) return "mvcc: watcher range is empty";
    if (request.watchId !== 0n && this.#watches.has(request.watchId)) {
      return "mvcc: duplicate watch ID provided on the WatchStream";
    }
    return undefined;
  }

  #freeId(): bigint {
    while (this.#watches.has(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }

  #remove(id: bigint): boolean {
    this.#watches.get(id)?.unsubscribe();
    return this.#watches.delete(id);
  }

  #receive(watch: Watch, news: News, firstRevision: number): void {
    if (watch.isBehind || news.revision < watch.nextRevision) return;
    if (firstRevision < watch.nextRevision || this.#stream.bufferedBytes > MAX_BUFFERED_BYTES) {
      watch.isBehind = true;
      this.#catchUp();
      return;
    }
    this.#sendNews(watch, news);
  }

  #sendNews(watch: Watch, news: News): void {
    watch.nextRevision = news.revision + 1;
    watch.hasNews = true;
    this.#stream.send(this.#encoding.news(watch.id, news));
  }

  /** Sends past events to watches that are behind, a part to each in turn, as long as the client reads. */
  #catchUp(): void {
    if (this.#isCatchingUp) return;
    this.#isCatchingUp = true;
    setImmediate(() => {
      this.#isCatchingUp = false;
      if (this.#isClosed) return;
      let isWorkLeft = false;
      for (const watch of this.#watches.values()) {
        if (this.#stream.bufferedBytes > MAX_BUFFERED_BYTES) return; // continues when that is sent
        try {
          if (watch.isBehind) this.#catchUpWith(watch);
        } catch (error) {
          this.#stream.end(error);
          return;
        }
        isWorkLeft ||= watch.isBehind;
      }
      if (isWorkLeft) this.#catchUp();
      else this.#payProgress();
    });
  }

  #catchUpWith(watch: Watch): void {
    const past = this.#store.watches.past(watch.interest, watch.nextRevision);
    if (past === undefined) {
      this.#remove(watch.id);
      const compactRevision = BigInt(this.#store.compactedRevision);
      this.#send({ watchId: watch.id, canceled: true, compactRevision }, NO_REVISION);
      return;
    }
    if (past.news.events.length > 0) this.#sendNews(watch, past.news);
    watch.nextRevision = past.next;
    watch.isBehind = past.next <= this.#store.committedRevision;
  }

  /** Answers a progress request once no watch of the stream is behind. */
  #payProgress(): void {
    if (!this.#owesProgress || [...this.#watches.values()].some(({ isBehind }) => isBehind)) return;
    this.#owesProgress = false;
    this.#send({ watchId: NO_WATCH });
  }

  #scheduleProgress(): () => void {
    return this.#timers.after(PROGRESS_INTERVAL_MS, () => {
      for (const watch of this.#watches.values()) {
        if (!watch.notifiesProgress || watch.isBehind) continue;
        if (!watch.hasNews) this.#send({ watchId: watch.id });
        watch.hasNews = false;
      }
      this.#cancelProgress = this.#scheduleProgress();
    });
  }

  #send(
    response: Partial<Omit<WatchResponse, "$typeName" | "header">>,
    revision = this.#store.committedRevision,
  ): void {
    this.#stream.send(this.#encoding.watchResponse(revision, response));
  }
}

/** An empty key means the first key. */
const rangeOfWatch = ({ key, rangeEnd }: WatchCreateRequest): KeyRange =>
  rangeOf(key.length === 0 ? Buffer.of(0) : key, rangeEnd);
