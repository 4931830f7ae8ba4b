/** One open watch: the changes after a version, one JSON line each, while the client reads fast enough. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { type Change, eventLine } from "../objects/history.ts";
import { type KubeStatus, tooOldVersion } from "../objects/kube-error.ts";
import type { JsonObject, KubeObject } from "../objects/kube-object.ts";
import { type ObjectStore, withVersion } from "../objects/object-store.ts";
import { apiVersionOf } from "../objects/resources.ts";
import type { Selector } from "../objects/selectors.ts";
import { resetConnection } from "./fault.ts";

/** The most that is buffered for a slow client; later changes wait in the history. */
const MAX_UNSENT_BYTES = 1024 * 1024;
/** How long a client may take to read the last events. */
const END_MS = 5_000;

/** The watch that a client requested. */
export interface WatchOptions {
  readonly store: ObjectStore;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Undefined = all. */
  readonly selector: Selector | undefined;
  /** Begins after this version; undefined = all current objects as ADDED, then all changes from now on. */
  readonly since: number | undefined;
  readonly wantsBookmarks: boolean;
  readonly timeoutMs: number;
  /** Replaces the object of each event (tables). */
  readonly transform: ((object: KubeObject) => JsonObject) | undefined;
  /** Breaks off in the middle of the first event. */
  readonly isTruncated: boolean;
}

/** Sends the events of one watch until it ends; `send` must be called after each change. */
export class WatchStream {
  readonly #options: WatchOptions;
  readonly #timer: NodeJS.Timeout;
  /** The objects at the beginning, of which the first #initialSent are sent. */
  #initial: readonly KubeObject[] = [];
  #initialSent = 0;
  /** Number of the next change. */
  #next: number;
  /** The newest version that the client has received. */
  #knownRevision: number;
  #isOver = false;

  /** Throws KubeError Expired if `since` was compacted. */
  constructor(options: WatchOptions) {
    const { store, response, since, selector } = options;
    this.#options = options;
    if (since === undefined) {
      this.#initial = selector === undefined ? store.list() : store.list().filter(selector);
      this.#next = store.history.end;
      this.#knownRevision = 0;
    } else {
      const first = store.history.after(since);
      if (first === undefined) throw tooOldVersion(since, store.history.compactedRevision);
      this.#next = first;
      this.#knownRevision = since;
    }
    response.writeHead(200, { "content-type": "application/json", "cache-control": "no-cache, private" });
    response.flushHeaders();
    response.on("drain", () => this.send());
    this.#timer = setTimeout(() => this.#expectedEnd(), options.timeoutMs);
    response.on("close", () => this.#finish());
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Sends pending events, as many as the connection takes. */
  send(): void {
    const { response, store } = this.#options;
    response.cork();
    while (!this.#isOver && response.writableLength < MAX_UNSENT_BYTES) {
      if (this.#initialSent < this.#initial.length) {
        const object = this.#initial[this.#initialSent++]!;
        this.#write(this.#lineOf("ADDED", object), Number(object.metadata.resourceVersion));
      } else if (this.#next >= store.history.end) {
        break;
      } else if (this.#next < store.history.begin) {
        this.expire();
      } else {
        const change = store.history.at(this.#next++);
        const line = this.#changeLine(change);
        // A watch from a future version (of another cluster, or of lost data) gets no event before the server reaches it.
        const isNew = change.revision > (this.#options.since ?? 0);
        if (isNew && line !== undefined) this.#write(line, change.revision);
      }
    }
    response.uncork();
  }

  /** Sends a bookmark with the newest version, if requested and if no older event is pending. */
  bookmark(): void {
    const { store, wantsBookmarks } = this.#options;
    const isBehind = this.#next < store.history.end || this.#initialSent < this.#initial.length;
    if (!wantsBookmarks || this.#isOver || isBehind) return;
    const { revision, resource } = store;
    const object = {
      kind: resource.kind,
      apiVersion: apiVersionOf(resource),
      metadata: { resourceVersion: String(revision), creationTimestamp: null },
      spec: {},
      status: {},
    };
    this.#write(this.#lineOf("BOOKMARK", object as never), revision);
  }

  /** The history was compacted: ends the watch if its client has an older version than the newest. */
  compacted(): void {
    if (this.#knownRevision < this.#options.store.revision) this.expire();
  }

  /** Ends the watch with an ERROR event: 410. */
  expire(): void {
    const { store } = this.#options;
    this.#fail(tooOldVersion(this.#knownRevision, store.history.compactedRevision).status);
  }

  /** Ends the response cleanly; the client resumes from the last version it received. */
  end(): void {
    this.#close();
  }

  reset(): void {
    resetConnection(this.#options.request);
  }

  /** Sends any text, whole events or not. */
  sendRaw(text: string): void {
    if (!this.#isOver) this.#options.response.write(text);
  }

  /** The timeout: a last bookmark lets the client resume from the newest version. */
  #expectedEnd(): void {
    this.bookmark();
    this.#close();
  }

  #fail(status: KubeStatus): void {
    if (this.#isOver) return;
    this.#options.response.write(eventLine("ERROR", status));
    this.#close();
  }

  /** Undefined = the change does not concern this watch. */
  #changeLine(change: Change): Buffer | undefined {
    const { selector, transform } = this.#options;
    const { type, object, previous, revision } = change;
    if (selector === undefined) return transform === undefined ? change.line : this.#lineOf(type, object);
    const was = previous !== undefined && selector(previous);
    const is = type !== "DELETED" && selector(object);
    if (!was && !is) return undefined;
    if (!is) return this.#lineOf("DELETED", withVersion(previous!, String(revision)));
    if (!was) return this.#lineOf("ADDED", object);
    return transform === undefined ? change.line : this.#lineOf(type, object);
  }

  #lineOf(type: string, object: KubeObject): Buffer {
    return eventLine(type, this.#options.transform?.(object) ?? object);
  }

  #write(line: Buffer, revision: number): void {
    const { response, request, isTruncated } = this.#options;
    if (isTruncated) {
      this.#finish();
      response.write(line.subarray(0, line.length >> 1));
      response.uncork();
      request.socket.destroySoon();
      return;
    }
    response.write(line);
    this.#knownRevision = Math.max(this.#knownRevision, revision);
  }

  #close(): void {
    if (this.#isOver) return;
    this.#finish();
    const { response, request } = this.#options;
    response.end();
    const timer = setTimeout(() => request.socket.destroy(), END_MS);
    response.once("close", () => clearTimeout(timer));
  }

  #finish(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}
