import assert from "node:assert/strict";
import { test } from "node:test";
import { formatSocketAddress, parseSocketAddress } from "./socket-address.ts";
import { answerUapi } from "./uapi.ts";

const KEY = new Uint8Array(32).fill(1);
const PEER = {
  ...{ publicKey: new Uint8Array(32).fill(2), presharedKey: undefined, endpoint: "192.168.7.2:51820" },
  ...{ keepaliveSeconds: 25, allowedIps: ["10.5.2.0/24"] },
  ...{ lastHandshakeSeconds: 1_700_000_000.5, receivedBytes: 10n, sentBytes: 20n },
};
const DEVICE = { publicKey: KEY, listenPort: 51820, peers: [PEER] };

test("get=1 describes the device and its peers", () => {
  assert.deepEqual(answerUapi("get=1", DEVICE, KEY).split("\n"), [
    `private_key=${"01".repeat(32)}`,
    "listen_port=51820",
    `public_key=${"02".repeat(32)}`,
    `preshared_key=${"00".repeat(32)}`,
    "protocol_version=1",
    "endpoint=192.168.7.2:51820",
    "last_handshake_time_sec=1700000000",
    "last_handshake_time_nsec=500000000",
    "tx_bytes=20",
    "rx_bytes=10",
    "persistent_keepalive_interval=25",
    "allowed_ip=10.5.2.0/24",
    "errno=0",
    "",
    "",
  ]);
});

test("other requests are refused without any key", () => {
  assert.equal(answerUapi("set=1\nlisten_port=1", DEVICE, KEY), "errno=-95\n\n");
  for (const request of ["", "get=2", "junk", "get=1\n"])
    assert.equal(answerUapi(request, DEVICE, KEY), "errno=-22\n\n");
});

test("endpoints are read and written in both families; malformed ones are refused", () => {
  for (const text of ["192.168.7.2:51820", "[fd00:7::2]:1"])
    assert.equal(formatSocketAddress(parseSocketAddress(text)!), text);
  for (const text of ["", "1.2.3.4", "1.2.3.4:70000", "fd00::1:5", "[1.2.3.4]:5", "host:5"])
    assert.equal(parseSocketAddress(text), undefined, text);
});
