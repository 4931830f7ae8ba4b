/**
 * The protocol of one WireGuard device (wireguard.com/papers/wireguard.pdf, §5 and §6): which handshake messages are answered,
 * and which sessions are used. Data packets are encrypted elsewhere, with the sessions from here.
 */

import { base64Of } from "../base64.ts";
import { Admission } from "./admission.ts";
import {
  INITIATIONS_PER_SECOND,
  KEEPALIVE_TIMEOUT_MS,
  MOST_STAGED,
  MOST_STAGED_AT_START,
  REJECT_AFTER_MESSAGES,
  REJECT_AFTER_MS,
  REKEY_AFTER_MESSAGES,
  REKEY_AFTER_MS,
  REKEY_TIMEOUT_MS,
  START_MS,
} from "./constants.ts";
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
import { type Identity, Noise } from "./noise.ts";
import { OFF, Peer, type Session } from "./peer.ts";
import type { PrivateKey, WireguardPrimitives } from "./primitives.ts";
import { SessionTable } from "./session-table.ts";
import { isLater, tai64n } from "./tai64n.ts";
import { PeerTimers } from "./timers.ts";

/** What a device needs of its surroundings. */
export interface DevicePorts {
  readonly primitives: WireguardPrimitives;
  readonly wallClockMs: () => number;
  /** For the timestamps of initiations, in ms since 1970: never less than before, whatever the wall clock does. */
  readonly timestampMs: () => number;
  /** Sends a handshake message to the peer's endpoint. */
  readonly sendToPeer: (peer: Peer, message: Uint8Array) => void;
  /** Sends a handshake message to where the one being received came from. */
  readonly reply: (message: Uint8Array) => void;
  /** The message being received is the peer's: its source is the peer's endpoint now. */
  readonly roam: (peer: Peer) => void;
  /** Encrypts and sends the staged packets of a peer, which has a session now; with none, an empty packet. */
  readonly sendStaged: (peer: Peer) => void;
}

export class WireguardDevice {
  readonly #ports: DevicePorts;
  readonly #noise: Noise;
  readonly #peers = new Map<string, Peer>();
  readonly #sessions: SessionTable;
  readonly #timers: PeerTimers;
  #own: PrivateKey | undefined;
  #startedMs = 0;
  #admission: Admission | undefined;

