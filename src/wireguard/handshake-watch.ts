/**
 * Finds the peers of WireGuard devices that packets are sent to without a handshake: another preshared key, a host that is
 * down, a firewall. A device says nothing about it; what shows is that the sent bytes grow and no handshake happens
 * (WireGuard's paper, §6). Logged once per peer, and a note of /readyz until there is a handshake.
 *
 * Handshakes are recognised by their time changing, never by comparing it with a clock: clocks step.
 */

import type { Logger } from "../base/logger.ts";

/** What a device says about a peer. */
export interface PeerTraffic {
  readonly device: string;
  /** In base64. */
  readonly publicKey: string;
  /** "192.168.7.2:51820"; undefined = unknown. */
  readonly endpoint: string | undefined;
  readonly allowedIps: readonly string[];
  /** When the last handshake was, in any unit; 0 = never. */
  readonly lastHandshakeSeconds: number;
  /** Handshake messages included. */
  readonly sentBytes: bigint;
  readonly receivedBytes: bigint;
}

/** Three attempts (REKEY_TIMEOUT is 5 s); also the longest pause between two. */
const PATIENCE_MS = 15_000;
/** REJECT_AFTER_TIME: without a newer handshake no packet passes any more. */
const SESSION_MS = 180_000;
/** Peers that are named in the log after one look, and in the notes. */
const LOGGED_PEERS = 3;
const NOTED_PEERS = 10;

interface Observed {
  readonly peer: PeerTraffic;
  /** When the last handshake was noticed; undefined = there was none. */
  readonly handshakeAtMs: number | undefined;
  /** Since when packets are sent without a session; undefined = they are not. */
  readonly tryingSinceMs: number | undefined;
  /** When the sent bytes last grew. */
  readonly sentAtMs: number;
  readonly isReported: boolean;
}

export class HandshakeWatch {
  readonly #logger: Logger;
  readonly #nowMs: () => number;
  #peers: ReadonlyMap<string, Observed> = new Map();

  /** `nowMs`: a monotonic clock. */
  constructor({ logger, nowMs }: { readonly logger: Logger; readonly nowMs: () => number }) {
    this.#logger = logger;
    this.#nowMs = nowMs;
  }

  /** Takes what all devices say now; to be called every few seconds. Peers that are not in it are forgotten. */
  note(peers: Iterable<PeerTraffic>): void {
    const nowMs = this.#nowMs();
    const before = this.#peers;
    const now = new Map<string, Observed>();
    const silent: Observed[] = [];
    for (const peer of peers) {
      const key = `${peer.device} ${peer.publicKey}`;
      const known = before.get(key);
      let observed = advance(known, peer, nowMs);
      if (isSilent(observed, nowMs) && !observed.isReported) {
        observed = { ...observed, isReported: true };
        silent.push(observed);
      } else if (known?.isReported === true && !observed.isReported && observed.handshakeAtMs === nowMs)
        this.#logger.info(`Handshake with peer ${describePeer(peer)}`);
      now.set(key, observed);
    }
    this.#peers = now;
    for (const { peer } of silent.slice(0, LOGGED_PEERS))
      this.#logger.warn(
        `No handshake with peer ${describePeer(peer)} after ${PATIENCE_MS / 1000} s of sending; retrying: check that its host is up, that both hosts have the same PSK, and that UDP reaches ${peer.endpoint ?? "it"}`,
      );
    const more = silent.length - LOGGED_PEERS;
    if (more > 0) this.#logger.warn(`No handshake with ${more} more peers`);
  }

  /** How many peers of a device packets are sent to without a handshake. */
  silentPeersOf(device: string): number {
    return this.#peers
      .values()
      .filter(({ peer, isReported }) => isReported && peer.device === device)
      .toArray().length;
  }

  /** The peers without a handshake that packets are sent to, one line each; the last line counts those beyond ten. */
  get notes(): string[] {
    const nowMs = this.#nowMs();
    const silent = [...this.#peers.values()].filter(({ isReported }) => isReported);
    const lines = silent.slice(0, NOTED_PEERS).map(({ peer, tryingSinceMs }) => {
      const seconds = Math.round((nowMs - (tryingSinceMs ?? nowMs)) / 1000);
      return `no handshake with peer ${describePeer(peer)} for ${seconds} s: check its host, the PSK and firewalls`;
    });
    const more = silent.length - NOTED_PEERS;
    return more > 0 ? [...lines, `no handshake with ${more} more peers`] : lines;
  }
}

function advance(before: Observed | undefined, peer: PeerTraffic, nowMs: number): Observed {
  // Counters that went back are those of a new peer with the same key.
  const known = before !== undefined && peer.sentBytes >= before.peer.sentBytes ? before : undefined;
  const hasHandshake = peer.lastHandshakeSeconds !== (known?.peer.lastHandshakeSeconds ?? 0);
  const handshakeAtMs = hasHandshake ? nowMs : known?.handshakeAtMs;
  const hasSession = handshakeAtMs !== undefined && nowMs - handshakeAtMs < SESSION_MS;
  const hasSent = peer.sentBytes > (known?.peer.sentBytes ?? 0n);
  const isReported = known?.isReported === true;
  // A peer that nothing is sent to any more is idle, not unreachable.
  const isOngoing =
    known?.tryingSinceMs !== undefined && nowMs - known.sentAtMs < (isReported ? SESSION_MS : PATIENCE_MS);
  const isTrying = !hasSession && (hasSent || isOngoing);
  return {
    peer,
    handshakeAtMs,
    tryingSinceMs: isTrying ? (isOngoing ? known.tryingSinceMs : nowMs) : undefined,
    sentAtMs: hasSent ? nowMs : (known?.sentAtMs ?? nowMs),
    isReported: isTrying && isReported,
  };
}

/** Something was sent after the first look that found no session: one old packet is no alarm. */
const isSilent = ({ tryingSinceMs, sentAtMs }: Observed, nowMs: number): boolean =>
  tryingSinceMs !== undefined && nowMs - tryingSinceMs >= PATIENCE_MS && sentAtMs > tryingSinceMs;

const describePeer = ({ endpoint, allowedIps, publicKey, device }: PeerTraffic): string =>
  `${endpoint ?? "without an endpoint"} (${[...allowedIps, `PublicKey ${publicKey}`].join(", ")}) on ${device}`;
