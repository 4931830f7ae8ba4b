/** A peer of a device: its keys, sessions, timers and counters. What happens to it is in device.ts. */

import { CookieHolder } from "./cookies.ts";
import type { Handshake, SessionKeys } from "./noise.ts";
import type { PrivateKey, TransportCipher, WireguardPrimitives } from "./primitives.ts";
import { ReplayWindow } from "./replay-window.ts";

/** The keys of one handshake, for data in both directions. */
export interface Session {
  readonly peer: Peer;
  readonly localIndex: number;
  readonly remoteIndex: number;
  readonly sending: TransportCipher;
  readonly receiving: TransportCipher;
  readonly isInitiator: boolean;
  readonly createdMs: number;
  readonly window: ReplayWindow;
  nextCounter: number;
}

/** A timer that is not running. */
export const OFF = Number.POSITIVE_INFINITY;

export class Peer {
  readonly publicKey: Uint8Array;
  /** Number of the peer in this device, from 0. */
  readonly slot: number;
  readonly cookies: CookieHolder;
  /** DH of both static keys. */
  sharedSecret: Uint8Array | undefined;
  presharedKey: Uint8Array | undefined;
  /** 0 = off. */
  keepaliveMs = 0;
  hasEndpoint = false;

  /** Own initiation without a response yet. */
  handshake: Handshake | undefined;
  /** The session in use, the previous one, and one that the peer has not used yet. */
  current: Session | undefined;
  previous: Session | undefined;
  next: Session | undefined;
  /** Of the last initiation that was accepted. */
  latestTimestamp: Uint8Array = new Uint8Array(12);
  lastInitiationMs = Number.NEGATIVE_INFINITY;
  lastSentHandshakeMs = Number.NEGATIVE_INFINITY;
  attempts = 0;
  hasSentLastMinuteHandshake = false;
  needsAnotherKeepalive = false;
  /** Packets without a session. */
  readonly staged: Uint8Array[] = [];

  // When each timer fires.
  retransmitAtMs = OFF;
  keepaliveAtMs = OFF;
  newHandshakeAtMs = OFF;
  wipeAtMs = OFF;
  persistentAtMs = OFF;

  receivedBytes = 0;
  sentBytes = 0;
  /** Wall clock of the last handshake; 0 = never. */
  lastHandshakeMs = 0;

  constructor(primitives: WireguardPrimitives, publicKey: Uint8Array, slot: number) {
    this.publicKey = publicKey;
    this.slot = slot;
    this.cookies = new CookieHolder(primitives, publicKey);
  }

  get dueMs(): number {
    return Math.min(
      this.retransmitAtMs,
      this.keepaliveAtMs,
      this.newHandshakeAtMs,
      this.wipeAtMs,
      this.persistentAtMs,
    );
  }

  setPrivateKey(own: PrivateKey): void {
    this.sharedSecret?.fill(0);
    this.sharedSecret = own.agree(this.publicKey);
  }
}

export function createSession(
  primitives: WireguardPrimitives,
  peer: Peer,
  { sending, receiving, localIndex, remoteIndex }: SessionKeys,
  isInitiator: boolean,
  createdMs: number,
): Session {
  const session: Session = {
    peer,
    localIndex,
    remoteIndex,
    sending: primitives.createCipher(sending, true),
    receiving: primitives.createCipher(receiving, false),
    isInitiator,
    createdMs,
    window: new ReplayWindow(),
    nextCounter: 0,
  };
  sending.fill(0);
  receiving.fill(0);
  return session;
}
