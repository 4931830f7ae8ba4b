/**
 * The handshake Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard has it (wireguard.com/papers/wireguard.pdf, §5.4.2 to
 * §5.4.5): builds and reads its two messages, without their macs. Functions of their inputs; key material that is no longer needed
 * is overwritten.
 */

import {
  INITIATION_BYTES,
  RECEIVER_IN_RESPONSE,
  RESPONSE_BYTES,
  SENDER,
  setU32,
  TYPE_INITIATION,
  TYPE_RESPONSE,
  u32,
} from "./messages.ts";
import { type PrivateKey, TAG_BYTES, type WireguardPrimitives } from "./primitives.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const CONSTRUCTION = text("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s");
const IDENTIFIER = text("WireGuard v1 zx2c4 Jason@zx2c4.com");
const EMPTY = new Uint8Array(0);
const NO_PRESHARED_KEY = new Uint8Array(32);
const TIMESTAMP_BYTES = 12;

// Offsets of the fields.
const EPHEMERAL_1 = 8;
const STATIC = 40;
const TIMESTAMP = 88;
const EPHEMERAL_2 = 12;
const NOTHING = 44;

/** What both sides know of each other before the handshake. */
export interface Identity {
  readonly own: PrivateKey;
  readonly publicKey: Uint8Array;
  /** DH of both static keys. */
  readonly sharedSecret: Uint8Array;
  readonly presharedKey: Uint8Array | undefined;
}

/** A handshake between its two messages. */
export interface Handshake {
  hash: Uint8Array;
  chainKey: Uint8Array;
  /** The initiator's own ephemeral key. */
  readonly ephemeral: PrivateKey | undefined;
  readonly remoteEphemeral: Uint8Array | undefined;
  /** The index that this side chose. */
  readonly localIndex: number;
  readonly remoteIndex: number;
}

export interface SessionKeys {
  readonly sending: Uint8Array;
  readonly receiving: Uint8Array;
  readonly localIndex: number;
  readonly remoteIndex: number;
}

/** An initiation up to the point where its sender is known. */
export interface OpenedInitiation {
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly hash: Uint8Array;
  readonly chainKey: Uint8Array;
}

export class Noise {
  readonly #primitives: WireguardPrimitives;
  readonly #chainKey: Uint8Array;
  readonly #hash: Uint8Array;

  constructor(primitives: WireguardPrimitives) {
    this.#primitives = primitives;
    this.#chainKey = primitives.hash(CONSTRUCTION);
    this.#hash = primitives.hash(this.#chainKey, IDENTIFIER);
  }

