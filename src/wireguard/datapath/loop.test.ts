import assert from "node:assert/strict";
import { test } from "node:test";
import { createWireguardCrypto } from "../../linux/wireguard-crypto.ts";
import { createPacketMemory } from "../../packet/packet-memory.ts";
import { parseSocketAddress } from "../socket-address.ts";
import { runLoop } from "./loop.ts";
import type { DeviceOrder } from "./orders.ts";
import { TUN_READY, type WireguardIo, WOKEN } from "./wireguard-io.ts";

/** Timers of the protocol fall into some of the gaps. */
const GAP_MS = 3;
const IDLE_MS = 5_000;
const EAGAIN = 11;

/**
 * How often memory was released while so many packets came, one each GAP_MS, and in the idle time after them. A peer that does
 * not answer has its handshake repeated meanwhile.
 */
function tidiedWith(packets: number) {
  const memory = createPacketMemory(2 * 1024 * 1024);
  const room = memory.reserve(64 * 1024);
  const primitives = createWireguardCrypto(memory);
  let nowMs = 0;
  const lastMs = packets * GAP_MS;
  let left = packets;
  let handshakes = 0;
  const orders: DeviceOrder[] = [
    { type: "key", privateKey: primitives.randomBytes(32) },
    {
      type: "peer",
      peer: {
        publicKey: primitives.importKey(primitives.randomBytes(32)).publicKey,
        presharedKey: undefined,
        endpoint: parseSocketAddress("192.168.7.2:51820"),
        ...{ keepaliveSeconds: 25, allowedIps: ["10.5.2.0/24"] },
      },
    },
    { type: "open" },
  ];
  const io: WireguardIo = {
    ...{ memory, hasVirtioHeader: true, joinsTcp: true, joinsUdp: true, mostDatagrams: 64, mostPeers: 1 },
    ...{ pause: () => {}, writeTun: () => 0, receive: () => 0, send: () => 1, readTun: () => -EAGAIN },
    ...{ endpointOf: () => room, nowMs: () => nowMs, wallClockMs: () => nowMs },
    sendTo: () => void handshakes++,
    wait(timeoutMs) {
      if (orders.length > 0) return WOKEN;
      const nextMs = (packets - left + 1) * GAP_MS;
      if (left > 0 && nextMs - nowMs <= timeoutMs) {
        left--;
        nowMs = nextMs;
        return TUN_READY;
      }
      if (left === 0 && nowMs >= lastMs + IDLE_MS) orders.push({ type: "stop" });
      nowMs += timeoutMs;
      return orders.length > 0 ? WOKEN : 0;
    },
  };
  const tidied = { meanwhile: 0, afterwards: 0 };
  runLoop({
    ...{ io, primitives, timestampMs: () => 1, report: () => {} },
    nextOrder: () => orders.shift(),
    tidyUp: () => void tidied[left > 0 ? "meanwhile" : "afterwards"]++,
  });
  return { ...tidied, handshakes };
}

test("memory is released in the first pause after much traffic, not when a timer fires between two packets", () => {
  const { handshakes, ...tidied } = tidiedWith(25_000);
  assert.ok(handshakes > 10, `${handshakes} handshakes`);
  assert.deepEqual(tidied, { meanwhile: 0, afterwards: 1 });
  assert.equal(tidiedWith(5_000).afterwards, 0, "little traffic");
});
