/**
 * When a device is under load (wireguard.com/papers/wireguard.pdf, §5.3): more handshake messages than its budget allows. A
 * thousand peers that start together fit into it; a flood of strangers does not. Then messages need a cookie, and what is
 * done for one source is limited: handshakes with a cookie (as the kernel's ratelimiter.c: 20 a second, 5 at once) and cookie
 * replies, which are limited for all sources together too: a forged source costs its sender nothing. Allocates nothing.
 */

import { Buckets } from "./buckets.ts";

const BURST = 2500;
const PER_SECOND = 500;
/** How long a device stays under load. */
const LOAD_MS = 1_000;
const SOURCE_PER_SECOND = 20;
const SOURCE_BURST = 5;
const REPLIES_PER_SECOND = 2_000;
const REPLY_BURST = 200;
/** A power of two. Sources with the same place share a budget. */
const PLACES = 4096;

const AF_INET = 2;
/** Of a socket address: the IPv4 address, and the first half of the IPv6 address, which one host has for itself. */
const IPV4 = [4, 8] as const;
const IPV6_NETWORK = [8, 16] as const;

export class LoadLimit {
  readonly #all = new Buckets(1, PER_SECOND, BURST);
  readonly #handshakes = new Buckets(PLACES, SOURCE_PER_SECOND, SOURCE_BURST);
  readonly #sourceReplies = new Buckets(PLACES, SOURCE_PER_SECOND, SOURCE_BURST);
  readonly #allReplies = new Buckets(1, REPLIES_PER_SECOND, REPLY_BURST);
  readonly #seed: number;
  #loadUntilMs = Number.NEGATIVE_INFINITY;

  /** `seed`: a random number, so that no sender can choose sources that share a budget with another host. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Counts a handshake message; whether the device is under load. */
  isUnderLoad(nowMs: number): boolean {
    if (!this.#all.take(0, nowMs)) this.#loadUntilMs = nowMs + LOAD_MS;
    return nowMs < this.#loadUntilMs;
  }

  /** Counts a message with a cookie; whether its source (a socket address) may have it handled. */
  isAllowed(source: Uint8Array, nowMs: number): boolean {
    return this.#handshakes.take(this.#placeOf(source), nowMs);
  }

  /** Counts a cookie reply; whether the source may have it. */
  isReplyAllowed(source: Uint8Array, nowMs: number): boolean {
    return this.#sourceReplies.take(this.#placeOf(source), nowMs) && this.#allReplies.take(0, nowMs);
  }

  /** By address, without the port: a host has as many ports as it likes. */
  #placeOf(source: Uint8Array): number {
    const [start, end] = source[0] === AF_INET ? IPV4 : IPV6_NETWORK;
    let hash = this.#seed;
    for (let index = start; index < end; index++) {
      hash = Math.imul(hash ^ source[index]!, 0x01000193); // FNV-1a
      hash ^= hash >>> 15;
    }
    return hash & (PLACES - 1);
  }
}
