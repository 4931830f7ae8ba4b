/** The sessions of a device and its handshakes without an answer, by the index that this host chose for them. */

import { u32 } from "./messages.ts";
import type { Handshake, SessionKeys } from "./noise.ts";
import { createSession, type Peer, type Session } from "./peer.ts";
import type { WireguardPrimitives } from "./primitives.ts";

/** Own indices are small integers, so that looking them up allocates nothing. */
const INDEX_MASK = 0x3fffffff;

export class SessionTable {
  readonly #primitives: WireguardPrimitives;
  readonly #sessions = new Map<number, Session>();
  readonly #handshakes = new Map<number, Peer>();

  constructor(primitives: WireguardPrimitives) {
    this.#primitives = primitives;
  }

  sessionAt(localIndex: number): Session | undefined {
    return this.#sessions.get(localIndex);
  }

  /** The peer with an own initiation of that index. */
  initiatedAt(localIndex: number): Peer | undefined {
    return this.#handshakes.get(localIndex);
  }

  /** The peer that an index belongs to, whatever it is. */
  peerAt(localIndex: number): Peer | undefined {
    return this.#handshakes.get(localIndex) ?? this.#sessions.get(localIndex)?.peer;
  }

  /** An index that is not in use. */
  freeIndex(): number {
    for (;;) {
      const index = u32(this.#primitives.randomBytes(4), 0) & INDEX_MASK;
      if (!this.#sessions.has(index) && !this.#handshakes.has(index)) return index;
    }
  }

  beginSession(peer: Peer, keys: SessionKeys, isInitiator: boolean, nowMs: number): Session {
    const session = createSession(this.#primitives, peer, keys, isInitiator, nowMs);
    this.#sessions.set(session.localIndex, session);
    return session;
  }

  /** Notes an own initiation. */
  beginHandshake(peer: Peer, handshake: Handshake): void {
    peer.handshake = handshake;
    this.#handshakes.set(handshake.localIndex, peer);
  }

  /** Overwrites the keys of a session. */
  drop(session: Session | undefined): void {
    if (session === undefined || !this.#sessions.delete(session.localIndex)) return;
    session.sending.destroy();
    session.receiving.destroy();
  }

  /** Forgets the peer's own initiation. */
  dropHandshake(peer: Peer): void {
    if (peer.handshake === undefined) return;
    this.#handshakes.delete(peer.handshake.localIndex);
    peer.handshake.chainKey.fill(0);
    peer.handshake = undefined;
  }

  /** Overwrites all keys of a peer's sessions. */
  wipe(peer: Peer): void {
    this.dropHandshake(peer);
    for (const session of [peer.current, peer.previous, peer.next]) this.drop(session);
    peer.current = undefined;
    peer.previous = undefined;
    peer.next = undefined;
  }
}
