/**
 * Totals of WireGuard devices that only grow: the device counts for each peer, and forgets a peer's counters with the peer.
 * Noted every few seconds; what a peer moved between the last note and its removal is not counted.
 */

import type { PeerTraffic } from "./handshake-watch.ts";

interface Totals {
  peers: number;
  handshakes: number;
  sentBytes: number;
  receivedBytes: number;
}

export class TrafficTotals {
  readonly #totals = new Map<string, Totals>();
  #peers: ReadonlyMap<string, PeerTraffic> = new Map();

  /** Takes what all devices report now; `devices` are those that exist, with or without peers. */
  note(devices: Iterable<string>, peers: Iterable<PeerTraffic>): void {
    const before = this.#peers;
    const now = new Map<string, PeerTraffic>();
    for (const device of devices) this.#totalsOf(device).peers = 0;
    for (const peer of peers) {
      const key = `${peer.device} ${peer.publicKey}`;
      now.set(key, peer);
      const known = before.get(key);
      // Counters that went back are those of a new peer with the same key.
      const isSame =
        known !== undefined && peer.sentBytes >= known.sentBytes && peer.receivedBytes >= known.receivedBytes;
      const totals = this.#totalsOf(peer.device);
      totals.peers++;
      totals.sentBytes += Number(peer.sentBytes - (isSame ? known.sentBytes : 0n));
      totals.receivedBytes += Number(peer.receivedBytes - (isSame ? known.receivedBytes : 0n));
      if (peer.lastHandshakeSeconds !== (isSame ? known.lastHandshakeSeconds : 0)) totals.handshakes++;
    }
    this.#peers = now;
  }

  /** By device; bytes include the tunnel's headers. */
  get devices(): (Totals & { readonly device: string })[] {
    return [...this.#totals].map(([device, totals]) => ({ device, ...totals }));
  }

  #totalsOf(device: string): Totals {
    return this.#totals.getOrInsertComputed(device, () => ({
      ...{ peers: 0, handshakes: 0, sentBytes: 0, receivedBytes: 0 },
    }));
  }
}
