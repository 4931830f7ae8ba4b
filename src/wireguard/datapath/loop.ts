/** The thread of a userspace WireGuard device: polls, moves packets both ways, fires timers, follows orders; until it stops. */

import { parsePrefix } from "../../address/prefix.ts";
import { Buckets } from "../protocol/buckets.ts";
import { WireguardDevice } from "../protocol/device.ts";
import type { Peer } from "../protocol/peer.ts";
import type { WireguardPrimitives } from "../protocol/primitives.ts";
import { formatSocketAddress, SOCKADDR_BYTES } from "../socket-address.ts";
import { AllowedIps } from "./allowed-ips.ts";
import { Incoming } from "./incoming.ts";
import type { DeviceOrder, DeviceReport, PeerOrder } from "./orders.ts";
import { Outgoing } from "./outgoing.ts";
import { IPV4_READY, IPV6_READY, TUN_READY, type WireguardIo, WOKEN } from "./wireguard-io.ts";

/** Longest time without a look at the timers. */
const LONGEST_WAIT_MS = 1000;
/**
 * Packets wait on the TUN device until there are peers, so that a restart loses none; for so long, because a host may be the
 * only one.
 */
const LONGEST_CLOSED_MS = 10_000;
/** Pause instead of polling a device that is not read. */
const CLOSED_PAUSE_MS = 5;
/** Idle time before memory is released, once there is some: probes of peers leave no longer gaps. */
const QUIET_MS = 100;
const UNTIDY_TURNS = 20_000;
/** Searches of all peers for the sender of a data message without a session: strangers cause them too. */
const SEARCHES_PER_SECOND = 200;
// asm-generic/errno-base.h, asm-generic/errno.h: what a TUN device that was deleted answers
const GONE: readonly number[] = [9 /* EBADF */, 14 /* EFAULT */, 19 /* ENODEV */, 77 /* EBADFD */];

export interface LoopPorts {
  readonly io: WireguardIo;
  readonly primitives: WireguardPrimitives;
  /** Of initiations; see DevicePorts. */
  readonly timestampMs: () => number;
  /** The next order; undefined if there is none now. */
  readonly nextOrder: () => DeviceOrder | undefined;
  readonly report: (report: DeviceReport) => void;
  /** Releases memory that traffic and compilation needed; blocks for some milliseconds. */
  readonly tidyUp: () => void;
}

