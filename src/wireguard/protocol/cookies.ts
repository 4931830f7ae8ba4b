/**
 * The macs of handshake messages, and cookies (wireguard.com/papers/wireguard.pdf, §5.4.4 and §5.4.7). mac1 proves that the
 * sender knows the receiver's public key. Under load a message also needs mac2 with a cookie: it proves that the sender
 * receives packets at its address.
 */

import {
  COOKIE_REPLY_BYTES,
  MAC_BYTES,
  MACS_BYTES,
  RECEIVER,
  SENDER,
  setU32,
  TYPE_COOKIE_REPLY,
  u32,
} from "./messages.ts";
import type { WireguardPrimitives } from "./primitives.ts";

const LABEL_MAC1 = new TextEncoder().encode("mac1----");
const LABEL_COOKIE = new TextEncoder().encode("cookie--");
/** Lifetime of the secret that cookies are derived from, and of a cookie. */
const SECRET_MS = 120_000;
/** An own cookie is not used in its last seconds: it would be stale on arrival. */
const COOKIE_MS = SECRET_MS - 5_000;
const NONCE_BYTES = 24;

/** The receiver's side, for messages to this host. */
export class CookieChecker {
  readonly #primitives: WireguardPrimitives;
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  #secret: Uint8Array = new Uint8Array(0);
  #secretUntilMs = Number.NEGATIVE_INFINITY;

  constructor(primitives: WireguardPrimitives, ownPublicKey: Uint8Array) {
    this.#primitives = primitives;
    this.#mac1Key = primitives.hash(LABEL_MAC1, ownPublicKey);
    this.#cookieKey = primitives.hash(LABEL_COOKIE, ownPublicKey);
  }

  isMac1Genuine(message: Uint8Array): boolean {
    const end = message.length - MACS_BYTES;
    return isSame(this.#primitives.mac(this.#mac1Key, message.subarray(0, end)), message, end);
  }

  /** `source`: address and port of the sender. */
  isMac2Genuine(message: Uint8Array, source: Uint8Array, nowMs: number): boolean {
    const end = message.length - MAC_BYTES;
    // A sender without a cookie leaves zeros.
    if (nowMs >= this.#secretUntilMs || isZero(message, end)) return false;
    const cookie = this.#primitives.mac(this.#secret, source);
    return isSame(this.#primitives.mac(cookie, message.subarray(0, end)), message, end);
  }

  createReply(message: Uint8Array, source: Uint8Array, nowMs: number): Uint8Array {
    const primitives = this.#primitives;
    if (nowMs >= this.#secretUntilMs) {
      this.#secret.fill(0);
      this.#secret = Uint8Array.from(primitives.randomBytes(32));
      this.#secretUntilMs = nowMs + SECRET_MS;
    }
    const reply = new Uint8Array(COOKIE_REPLY_BYTES);
    setU32(reply, 0, TYPE_COOKIE_REPLY);
    setU32(reply, RECEIVER, u32(message, SENDER));
    const nonce = primitives.randomBytes(NONCE_BYTES);
    reply.set(nonce, 8);
    const cookie = primitives.mac(this.#secret, source);
    const mac1 = message.subarray(message.length - MACS_BYTES, message.length - MAC_BYTES);
    reply.set(primitives.sealX(this.#cookieKey, nonce, cookie, mac1), 8 + NONCE_BYTES);
    return reply;
  }
}

/** The sender's side, for messages to one peer. */
export class CookieHolder {
  readonly #primitives: WireguardPrimitives;
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  #cookie: Uint8Array | undefined;
  #cookieUntilMs = 0;
  /** mac1 of the last message, which a reply refers to. */
  #lastMac1: Uint8Array | undefined;

  constructor(primitives: WireguardPrimitives, publicKey: Uint8Array) {
    this.#primitives = primitives;
    this.#mac1Key = primitives.hash(LABEL_MAC1, publicKey);
    this.#cookieKey = primitives.hash(LABEL_COOKIE, publicKey);
  }

  /** Fills in mac1, and mac2 if there is a cookie. */
  sign(message: Uint8Array, nowMs: number): void {
    const primitives = this.#primitives;
    const end = message.length - MACS_BYTES;
    this.#lastMac1 = primitives.mac(this.#mac1Key, message.subarray(0, end));
    message.set(this.#lastMac1, end);
    if (this.#cookie !== undefined && nowMs < this.#cookieUntilMs)
      message.set(primitives.mac(this.#cookie, message.subarray(0, end + MAC_BYTES)), end + MAC_BYTES);
  }

  /** Takes the cookie from a reply to the last message; false = it is forged, or of another one. */
  takeReply(reply: Uint8Array, nowMs: number): boolean {
    if (this.#lastMac1 === undefined) return false;
    const nonce = reply.slice(8, 8 + NONCE_BYTES);
    const cookie = this.#primitives.openX(
      this.#cookieKey,
      nonce,
      reply.slice(8 + NONCE_BYTES),
      this.#lastMac1,
    );
    if (cookie === undefined) return false;
    this.#lastMac1 = undefined;
    this.#cookie = Uint8Array.from(cookie);
    this.#cookieUntilMs = nowMs + COOKIE_MS;
    return true;
  }
}

function isZero(message: Uint8Array, start: number): boolean {
  for (let index = start; index < message.length; index++) if (message[index] !== 0) return false;
  return true;
}

/** Whether a mac is at `offset` of the message, in a time that does not depend on it. */
function isSame(mac: Uint8Array, message: Uint8Array, offset: number): boolean {
  let difference = 0;
  for (let index = 0; index < MAC_BYTES; index++) difference |= mac[index]! ^ message[offset + index]!;
  return difference === 0;
}
