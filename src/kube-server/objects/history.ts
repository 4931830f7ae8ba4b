/** The changes of one kind of object, newest last, as far back as watches may ask for them. */

import type { KubeObject } from "./kube-object.ts";

export type EventType = "ADDED" | "MODIFIED" | "DELETED";

/** One change: of nothing, of something, to nothing (then `object` is the last one with the new version). */
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

  /** The line of a watch that sees all objects, made once for all of them. */
  get line(): Buffer {
    this.#line ??= eventLine(this.type, this.object);
    return this.#line;
  }
}

export const eventLine = (type: string, object: unknown): Buffer =>
  Buffer.from(`{"type":"${type}","object":${JSON.stringify(object)}}\n`);

/** Changes are numbered from 0 on; a number stays the change's own when older ones are forgotten. */
export class History {
  readonly #length: number;
  #changes: Change[] = [];
  #dropped = 0;
  /** The newest revision of which changes may be missing. */
  forgottenRevision = 0;

  constructor(length: number) {
    this.#length = length;
  }

  /** The number that the next change will have. */
  get end(): number {
    return this.#dropped + this.#changes.length;
  }

  /** The number of the oldest change that is still known. */
  get begin(): number {
    return Math.max(this.#dropped, this.end - this.#length);
  }

  add(change: Change): void {
    this.#changes.push(change);
    if (this.#changes.length > this.#length) {
      this.forgottenRevision = this.#changes[this.#changes.length - this.#length - 1]!.revision;
    }
    // Moving the rest down is paid for once in as many changes.
    if (this.#changes.length >= 2 * this.#length + 64) this.#drop(this.#changes.length - this.#length);
  }

  /** The change with this number; it must lie between `begin` and `end`. */
  at(number: number): Change {
    return this.#changes[number - this.#dropped]!;
  }

  /** The number of the first change after `revision`; undefined if some of those have been forgotten. */
  after(revision: number): number | undefined {
    if (revision < this.forgottenRevision) return undefined;
    let low = this.begin;
    let high = this.end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at(middle).revision > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Forgets everything up to `revision`, which is the newest. */
  forget(revision: number): void {
    this.#drop(this.#changes.length);
    this.forgottenRevision = revision;
  }

  #drop(count: number): void {
    this.#changes = this.#changes.slice(count);
    this.#dropped += count;
  }
}