/** Returns on the order to stop, or when the TUN device is deleted. */
export function runLoop({ io, primitives, timestampMs, nextOrder, report, tidyUp }: LoopPorts): void {
  const allowedIps = new AllowedIps();
  const peers: (Peer | undefined)[] = [];
  const { memory } = io;
  const device: WireguardDevice = new WireguardDevice({
    primitives,
    wallClockMs: () => io.wallClockMs(),
    timestampMs,
    sendToPeer: (peer, message) => io.sendTo(io.endpointOf(peer.slot), message),
    reply: (message) => io.sendTo(incoming.source, message),
    roam(peer) {
      const endpoint = io.endpointOf(peer.slot);
      for (let word = 0; word < SOCKADDR_BYTES / 4; word++) {
        const value = memory.words[(incoming.source >> 2) + word]!;
        if (memory.words[(endpoint >> 2) + word] !== value) memory.words[(endpoint >> 2) + word] = value;
      }
      peer.hasEndpoint = true;
    },
    sendStaged: (peer) => outgoing.sendStaged(peer),
  });
  const searches = new Buckets(1, SEARCHES_PER_SECOND, SEARCHES_PER_SECOND);
  /** A peer whose session this process does not have, because it is younger: the peer would notice after 15 s only. */
  const noteUnknownSession = () => {
    if (!searches.take(0, device.nowMs)) return;
    const peer = peers.find((each) => each !== undefined && isAt(each.slot, incoming.source));
    if (peer !== undefined) device.initiate(peer);
  };
  const isAt = (slot: number, source: number): boolean => {
    const endpoint = io.endpointOf(slot);
    for (let word = 0; word < SOCKADDR_BYTES / 4; word++)
      if (memory.words[(endpoint >> 2) + word] !== memory.words[(source >> 2) + word]) return false;
    return true;
  };
  const parts = { io, device: () => device, allowedIps, peers, noteUnknownSession };
  const outgoing = new Outgoing(parts);
  const incoming = new Incoming(parts);

  let isOpen = false;
  let readyMs = io.nowMs();
  const openAtMs = readyMs + LONGEST_CLOSED_MS;
  for (let turns = 0; ; turns++) {
    device.nowMs = io.nowMs();
    const longestMs = turns > UNTIDY_TURNS ? QUIET_MS : LONGEST_WAIT_MS;
    const idleMs = Math.max(0, Math.min(longestMs, Math.ceil(device.dueMs - device.nowMs)));
    const ready = io.wait(idleMs);
    device.nowMs = io.nowMs();
    if (ready !== 0) readyMs = device.nowMs;
    // A wait that ended for a timer says nothing: packets may come a moment later, and this blocks.
    else if (turns > UNTIDY_TURNS && device.nowMs - readyMs >= QUIET_MS) {
      tidyUp();
      turns = 0;
    }
    let result = 0;
    isOpen ||= device.nowMs > openAtMs;
    if ((ready & TUN_READY) !== 0) {
      if (isOpen) result = outgoing.turn();
      else if (ready === TUN_READY) io.pause(CLOSED_PAUSE_MS);
    }
    if ((ready & IPV4_READY) !== 0) result = Math.min(result, incoming.turn(IPV4_READY));
    if ((ready & IPV6_READY) !== 0) result = Math.min(result, incoming.turn(IPV6_READY));
    device.tick();
    outgoing.flush();
    if (result < 0 && GONE.includes(-result)) {
      device.close();
      report({ type: "stopped", deviceLost: true });
      return;
    }
    if ((ready & WOKEN) === 0) continue;
    for (let order = nextOrder(); order !== undefined; order = nextOrder()) {
      if (order.type === "stop") {
        device.close();
        report({ type: "stopped", deviceLost: false });
        return;
      }
      follow(order);
    }
    outgoing.flush();
  }

  function follow(order: DeviceOrder): void {
    if (order.type === "key") {
      device.setPrivateKey(order.privateKey);
      order.privateKey.fill(0);
    } else if (order.type === "open") isOpen = true;
    else if (order.type === "mtu") outgoing.mtuBytes = order.mtuBytes;
    else if (order.type === "peer") setPeer(order.peer);
    else if (order.type === "remove peer") removePeer(order.publicKey);
    else if (order.type === "status") report({ type: "status", peers: peers.flatMap(statusOf) });
  }

  function setPeer(order: PeerOrder): void {
    let peer = device.peerOf(order.publicKey);
    if (peer === undefined) {
      const free = peers.indexOf(undefined);
      const slot = free < 0 ? peers.length : free;
      if (slot >= io.mostPeers) return;
      peer = device.addPeer(order.publicKey, slot);
      peers[slot] = peer;
    }
    peer.presharedKey?.fill(0);
    peer.presharedKey = order.presharedKey;
    if (order.endpoint !== undefined) {
      memory.bytes.set(order.endpoint, io.endpointOf(peer.slot));
      peer.hasEndpoint = true;
    }
    allowedIps.set(
      peer.slot,
      order.allowedIps.flatMap((text) => parsePrefix(text) ?? []),
    );
    if (peer.keepaliveMs !== order.keepaliveSeconds * 1000)
      device.setKeepalive(peer, order.keepaliveSeconds * 1000);
    if (peer.staged.length > 0) device.initiate(peer);
  }

  function removePeer(publicKey: Uint8Array): void {
    const peer = device.peerOf(publicKey);
    if (peer === undefined) return;
    device.removePeer(peer);
    allowedIps.set(peer.slot, []);
    peers[peer.slot] = undefined;
    const endpoint = io.endpointOf(peer.slot);
    memory.bytes.fill(0, endpoint, endpoint + SOCKADDR_BYTES);
  }

  function statusOf(peer: Peer | undefined) {
    if (peer === undefined) return [];
    const { publicKey, receivedBytes, sentBytes, lastHandshakeMs, slot } = peer;
    const at = io.endpointOf(slot);
    const endpoint = formatSocketAddress(memory.bytes.subarray(at, at + SOCKADDR_BYTES));
    return [{ publicKey, receivedBytes, sentBytes, lastHandshakeMs, endpoint }];
  }
}
