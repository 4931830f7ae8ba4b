import assert from "node:assert/strict";
import { test } from "node:test";
import { NetlinkConnection } from "../netlink/connection.ts";
import type { NetlinkMessage } from "../netlink/message.ts";
import { decodeWireguardDevice } from "../netlink/wireguard.ts";
import { FakeNetlinkSocket, type FakeReply } from "../testing/fake-netlink-socket.ts";
import { base64Of } from "./base64.ts";
import type { DeviceChange } from "./devices.ts";
import { KernelDevices } from "./kernel-devices.ts";

const GENL_ID_CTRL = 0x10;
const FAMILY = 28;
const EINVAL = 22;
/** `struct genlmsghdr` and CTRL_ATTR_FAMILY_ID. */
const FAMILY_ANSWER = {
  type: GENL_ID_CTRL,
  payload: new Uint8Array([1, 2, 0, 0, 6, 0, 1, 0, FAMILY, 0, 0, 0]),
};

const keyOf = (number: number): Uint8Array => {
  const key = new Uint8Array(32).fill(1);
  new DataView(key.buffer).setUint32(0, number);
  return key;
};
const peerOf = (number: number, prefixes = 2, device = "flannel-wg"): DeviceChange => ({
  ...{ type: "peer", device },
  peer: {
    publicKey: keyOf(number),
    presharedKey: keyOf(number + 1),
    endpoint: "[fd00:7::2]:51820",
    keepaliveSeconds: 25,
    allowedIps: Array.from({ length: prefixes }, (_, at) => `fc00:0:${number}:${at + 1}::/64`),
  },
});

/** Devices of a kernel that takes peers in order, and refuses a message at the first one of `refused`. */
function kernel(refused: ReadonlySet<number> = new Set()) {
  const messages: string[][] = [];
  const keys = new Map(Array.from({ length: 6_000 }, (_, number) => [base64Of(keyOf(number)), number]));
  const taken = new Map<number, string>();
  const answer = (request: NetlinkMessage): FakeReply => {
    if (request.type === GENL_ID_CTRL) return { objects: [FAMILY_ANSWER] };
    const { peers } = decodeWireguardDevice([request]);
    messages.push(peers.map(({ publicKey }) => base64Of(publicKey)));
    for (const { publicKey, allowedIps } of peers) {
      const number = keys.get(base64Of(publicKey))!;
      if (refused.has(number)) return { errno: EINVAL };
      taken.set(number, allowedIps.join());
    }
    return {};
  };
  const devices = new KernelDevices(new NetlinkConnection(new FakeNetlinkSocket(answer)));
  return { devices, messages, taken };
}

test("thousands of peers go in few messages, each with all that it has", () => {
  const { devices, messages, taken } = kernel();
  const changes = Array.from({ length: 5_000 }, (_, number) => peerOf(number));
  assert.ok(devices.apply(changes).every((error) => error === undefined));
  assert.equal(taken.size, 5_000);
  assert.equal(taken.get(4_999), "fc00:0:4999:1::/64,fc00:0:4999:2::/64");
  assert.ok(messages.length < 50, `${messages.length} messages`);
});

test("a peer with hundreds of allowed IPs does not make a message too long", () => {
  const { devices, taken } = kernel();
  assert.ok(
    devices
      .apply([peerOf(1), peerOf(2, 800), peerOf(3, 800), peerOf(4)])
      .every((error) => error === undefined),
  );
  assert.equal(taken.get(2)!.split(",").length, 800);
  assert.equal(taken.size, 4);
});

test("a peer that is refused is named, and those beside it are set", () => {
  const { devices, taken } = kernel(new Set([3, 7]));
  const changes = Array.from({ length: 10 }, (_, number) => peerOf(number));
  const refused = devices.apply(changes).flatMap((error, number) => (error === undefined ? [] : [number]));
  assert.deepEqual(refused, [3, 7]);
  assert.equal(taken.size, 8);
});

test("a change keeps its place: peers of another device, and removals in between", () => {
  const { devices, messages } = kernel();
  const removal: DeviceChange = { type: "remove peer", device: "flannel-wg", publicKey: keyOf(9) };
  devices.apply([peerOf(1), peerOf(2), removal, peerOf(3), peerOf(4, 1, "flannel-wg-v6"), peerOf(5)]);
  assert.deepEqual(
    messages.map((keys) => keys.length),
    [2, 1, 1, 1, 1],
  );
});
