/**
 * Peers of a userspace WireGuard device, in one process, with the protocol's own code and a socket for each: for
 * wireguard-handshakes.ts, which starts this in a namespace that has their addresses.
 *
 *     node bench/wireguard-peers.ts HOST PORT PUBLIC-KEY COUNT    (prints "ready"; each line read starts all handshakes anew;
 *                                                                 prints the milliseconds until the last one is complete)
 *     node bench/wireguard-peers.ts strangers PUBLIC-KEY COUNT    (prints initiations of hosts without a lease, in base64)
 */

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { parseIp } from "../src/address/ip.ts";
import { createWireguardCrypto } from "../src/linux/wireguard-crypto.ts";
import { createPacketMemory } from "../src/packet/packet-memory.ts";
import { WireguardDevice } from "../src/wireguard/protocol/device.ts";
import { COUNTER, RECEIVER, setU32, TYPE_TRANSPORT, u32 } from "../src/wireguard/protocol/messages.ts";
import type { Peer } from "../src/wireguard/protocol/peer.ts";
import { parseSocketAddress } from "../src/wireguard/socket-address.ts";
import { peerAt } from "./support/peers.ts";
import { privateKeyOf } from "./support/wireguard-network.ts";

const PORT = 51820;
const EMPTY_BYTES = 32;
const TICK_MS = 50;

const memory = createPacketMemory(64 * 1024);
const primitives = createWireguardCrypto(memory);
const place = memory.reserve(2048);

interface Simulated {
  readonly device: WireguardDevice;
  readonly peer: Peer;
}

/** `send`: to the host under test. */
function simulate(
  privateKey: Uint8Array,
  hostKey: Uint8Array,
  send: (message: Uint8Array) => void,
): Simulated {
  const device = new WireguardDevice({
    primitives,
    wallClockMs: Date.now,
    timestampMs: Date.now,
    sendToPeer: (_, message) => send(message),
    reply: send,
    roam: () => {},
    sendStaged(peer) {
      const session = device.sessionFor(peer);
      if (session === undefined) return;
      const message = new Uint8Array(EMPTY_BYTES);
      setU32(message, 0, TYPE_TRANSPORT);
      setU32(message, RECEIVER, session.remoteIndex);
      setU32(message, COUNTER, session.nextCounter);
      session.sending.seal(session.nextCounter++, place, place, 0);
      message.set(memory.bytes.subarray(place, place + 16), 16);
      send(message);
      device.noteSentData(session, EMPTY_BYTES, false);
    },
  });
  device.nowMs = performance.now();
  device.setPrivateKey(privateKey);
  const peer = device.addPeer(hostKey, 0);
  peer.hasEndpoint = true;
  return { device, peer };
}

function receive({ device }: Simulated, message: Buffer, source: Uint8Array): void {
  device.nowMs = performance.now();
  if (message.length < EMPTY_BYTES || u32(message, 0) !== TYPE_TRANSPORT) {
    device.receiveHandshake(message, source);
    return;
  }
  const session = device.sessionAt(u32(message, RECEIVER));
  if (session === undefined) return;
  memory.bytes.set(message.subarray(16), place);
  if (session.receiving.open(u32(message, COUNTER), place, message.length - 16))
    device.noteReceived(session, message.length, message.length > EMPTY_BYTES);
}

async function runPeers(host: string, port: number, hostKey: Uint8Array, count: number): Promise<void> {
  const source = parseSocketAddress(`${host}:${port}`)!;
  const peers: Simulated[] = [];
  for (let index = 0; index < count; index++) {
    const socket = createSocket("udp4");
    const peer = simulate(privateKeyOf(index), hostKey, (message) => socket.send(message, port, host));
    socket.on("message", (message) => receive(peer, message, source));
    socket.bind(PORT, peerAt(index).publicIp);
    await once(socket, "listening");
    peers.push(peer);
  }
  setInterval(() => {
    for (const { device } of peers) {
      device.nowMs = performance.now();
      device.tick();
    }
  }, TICK_MS);
  console.log("ready");
  for await (const _ of createInterface({ input: process.stdin })) {
    const startedMs = performance.now();
    const before = peers.map(({ peer }) => peer.lastHandshakeMs);
    for (const { device, peer } of peers) {
      device.nowMs = performance.now();
      peer.lastSentHandshakeMs = Number.NEGATIVE_INFINITY; // as after a start
      device.initiate(peer);
    }
    while (peers.some(({ peer }, index) => peer.lastHandshakeMs === before[index]))
      await new Promise((resolve) => setTimeout(resolve, 5));
    console.log((performance.now() - startedMs).toFixed(1));
  }
  process.exit();
}

function printStrangers(hostKey: Uint8Array, count: number): void {
  const messages: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const stranger = simulate(primitives.randomBytes(32), hostKey, (message) => void messages.push(message));
    stranger.device.initiate(stranger.peer);
  }
  console.log(Buffer.concat(messages).toString("base64"));
}

const [first, ...rest] = process.argv.slice(2);
if (first === "strangers") printStrangers(Buffer.from(rest[0]!, "base64"), Number(rest[1]));
else if (first !== undefined && parseIp(first) !== undefined)
  await runPeers(first, Number(rest[0]), Buffer.from(rest[1]!, "base64"), Number(rest[2]));