  constructor(ports: DevicePorts) {
    this.#ports = ports;
    this.#noise = new Noise(ports.primitives);
    this.#sessions = new SessionTable(ports.primitives);
    this.#timers = new PeerTimers({
      initiate: (peer, isRetry) => this.initiate(peer, isRetry),
      sendKeepalive: (peer) =>
        this.sessionFor(peer) === undefined ? this.initiate(peer) : ports.sendStaged(peer),
      wipe: (peer) => this.#wipe(peer),
      randomByte: () => ports.primitives.randomBytes(1)[0]!,
    });
  }

  /** Monotonic time, set before each call. */
  get nowMs(): number {
    return this.#timers.nowMs;
  }

  set nowMs(nowMs: number) {
    this.#timers.nowMs = nowMs;
  }

  get peers(): Iterable<Peer> {
    return this.#peers.values();
  }

  /** When {@link tick} has something to do. */
  get dueMs(): number {
    return this.#timers.dueMs;
  }

  peerOf(publicKey: Uint8Array): Peer | undefined {
    return this.#peers.get(base64Of(publicKey));
  }

  /** All sessions end when the key changes. */
  setPrivateKey(privateKey: Uint8Array): void {
    const { primitives } = this.#ports;
    this.#own = primitives.importKey(privateKey);
    this.#startedMs = this.nowMs;
    this.#admission = new Admission(primitives, this.#own.publicKey);
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
    this.#timers.setKeepalive(peer, milliseconds);
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
    const session = this.#sessions.sessionAt(localIndex);
    return session !== undefined && this.nowMs - session.createdMs < REJECT_AFTER_MS ? session : undefined;
  }

  /** Keeps a packet until there is a session. */
  stage(peer: Peer, packet: Uint8Array): void {
    const most = this.nowMs - this.#startedMs < START_MS ? MOST_STAGED_AT_START : MOST_STAGED;
    while (peer.staged.length >= most) peer.staged.shift();
    peer.staged.push(packet);
  }

  /** Begins a handshake, unless one began a moment ago. */
  initiate(peer: Peer, isRetry = false): void {
    if (!isRetry) peer.attempts = 0;
    if (this.nowMs - peer.lastSentHandshakeMs < REKEY_TIMEOUT_MS || !peer.hasEndpoint) return;
    if (this.#own === undefined || peer.sharedSecret === undefined) return;
    peer.lastSentHandshakeMs = this.nowMs;
    this.#sessions.dropHandshake(peer);
    const index = this.#sessions.freeIndex();
    const stamp = tai64n(this.#ports.timestampMs());
    const created = this.#noise.createInitiation(this.#identityOf(peer), index, stamp);
    if (created === undefined) return;
    this.#sessions.beginHandshake(peer, created.handshake);
    peer.cookies.sign(created.message, this.nowMs);
    peer.sentBytes += created.message.length;
    this.#ports.sendToPeer(peer, created.message);
    this.#timers.noteSent(peer);
    this.#timers.noteInitiation(peer);
  }

  /** Handles a message of another type than data. `source`: address and port of its sender. */
  receiveHandshake(message: Uint8Array, source: Uint8Array): void {
    if (message.length < 4) return;
    const type = u32(message, 0);
    if (type === TYPE_COOKIE_REPLY) {
      if (message.length !== COOKIE_REPLY_BYTES) return;
      const peer = this.#sessions.peerAt(u32(message, RECEIVER));
      peer?.cookies.takeReply(message, this.nowMs);
      return;
    }
    const isInitiation = type === TYPE_INITIATION && message.length === INITIATION_BYTES;
    const isResponse = type === TYPE_RESPONSE && message.length === RESPONSE_BYTES;
    if (!(isInitiation || isResponse)) return;
    if (this.#admission?.admits(message, source, this.nowMs, this.#ports.reply) !== true) return;
    if (isInitiation) this.#receiveInitiation(message);
    else this.#receiveResponse(message);
  }

  /** A data message was authentic. `isData` = it is no keepalive. */
  noteReceived(session: Session, bytes: number, isData: boolean): void {
    const { peer } = session;
    this.#ports.roam(peer);
    peer.receivedBytes += bytes;
    if (session === peer.next) {
      this.#sessions.drop(peer.previous);
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
    this.#timers.noteAuthentic(peer);
    if (isData) this.#timers.noteDataReceived(peer);
  }

  /** A data message was sent. `isData` = it is no keepalive. */
  noteSentData(session: Session, bytes: number, isData: boolean): void {
    const { peer } = session;
    peer.sentBytes += bytes;
    this.#timers.noteSent(peer);
    if (isData) this.#timers.noteDataSent(peer);
    const isOld = session.isInitiator && this.nowMs - session.createdMs >= REKEY_AFTER_MS;
    if (isOld || session.nextCounter > REKEY_AFTER_MESSAGES) this.initiate(peer);
  }

  /** Fires the timers that are due. */
  tick(): void {
    this.#timers.fire(this.#peers.values());
  }

  /** Overwrites all keys. */
  close(): void {
    for (const peer of this.#peers.values()) this.removePeer(peer);
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
    const handshake = { ...finished.handshake, localIndex: this.#sessions.freeIndex() };
    const response = this.#noise.createResponse(identity, handshake);
    handshake.chainKey.fill(0);
    if (response === undefined) return;
    this.#ports.roam(peer);
    this.#sessions.drop(peer.next);
    this.#sessions.drop(peer.previous);
    peer.previous = undefined;
    peer.next = this.#sessions.beginSession(peer, response.keys, false, this.nowMs);
    this.#timers.noteSession(peer);
    peer.cookies.sign(response.message, this.nowMs);
    this.#ports.sendToPeer(peer, response.message);
    this.#timers.noteSent(peer);
  }

  #receiveResponse(message: Uint8Array): void {
    const peer = this.#sessions.initiatedAt(u32(message, RECEIVER_IN_RESPONSE));
    if (peer?.handshake === undefined) return;
    const keys = this.#noise.openResponse(this.#identityOf(peer), peer.handshake, message);
    if (keys === undefined) return;
    this.#sessions.dropHandshake(peer);
    this.#ports.roam(peer);
    if (peer.next === undefined) {
      this.#sessions.drop(peer.previous);
      peer.previous = peer.current;
    } else {
      this.#sessions.drop(peer.previous);
      this.#sessions.drop(peer.current);
      peer.previous = peer.next;
      peer.next = undefined;
    }
    peer.current = this.#sessions.beginSession(peer, keys, true, this.nowMs);
    this.#timers.noteSession(peer);
    this.#timers.noteAuthentic(peer);
    this.#completeHandshake(peer);
    // The responder may use the session only after a packet from here.
    this.#ports.sendStaged(peer);
  }

  #completeHandshake(peer: Peer): void {
    this.#timers.noteHandshake(peer);
    peer.lastHandshakeMs = this.#ports.wallClockMs();
  }

  #identityOf({ publicKey, sharedSecret, presharedKey }: Peer): Identity {
    return { own: this.#own!, publicKey, sharedSecret: sharedSecret!, presharedKey };
  }

  #wipe(peer: Peer): void {
    this.#sessions.wipe(peer);
    peer.wipeAtMs = OFF;
  }
}