  createInitiation(
    { own, publicKey, sharedSecret }: Identity,
    localIndex: number,
    timestamp: Uint8Array,
  ): { readonly message: Uint8Array; readonly handshake: Handshake } | undefined {
    const primitives = this.#primitives;
    const message = new Uint8Array(INITIATION_BYTES);
    setU32(message, 0, TYPE_INITIATION);
    setU32(message, SENDER, localIndex);
    const ephemeral = primitives.generateKey();
    message.set(ephemeral.publicKey, EPHEMERAL_1);
    let hash = primitives.hash(primitives.hash(this.#hash, publicKey), ephemeral.publicKey);
    const [first] = this.#derive(1, this.#chainKey, ephemeral.publicKey);
    const es = ephemeral.agree(publicKey);
    if (es === undefined) return undefined;
    const [second, staticKey] = this.#derive(2, consumed(first!), consumed(es));
    const sealedStatic = primitives.seal(consumed(staticKey!), own.publicKey, hash);
    message.set(sealedStatic, STATIC);
    hash = primitives.hash(hash, sealedStatic);
    const [chainKey, timestampKey] = this.#derive(2, consumed(second!), sharedSecret);
    const sealedTimestamp = primitives.seal(consumed(timestampKey!), timestamp, hash);
    message.set(sealedTimestamp, TIMESTAMP);
    hash = primitives.hash(hash, sealedTimestamp);
    this.#wipe();
    const handshake = { hash, chainKey: chainKey!, ephemeral, localIndex, remoteIndex: 0 };
    return { message, handshake: { ...handshake, remoteEphemeral: undefined } };
  }

  /** Finds out who sent an initiation; undefined = forged or malformed. */
  openInitiation(own: PrivateKey, message: Uint8Array): OpenedInitiation | undefined {
    const primitives = this.#primitives;
    const ephemeral = message.slice(EPHEMERAL_1, STATIC);
    let hash = primitives.hash(primitives.hash(this.#hash, own.publicKey), ephemeral);
    const [first] = this.#derive(1, this.#chainKey, ephemeral);
    const es = own.agree(ephemeral);
    if (es === undefined) return undefined;
    const [chainKey, key] = this.#derive(2, consumed(first!), consumed(es));
    const sealed = message.slice(STATIC, TIMESTAMP);
    const publicKey = primitives.open(consumed(key!), sealed, hash);
    this.#wipe();
    if (publicKey === undefined) return undefined;
    hash = primitives.hash(hash, sealed);
    return { publicKey: Uint8Array.from(publicKey), message, hash, chainKey: chainKey! };
  }

  /** Checks the rest of it; undefined = forged. */
  finishInitiation(
    { message, hash, chainKey }: OpenedInitiation,
    { sharedSecret }: Identity,
  ): { readonly timestamp: Uint8Array; readonly handshake: Omit<Handshake, "localIndex"> } | undefined {
    const primitives = this.#primitives;
    const [next, key] = this.#derive(2, consumed(chainKey), sharedSecret);
    const sealed = message.slice(TIMESTAMP, TIMESTAMP + TIMESTAMP_BYTES + TAG_BYTES);
    const timestamp = primitives.open(consumed(key!), sealed, hash);
    this.#wipe();
    if (timestamp === undefined) return undefined;
    return {
      timestamp: Uint8Array.from(timestamp),
      handshake: {
        hash: primitives.hash(hash, sealed),
        chainKey: next!,
        ephemeral: undefined,
        remoteEphemeral: message.slice(EPHEMERAL_1, STATIC),
        remoteIndex: u32(message, SENDER),
      },
    };
  }

  /** Answers an initiation; the handshake is over for this side. */
  createResponse(
    { publicKey, presharedKey }: Identity,
    { hash: before, chainKey: first, remoteEphemeral, remoteIndex, localIndex }: Handshake,
  ): { readonly message: Uint8Array; readonly keys: SessionKeys } | undefined {
    const primitives = this.#primitives;
    const message = new Uint8Array(RESPONSE_BYTES);
    setU32(message, 0, TYPE_RESPONSE);
    setU32(message, SENDER, localIndex);
    setU32(message, RECEIVER_IN_RESPONSE, remoteIndex);
    const ephemeral = primitives.generateKey();
    message.set(ephemeral.publicKey, EPHEMERAL_2);
    const ee = ephemeral.agree(remoteEphemeral!);
    const se = ephemeral.agree(publicKey);
    if (ee === undefined || se === undefined) return undefined;
    const mixed = this.#mixResponse(before, first, ephemeral.publicKey, ee, se, presharedKey);
    const sealed = primitives.seal(consumed(mixed.key), EMPTY, mixed.hash);
    message.set(sealed, NOTHING);
    const [sending, receiving] = this.#split(mixed.chainKey).toReversed() as [Uint8Array, Uint8Array];
    return { message, keys: { sending, receiving, localIndex, remoteIndex } };
  }

  /** Reads the response to an initiation; undefined = forged, and the handshake may still be answered. */
  openResponse(
    { own, presharedKey }: Identity,
    { hash: before, chainKey: first, ephemeral, localIndex }: Handshake,
    message: Uint8Array,
  ): SessionKeys | undefined {
    const remoteEphemeral = message.slice(EPHEMERAL_2, NOTHING);
    const ee = ephemeral!.agree(remoteEphemeral);
    const se = own.agree(remoteEphemeral);
    if (ee === undefined || se === undefined) return undefined;
    const mixed = this.#mixResponse(before, first, remoteEphemeral, ee, se, presharedKey);
    const nothing = message.slice(NOTHING, NOTHING + TAG_BYTES);
    const isGenuine = this.#primitives.open(consumed(mixed.key), nothing, mixed.hash) !== undefined;
    const [sending, receiving] = this.#split(mixed.chainKey);
    if (isGenuine)
      return { sending: sending!, receiving: receiving!, localIndex, remoteIndex: u32(message, SENDER) };
    sending!.fill(0);
    receiving!.fill(0);
    return undefined;
  }

  #mixResponse(
    before: Uint8Array,
    first: Uint8Array,
    ephemeral: Uint8Array,
    ee: Uint8Array,
    se: Uint8Array,
    presharedKey: Uint8Array | undefined,
  ): { readonly hash: Uint8Array; readonly chainKey: Uint8Array; readonly key: Uint8Array } {
    const hash = this.#primitives.hash(before, ephemeral);
    const [second] = this.#derive(1, first, ephemeral);
    const [third] = this.#derive(1, consumed(second!), consumed(ee));
    const [fourth] = this.#derive(1, consumed(third!), consumed(se));
    const [chainKey, tau, key] = this.#derive(3, consumed(fourth!), presharedKey ?? NO_PRESHARED_KEY);
    const mixedHash = this.#primitives.hash(hash, consumed(tau!));
    this.#wipe();
    return { hash: mixedHash, chainKey: chainKey!, key: key! };
  }

  /** The initiator's sending key first. */
  #split(chainKey: Uint8Array): Uint8Array[] {
    const keys = this.#derive(2, consumed(chainKey), EMPTY);
    this.#wipe();
    return keys;
  }

  /** KDF_n of the paper (§5.4): HKDF (RFC 5869) with HMAC-BLAKE2s. */
  #derive(count: number, key: Uint8Array, input: Uint8Array): Uint8Array[] {
    const secret = this.#primitives.hmac(key, input);
    const outputs: Uint8Array[] = [];
    let last: Uint8Array = EMPTY;
    for (let number = 1; number <= count; number++) {
      last = this.#primitives.hmac(secret, last, Uint8Array.of(number));
      outputs.push(last);
    }
    secret.fill(0);
    return outputs;
  }

  /** Overwrites the secrets that were {@link consumed} since. */
  #wipe(): void {
    for (const secret of spent) secret.fill(0);
    spent.length = 0;
  }
}

/** Secrets that have been used for the last time. */
const spent: Uint8Array[] = [];

/** The secret, which is overwritten when the current step is complete. */
function consumed(secret: Uint8Array): Uint8Array {
  spent.push(secret);
  return secret;
}
