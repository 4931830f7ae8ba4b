/**
 * The probes that may still be answered, in a ring: a probe is found by its sequence number. An answer has to carry the random
 * number of its probe, so that only a host that saw the probe can forge one.
 */

import type { Path } from "./path.ts";

/** More than are sent in the longest time for which an answer counts. */
const CAPACITY = 2_048;

/** A probe that was sent; the size in bytes of the whole IP packet, the time monotonic. */
export interface SentProbe {
  readonly slot: number;
  readonly path: Path;
  readonly sizeBytes: number;
  readonly sentMs: number;
}

type MutableProbe = { -readonly [Name in keyof SentProbe]: SentProbe[Name] };

const FREE = 0;
const PENDING = 1;
const EXPIRED = 2;

/** The latest 2,048 probes; an older one counts as never sent. */
export class InFlight {
  readonly #state = new Uint8Array(CAPACITY);
  readonly #slots = new Int32Array(CAPACITY);
  readonly #paths = new Uint8Array(CAPACITY);
  readonly #sizes = new Uint16Array(CAPACITY);
  readonly #sentMs = new Float64Array(CAPACITY);
  readonly #deadlineMs = new Float64Array(CAPACITY);
  readonly #nonces = new Uint32Array(CAPACITY);
  /** Of the answer that was found last, and of the probe that expired last: nothing is allocated for a probe. */
  readonly #found: MutableProbe = { slot: 0, path: 0, sizeBytes: 0, sentMs: 0 };
  readonly #expired: MutableProbe = { slot: 0, path: 0, sizeBytes: 0, sentMs: 0 };
  #next = 0;
  #oldest = 0;

  /** Whether a probe is pending. */
  get isEmpty(): boolean {
    return this.#oldest === this.#next;
  }

  /** Adds a copy of a probe and returns its sequence number (16 bits). */
  add(probe: SentProbe, deadlineMs: number, nonce: number): number {
    const index = this.#next % CAPACITY;
    this.#state[index] = PENDING;
    this.#slots[index] = probe.slot;
    this.#paths[index] = probe.path;
    this.#sizes[index] = probe.sizeBytes;
    this.#sentMs[index] = probe.sentMs;
    this.#deadlineMs[index] = deadlineMs;
    this.#nonces[index] = nonce;
    if (this.#next - this.#oldest >= CAPACITY) this.#oldest++;
    return this.#next++ & 0xffff;
  }

  /** The probe that an answer belongs to; undefined if none, or it does not carry its nonce. Valid until the next call. */
  find(sequence: number, nonce: number): SentProbe | undefined {
    const index = this.#indexOf(sequence, nonce);
    return index === undefined ? undefined : this.#read(index, this.#found);
  }

  /** Takes a probe out because it was answered. True = in time; false = it had expired. */
  take(sequence: number, nonce: number): boolean {
    const index = this.#indexOf(sequence, nonce);
    if (index === undefined) return false;
    const isInTime = this.#state[index] === PENDING;
    this.#state[index] = FREE;
    return isInTime;
  }

  /** Calls back for each probe whose deadline has passed. An answer that comes later still finds it. The probe is valid during the call. */
  expire(nowMs: number, onExpired: (probe: SentProbe) => void): void {
    let isOldest = true;
    for (let number = this.#oldest; number < this.#next; number++) {
      const index = number % CAPACITY;
      if (this.#state[index] === PENDING && nowMs >= this.#deadlineMs[index]!) {
        this.#state[index] = EXPIRED;
        onExpired(this.#read(index, this.#expired));
      }
      if (isOldest && this.#state[index] !== PENDING) this.#oldest = number + 1;
      else isOldest = false;
    }
  }

  /** Forgets the probes of a slot: it becomes another peer's. */
  forget(slot: number): void {
    for (let index = 0; index < CAPACITY; index++) if (this.#slots[index] === slot) this.#state[index] = FREE;
  }

  #indexOf(sequence: number, nonce: number): number | undefined {
    // The latest probe with this number; those before it left the ring long ago.
    const number = this.#next - 1 - ((this.#next - 1 - sequence) & 0xffff);
    if (number < 0 || this.#next - number > CAPACITY) return undefined;
    const index = number % CAPACITY;
    return this.#state[index] === FREE || this.#nonces[index] !== nonce ? undefined : index;
  }

  #read(index: number, probe: MutableProbe): SentProbe {
    probe.slot = this.#slots[index]!;
    probe.path = this.#paths[index] as Path;
    probe.sizeBytes = this.#sizes[index]!;
    probe.sentMs = this.#sentMs[index]!;
    return probe;
  }
}
