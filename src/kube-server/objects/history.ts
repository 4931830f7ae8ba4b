/** The latest changes of one kind of object, oldest first, from which watches may continue. */

import type { KubeObject } from "./kube-object.ts";

/** The type of a watch event (k8s.io/apimachinery/pkg/watch). */
export type EventType = "ADDED" | "MODIFIED" | "DELETED";

/** One change. Of a deletion, `object` is the last state with the version of the deletion. */
export class Change {
  readonly type: EventType;
  readonly object: KubeObject;
  readonly previous: KubeObject | undefined;
  readonly revision: number;
  #line: Buffer | undefined;

  constructor(type: EventType, object: KubeObject, previous: KubeObject | undefined, revision: number) {
    this.type = type;
    this.object = object;
    this.previous = previous;
    this.revision = revision;
  }

  /** The event line of watches without a selector; encoded once for all of them. */
  get line(): Buffer {
    this.#line ??= eventLine(this.type, this.object);
    return this.#line;
  }
}

/** A watch event as its line of JSON. */
export const eventLine = (type: string, object: unknown): Buffer =>
  Buffer.from(`{"type":"${type}","object":${JSON.stringify(object)}}\n`);

/** Changes are numbered from 0; a change keeps its number when older ones are dropped. */
export class History {
  readonly #length: number;
  #changes: Change[] = [];
  #dropped = 0;
  /** Changes up to this revision may be missing. */
  compactedRevision = 0;

  constructor(length: number) {
    this.#length = length;
  }

  /** The number of the next change. */
  get end(): number {
    return this.#dropped + this.#changes.length;
  }

  /** The number of the oldest change kept. */
  get begin(): number {
    return Math.max(this.#dropped, this.end - this.#length);
  }

  add(change: Change): void {
    this.#changes.push(change);
    if (this.#changes.length > this.#length) {
      this.compactedRevision = this.#changes[this.#changes.length - this.#length - 1]!.revision;
    }
    // Moving the rest down costs little: it happens once in as many changes.
    if (this.#changes.length >= 2 * this.#length + 64) this.#drop(this.#changes.length - this.#length);
  }

  /** The change with this number, begin ≤ number < end. */
  at(number: number): Change {
    return this.#changes[number - this.#dropped]!;
  }

  /** The number of the first change after `revision`; undefined if some of those were dropped. */
  after(revision: number): number | undefined {
    if (revision < this.compactedRevision) return undefined;
    let low = this.begin;
    let high = this.end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at(middle).revision > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Drops everything up to `revision`, which is the newest. */
  compact(revision: number): void {
    this.#drop(this.#changes.length);
    this.compactedRevision = revision;
  }

  #drop(count: number): void {
    this.#changes = this.#changes.slice(count);
    this.#dropped += count;
  }
}
