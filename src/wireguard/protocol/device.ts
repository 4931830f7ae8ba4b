/**
 * The protocol of one WireGuard device (wireguard.com/papers/wireguard.pdf, §5 and §6): which handshake messages are answered,
 * which sessions are used, and when its timers fire. Data packets are encrypted elsewhere, with the sessions from here.
 *
 * Longer than 300 lines because every step of the protocol changes the same sessions and timers.
 */

import { base64Of } from "../base64.ts";
import {
  INITIATIONS_PER_SECOND,
  KEEPALIVE_TIMEOUT_MS,
  MOST_JITTER_MS,
  MOST_STAGED,
  REJECT_AFTER_MESSAGES,
  REJECT_AFTER_MS,
  REKEY_AFTER_MESSAGES,
  REKEY_AFTER_MS,
  REKEY_ATTEMPT_MS,
  REKEY_TIMEOUT_MS,
} from "./constants.ts";
import { CookieChecker } from "./cookies.ts";
import { LoadLimit } from "./load-limit.ts";
import {
  COOKIE_REPLY_BYTES,
  INITIATION_BYTES,
  RECEIVER,
  RECEIVER_IN_RESPONSE,
  RESPONSE_BYTES,
  TYPE_COOKIE_REPLY,
  TYPE_INITIATION,
  TYPE_RESPONSE,
  u32,
} from "./messages.ts";
import { type Identity, Noise, type SessionKeys } from "./noise.ts";
import { createSession, OFF, Peer, type Session } from "./peer.ts";
import type { PrivateKey, WireguardPrimitives } from "./primitives.ts";
import { isLater, tai64n } from "./tai64n.ts";

/** The device's way out. */
export interface DevicePorts {
  readonly primitives: WireguardPrimitives;
  readonly wallClockMs: () => number;
  /** Sends a handshake message to the peer's endpoint. */
  readonly sendToPeer: (peer: Peer, message: Uint8Array) => void;
  /** Sends a handshake message to where the one being received came from. */
  readonly reply: (message: Uint8Array) => void;
  /** The message being received is the peer's: its source is the peer's endpoint now. */
  readonly roam: (peer: Peer) => void;
  /** Encrypts and sends the staged packets of a peer, which has a session now; with none, an empty packet. */
  readonly sendStaged: (peer: Peer) => void;
}

const MOST_ATTEMPTS = REKEY_ATTEMPT_MS / REKEY_TIMEOUT_MS;
/** Own indices are small integers, so that looking them up allocates nothing. */
const INDEX_MASK = 0x3fffffff;

export class WireguardDevice {
  /** Monotonic time, set before each call. */
  nowMs = 0;
  readonly #ports: DevicePorts;
  readonly #noise: Noise;
  readonly #load = new LoadLimit();
  readonly #peers = new Map<string, Peer>();
  readonly #sessions = new Map<number, Session>();
  readonly #handshakes = new Map<number, Peer>();
  #own: PrivateKey | undefined;
  #checker: CookieChecker | undefined;
  #dueMs = OFF;

  constructor(ports: DevicePorts) {
    this.#ports = ports;
    this.#noise = new Noise(ports.primitives);
  }

  get peers(): Iterable<Peer> {
    return this.#peers.values();
  }

  /** When {@link tick} has something to do. */
  get dueMs(): number {
    return this.#dueMs;
  }

  peerOf(publicKey: Uint8Array): Peer | undefined {
    return this.#peers.get(base64Of(publicKey));
  }

