import assert from "node:assert/strict";
import { test } from "node:test";
import { NetlinkConnection } from "../netlink/connection.ts";
import type { NetlinkMessage, NetlinkRequest } from "../netlink/message.ts";
import { writeRequest } from "../netlink/message.ts";
import { decodeWireguardDevice, setWireguardPeers } from "../netlink/wireguard.ts";
import { Writer } from "../netlink/writer.ts";
import type { AllowedIp, StateKind, WireguardPeerEntry } from "../state/objects.ts";
import { FakeNetlinkSocket, type FakeReply } from "../testing/fake-netlink-socket.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import { bytesOf } from "./base64.ts";
import { KernelDevices } from "./kernel-devices.ts";
import { WireguardProvider } from "./provider.ts";

const GENL_ID_CTRL = 0x10;
const FAMILY = 28;
const EBUSY = 16;
const WG_CMD_GET_DEVICE = 0;
const KEY = Buffer.alloc(32, 2).toString("base64");
const DEVICE = "flannel-wg";
const KINDS: ReadonlySet<StateKind> = new Set(["wireguard", "wireguard-peer", "allowed-ip"]);
const OWNERSHIP = { devices: new Set([DEVICE]), networks: [] };

/** `struct genlmsghdr` and CTRL_ATTR_FAMILY_ID. */
const FAMILY_ANSWER = {
  type: GENL_ID_CTRL,
  payload: new Uint8Array([1, 2, 0, 0, 6, 0, 1, 0, FAMILY, 0, 0, 0]),
};

const peerAt = (endpoint: string): WireguardPeerEntry => ({
  ...{ kind: "wireguard-peer", device: DEVICE, publicKey: KEY, endpoint },
  ...{ keepaliveSeconds: 0, presharedKeyId: "" },
});
const ALLOWED: AllowedIp = { kind: "allowed-ip", device: DEVICE, prefix: "10.5.2.0/24", publicKey: KEY };

/** A provider on a device with one peer, whose endpoint the test moves. */
function provider() {
  const sent: (string | undefined)[] = [];
  const kernel = { endpoint: undefined as string | undefined, errno: 0 };
  const answer = (request: NetlinkMessage): FakeReply => {
    if (request.type === GENL_ID_CTRL) return { objects: [FAMILY_ANSWER] };
    if (request.bytes[request.start] === WG_CMD_GET_DEVICE)
      return { objects: kernel.endpoint === undefined ? [] : [deviceWith(kernel.endpoint)] };
    const [peer] = decodeWireguardDevice([request]).peers;
    sent.push(peer?.endpoint);
    if (kernel.errno !== 0) return { errno: kernel.errno };
    kernel.endpoint = peer?.endpoint ?? kernel.endpoint;
    return {};
  };
  const secrets = { privateKeyOf: () => undefined, presharedKeyOf: () => undefined, fingerprintOf: () => "" };
  const devices = new KernelDevices(new NetlinkConnection(new FakeNetlinkSocket(answer)));
  const wireguard = new WireguardProvider({
    devicesOf: () => devices,
    ...{ secrets, timers: new FakeTimers() },
  });
  return { wireguard, kernel, sent, observe: () => wireguard.observe(OWNERSHIP, KINDS) };
}

/** What a dump says: the attributes are those with which a peer is set. */
function deviceWith(endpoint: string) {
  const peer = { publicKey: bytesOf(KEY), presharedKey: undefined, endpoint, keepaliveSeconds: 0 };
  return {
    type: FAMILY,
    payload: payloadOf(setWireguardPeers(FAMILY, DEVICE, [{ ...peer, allowedIps: [] }])),
  };
}

function payloadOf(request: NetlinkRequest): Uint8Array {
  const writer = new Writer();
  writeRequest(writer, request, 1, 0);
  return writer.written.slice(16);
}

test("where a peer roams to is no drift and is not undone, but a new endpoint in its lease is set", async () => {
  const { wireguard, kernel, sent, observe } = provider();
  const [first, second] = [peerAt("192.168.7.2:51820"), peerAt("192.168.7.9:51820")];
  await observe();
  await wireguard.apply([
    { action: "create", object: first },
    { action: "create", object: ALLOWED },
  ]);
  kernel.endpoint = "203.0.113.5:4500";
  assert.deepEqual(await observe(), [first], "a resync");
  await wireguard.apply([{ action: "create", object: ALLOWED }]);
  assert.equal(kernel.endpoint, "203.0.113.5:4500", "a change of the peer's subnets");
  await wireguard.apply([{ action: "replace", object: second, previous: first }]);
  assert.deepEqual(sent, ["192.168.7.2:51820", undefined, "192.168.7.9:51820"]);
  assert.deepEqual(await observe(), [second]);
});

test("an endpoint that the kernel refused is set with the next attempt, and is not taken for set", async () => {
  const { wireguard, kernel, sent, observe } = provider();
  const [first, second] = [peerAt("192.168.7.2:51820"), peerAt("192.168.7.9:51820")];
  await observe();
  await wireguard.apply([{ action: "create", object: first }]);
  kernel.errno = EBUSY;
  const change = { action: "replace", object: second, previous: first } as const;
  assert.equal((await wireguard.apply([change]))[0]?.code, "EBUSY");
  kernel.errno = 0;
  assert.deepEqual(await observe(), [first]);
  assert.deepEqual(await wireguard.apply([change]), [undefined]);
  assert.deepEqual(sent, ["192.168.7.2:51820", "192.168.7.9:51820", "192.168.7.9:51820"]);
});
