/**
 * The timers of a device's peers (wireguard.com/papers/wireguard.pdf, §6; the kernel's drivers/net/wireguard/timers.c): when a
 * handshake is repeated, a keepalive is sent, and keys are overwritten. Time is what the caller says it is.
 */

import {
  KEEPALIVE_TIMEOUT_MS,
  MOST_JITTER_MS,
  REJECT_AFTER_MS,
  REKEY_ATTEMPT_MS,
  REKEY_TIMEOUT_MS,
} from "./constants.ts";
import { OFF, type Peer } from "./peer.ts";

const MOST_ATTEMPTS = REKEY_ATTEMPT_MS / REKEY_TIMEOUT_MS;

/** What timers cause. */
export interface TimerActions {
  /** Begins a handshake. `isRetry` = the last one had no answer. */
  initiate(peer: Peer, isRetry: boolean): void;
  /** Sends an empty packet, or begins a handshake if there is no session. */
  sendKeepalive(peer: Peer): void;
  /** Overwrites all session keys. */
  wipe(peer: Peer): void;
  /** One random byte. */
  randomByte(): number;
}

export class PeerTimers {
  /** Monotonic time. */
  nowMs = 0;
  /** When {@link fire} has something to do. */
  dueMs = OFF;
  readonly #actions: TimerActions;

  constructor(actions: TimerActions) {
    this.#actions = actions;
  }

  /** Fires what is due. */
  fire(peers: Iterable<Peer>): void {
    if (this.nowMs < this.dueMs) return;
    this.dueMs = OFF;
    for (const peer of peers) {
      if (peer.dueMs <= this.nowMs) this.#fire(peer);
      this.dueMs = Math.min(this.dueMs, peer.dueMs);
    }
  }

  /** `milliseconds`: 0 = off. The first packet goes out at once. */
  setKeepalive(peer: Peer, milliseconds: number): void {
    peer.keepaliveMs = milliseconds;
    peer.persistentAtMs = milliseconds === 0 ? OFF : this.#at(0);
  }

  /** An initiation was sent. */
  noteInitiation(peer: Peer): void {
    peer.retransmitAtMs = this.#at(REKEY_TIMEOUT_MS + this.#jitterMs());
  }

  /** Both sides have a session. */
  noteHandshake(peer: Peer): void {
    peer.retransmitAtMs = OFF;
    peer.attempts = 0;
    peer.hasSentLastMinuteHandshake = false;
  }

  /** There are keys, to be overwritten if they are not replaced. */
  noteSession(peer: Peer): void {
    peer.wipeAtMs = this.#at(REJECT_AFTER_MS * 3);
  }

  /** Something authentic was received. */
  noteAuthentic(peer: Peer): void {
    peer.newHandshakeAtMs = OFF;
    this.#postponePersistent(peer);
  }

  /** A data packet was received that is no keepalive: the peer expects an answer within KEEPALIVE_TIMEOUT_MS. */
  noteDataReceived(peer: Peer): void {
    if (peer.keepaliveAtMs === OFF) peer.keepaliveAtMs = this.#at(KEEPALIVE_TIMEOUT_MS);
    else peer.needsAnotherKeepalive = true;
  }

  /** Anything was sent. */
  noteSent(peer: Peer): void {
    peer.keepaliveAtMs = OFF;
    this.#postponePersistent(peer);
  }

  /** A data packet was sent that is no keepalive: without an answer, a handshake follows. */
  noteDataSent(peer: Peer): void {
    if (peer.newHandshakeAtMs === OFF)
      peer.newHandshakeAtMs = this.#at(KEEPALIVE_TIMEOUT_MS + REKEY_TIMEOUT_MS + this.#jitterMs());
  }

  #postponePersistent(peer: Peer): void {
    if (peer.keepaliveMs > 0) peer.persistentAtMs = this.#at(peer.keepaliveMs);
  }

  #fire(peer: Peer): void {
    const now = this.nowMs;
    const actions = this.#actions;
    if (peer.retransmitAtMs <= now) {
      peer.retransmitAtMs = OFF;
      if (++peer.attempts > MOST_ATTEMPTS) {
        peer.keepaliveAtMs = OFF;
        peer.staged.length = 0;
        if (peer.wipeAtMs === OFF) this.noteSession(peer);
      } else actions.initiate(peer, true);
    }
    if (peer.newHandshakeAtMs <= now) {
      peer.newHandshakeAtMs = OFF;
      actions.initiate(peer, false);
    }
    if (peer.keepaliveAtMs <= now) {
      peer.keepaliveAtMs = OFF;
      actions.sendKeepalive(peer);
      if (peer.needsAnotherKeepalive) {
        peer.needsAnotherKeepalive = false;
        peer.keepaliveAtMs = this.#at(KEEPALIVE_TIMEOUT_MS);
      }
    }
    if (peer.persistentAtMs <= now) {
      peer.persistentAtMs = peer.keepaliveMs === 0 ? OFF : this.#at(peer.keepaliveMs);
      actions.sendKeepalive(peer);
    }
    if (peer.wipeAtMs <= now) {
      peer.wipeAtMs = OFF;
      actions.wipe(peer);
    }
  }

  #jitterMs(): number {
    return (this.#actions.randomByte() / 255) * MOST_JITTER_MS;
  }

  #at(delayMs: number): number {
    const atMs = this.nowMs + delayMs;
    if (atMs < this.dueMs) this.dueMs = atMs;
    return atMs;
  }
}