  /** All sessions end when the key changes. */
  setPrivateKey(privateKey: Uint8Array): void {
    const { primitives } = this.#ports;
    this.#own = primitives.importKey(privateKey);
    this.#checker = new CookieChecker(primitives, this.#own.publicKey);
    for (const peer of this.#peers.values()) {
      this.#wipe(peer);
      peer.setPrivateKey(this.#own);
    }
  }

  addPeer(publicKey: Uint8Array, slot: number): Peer {
    const peer = new Peer(this.#ports.primitives, publicKey, slot);
    if (this.#own !== undefined) peer.setPrivateKey(this.#own);
    this.#peers.set(base64Of(publicKey), peer);
    return peer;
  }

  removePeer(peer: Peer): void {
    this.#wipe(peer);
    peer.sharedSecret?.fill(0);
    peer.presharedKey?.fill(0);
    peer.staged.length = 0;
    this.#peers.delete(base64Of(peer.publicKey));
  }

  /** `milliseconds`: 0 = off. The first packet goes out at once. */
  setKeepalive(peer: Peer, milliseconds: number): void {
    peer.keepaliveMs = milliseconds;
    peer.persistentAtMs = milliseconds === 0 ? OFF : this.#at(0);
  }

  /** The session that data to the peer is encrypted with; undefined = stage it and {@link initiate}. */
  sessionFor(peer: Peer): Session | undefined {
    const session = peer.current;
    if (session === undefined) return undefined;
    if (this.nowMs - session.createdMs >= REJECT_AFTER_MS) return undefined;
    return session.nextCounter < REJECT_AFTER_MESSAGES ? session : undefined;
  }

  /** The session of a received data message; undefined = there is none (any more). */
  sessionAt(localIndex: number): Session | undefined {
    const session = this.#sessions.get(localIndex);
    return session !== undefined && this.nowMs - session.createdMs < REJECT_AFTER_MS ? session : undefined;
  }

  /** Keeps a packet until there is a session. */
  stage(peer: Peer, packet: Uint8Array): void {
    if (peer.staged.length >= MOST_STAGED) peer.staged.shift();
    peer.staged.push(packet);
  }

  /** Begins a handshake, unless one began a moment ago. */
  initiate(peer: Peer, isRetry = false): void {
    if (!isRetry) peer.attempts = 0;
    if (this.nowMs - peer.lastSentHandshakeMs < REKEY_TIMEOUT_MS || !peer.hasEndpoint) return;
    if (this.#own === undefined || peer.sharedSecret === undefined) return;
    peer.lastSentHandshakeMs = this.nowMs;
    this.#dropHandshake(peer);
    const index = this.#freeIndex();
    const stamp = tai64n(this.#ports.wallClockMs());
    const created = this.#noise.createInitiation(this.#identityOf(peer), index, stamp);
    if (created === undefined) return;
    peer.handshake = created.handshake;
    this.#handshakes.set(index, peer);
    peer.cookies.sign(created.message, this.nowMs);
    peer.sentBytes += created.message.length;
    this.#ports.sendToPeer(peer, created.message);
    this.#noteSent(peer);
    peer.retransmitAtMs = this.#at(REKEY_TIMEOUT_MS + this.#jitterMs());
  }

  /** Handles a message of another type than data. `source`: address and port of its sender. */
  receiveHandshake(message: Uint8Array, source: Uint8Array): void {
    if (message.length < 4) return;
    const type = u32(message, 0);
    if (type === TYPE_COOKIE_REPLY) {
      if (message.length !== COOKIE_REPLY_BYTES) return;
      const peer =
        this.#handshakes.get(u32(message, RECEIVER)) ?? this.#sessions.get(u32(message, RECEIVER))?.peer;
      peer?.cookies.takeReply(message, this.nowMs);
      return;
    }
    const isInitiation = type === TYPE_INITIATION && message.length === INITIATION_BYTES;
    const isResponse = type === TYPE_RESPONSE && message.length === RESPONSE_BYTES;
    if (!(isInitiation || isResponse) || this.#checker?.isMac1Genuine(message) !== true) return;
    if (this.#load.isUnderLoad(this.nowMs)) {
      if (!this.#checker.isMac2Genuine(message, source, this.nowMs)) {
        this.#ports.reply(this.#checker.createReply(message, source, this.nowMs));
        return;
      }
      if (!this.#load.isAllowed(source, this.nowMs)) return;
    }
    if (isInitiation) this.#receiveInitiation(message);
    else this.#receiveResponse(message);
  }

  /** A data message was authentic. `isData` = it is no keepalive. */
  noteReceived(session: Session, bytes: number, isData: boolean): void {
    const { peer } = session;
    this.#ports.roam(peer);
    peer.receivedBytes += bytes;
    if (session === peer.next) {
      this.#drop(peer.previous);
      peer.previous = peer.current;
      peer.current = session;
      peer.next = undefined;
      this.#completeHandshake(peer);
      if (peer.staged.length > 0) this.#ports.sendStaged(peer);
    }
    const age = this.nowMs - session.createdMs;
    if (
      session.isInitiator &&
      session === peer.current &&
      !peer.hasSentLastMinuteHandshake &&
      age >= REJECT_AFTER_MS - KEEPALIVE_TIMEOUT_MS - REKEY_TIMEOUT_MS
    ) {
      peer.hasSentLastMinuteHandshake = true;
      this.initiate(peer);
    }
    this.#noteAuthentic(peer);
    if (!isData) return;
    if (peer.keepaliveAtMs === OFF) peer.keepaliveAtMs = this.#at(KEEPALIVE_TIMEOUT_MS);
    else peer.needsAnotherKeepalive = true;
  }

  /** A data message was sent. `isData` = it is no keepalive. */
  noteSentData(session: Session, bytes: number, isData: boolean): void {
    const { peer } = session;
    peer.sentBytes += bytes;
    this.#noteSent(peer);
    if (isData && peer.newHandshakeAtMs === OFF)
      peer.newHandshakeAtMs = this.#at(KEEPALIVE_TIMEOUT_MS + REKEY_TIMEOUT_MS + this.#jitterMs());
    const isOld = session.isInitiator && this.nowMs - session.createdMs >= REKEY_AFTER_MS;
    if (isOld || session.nextCounter > REKEY_AFTER_MESSAGES) this.initiate(peer);
  }

  /** Fires the timers that are due. */
  tick(): void {
    if (this.nowMs < this.#dueMs) return;
    this.#dueMs = OFF;
    for (const peer of this.#peers.values()) {
      if (peer.dueMs <= this.nowMs) this.#fire(peer);
      this.#dueMs = Math.min(this.#dueMs, peer.dueMs);
    }
  }

  /** Overwrites all keys. */
  close(): void {
    for (const peer of this.#peers.values()) this.removePeer(peer);
  }

  #fire(peer: Peer): void {
    const now = this.nowMs;
    if (peer.retransmitAtMs <= now) {
      peer.retransmitAtMs = OFF;
      if (++peer.attempts > MOST_ATTEMPTS) {
        peer.keepaliveAtMs = OFF;
        peer.staged.length = 0;
        if (peer.wipeAtMs === OFF) peer.wipeAtMs = this.#at(REJECT_AFTER_MS * 3);
      } else this.initiate(peer, true);
    }
    if (peer.newHandshakeAtMs <= now) {
      peer.newHandshakeAtMs = OFF;
      this.initiate(peer);
    }
    if (peer.keepaliveAtMs <= now) {
      peer.keepaliveAtMs = OFF;
      this.#sendKeepalive(peer);
      if (peer.needsAnotherKeepalive) {
        peer.needsAnotherKeepalive = false;
        peer.keepaliveAtMs = this.#at(KEEPALIVE_TIMEOUT_MS);
      }
    }
    if (peer.persistentAtMs <= now) {
      peer.persistentAtMs = peer.keepaliveMs === 0 ? OFF : this.#at(peer.keepaliveMs);
      this.#sendKeepalive(peer);
    }
    if (peer.wipeAtMs <= now) this.#wipe(peer);
  }

  #sendKeepalive(peer: Peer): void {
    if (this.sessionFor(peer) === undefined) this.initiate(peer);
    else this.#ports.sendStaged(peer);
  }

  #receiveInitiation(message: Uint8Array): void {
    const own = this.#own!;
    const opened = this.#noise.openInitiation(own, message);
    if (opened === undefined) return;
    const peer = this.#peers.get(base64Of(opened.publicKey));
    if (peer?.sharedSecret === undefined) return;
    const identity = this.#identityOf(peer);
    const finished = this.#noise.finishInitiation(opened, identity);
    if (finished === undefined || !isLater(finished.timestamp, peer.latestTimestamp)) return;
    if (this.nowMs - peer.lastInitiationMs < 1000 / INITIATIONS_PER_SECOND) return;
    peer.latestTimestamp = finished.timestamp;
    peer.lastInitiationMs = this.nowMs;
    const handshake = { ...finished.handshake, localIndex: this.#freeIndex() };
    const response = this.#noise.createResponse(identity, handshake);
    handshake.chainKey.fill(0);
    if (response === undefined) return;
    this.#ports.roam(peer);
    this.#drop(peer.next);
    this.#drop(peer.previous);
    peer.previous = undefined;
    peer.next = this.#beginSession(peer, response.keys, false);
    peer.cookies.sign(response.message, this.nowMs);
    this.#ports.sendToPeer(peer, response.message);
    this.#noteSent(peer);
  }

  #receiveResponse(message: Uint8Array): void {
    const peer = this.#handshakes.get(u32(message, RECEIVER_IN_RESPONSE));
    if (peer?.handshake === undefined) return;
    const keys = this.#noise.openResponse(this.#identityOf(peer), peer.handshake, message);
    if (keys === undefined) return;
    this.#dropHandshake(peer);
    this.#ports.roam(peer);
    if (peer.next === undefined) {
      this.#drop(peer.previous);
      peer.previous = peer.current;
    } else {
      this.#drop(peer.previous);
      this.#drop(peer.current);
      peer.previous = peer.next;
      peer.next = undefined;
    }
    peer.current = this.#beginSession(peer, keys, true);
    this.#noteAuthentic(peer);
    this.#completeHandshake(peer);
    // The responder may use the session only after a packet from here.
    this.#ports.sendStaged(peer);
  }

  #beginSession(peer: Peer, keys: SessionKeys, isInitiator: boolean): Session {
    const session = createSession(this.#ports.primitives, peer, keys, isInitiator, this.nowMs);
    this.#sessions.set(session.localIndex, session);
    peer.wipeAtMs = this.#at(REJECT_AFTER_MS * 3);
    return session;
  }

  #completeHandshake(peer: Peer): void {
    peer.retransmitAtMs = OFF;
    peer.attempts = 0;
    peer.hasSentLastMinuteHandshake = false;
    peer.lastHandshakeMs = this.#ports.wallClockMs();
  }

  #noteAuthentic(peer: Peer): void {
    peer.newHandshakeAtMs = OFF;
    if (peer.keepaliveMs > 0) peer.persistentAtMs = this.#at(peer.keepaliveMs);
  }

  #noteSent(peer: Peer): void {
    peer.keepaliveAtMs = OFF;
    if (peer.keepaliveMs > 0) peer.persistentAtMs = this.#at(peer.keepaliveMs);
  }

  #identityOf({ publicKey, sharedSecret, presharedKey }: Peer): Identity {
    return { own: this.#own!, publicKey, sharedSecret: sharedSecret!, presharedKey };
  }

  #wipe(peer: Peer): void {
    this.#dropHandshake(peer);
    for (const session of [peer.current, peer.previous, peer.next]) this.#drop(session);
    peer.current = undefined;
    peer.previous = undefined;
    peer.next = undefined;
    peer.wipeAtMs = OFF;
  }

  #drop(session: Session | undefined): void {
    if (session === undefined || !this.#sessions.delete(session.localIndex)) return;
    session.sending.destroy();
    session.receiving.destroy();
  }

  #dropHandshake(peer: Peer): void {
    if (peer.handshake === undefined) return;
    this.#handshakes.delete(peer.handshake.localIndex);
    peer.handshake.chainKey.fill(0);
    peer.handshake = undefined;
  }

  #freeIndex(): number {
    for (;;) {
      const index = u32(this.#ports.primitives.randomBytes(4), 0) & INDEX_MASK;
      if (!this.#sessions.has(index) && !this.#handshakes.has(index)) return index;
    }
  }

  #jitterMs(): number {
    return (this.#ports.primitives.randomBytes(1)[0]! / 255) * MOST_JITTER_MS;
  }

  #at(delayMs: number): number {
    const atMs = this.nowMs + delayMs;
    if (atMs < this.#dueMs) this.#dueMs = atMs;
    return atMs;
  }
}
