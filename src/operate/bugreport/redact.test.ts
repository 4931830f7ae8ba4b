import assert from "node:assert/strict";
import { test } from "node:test";
import { redact } from "./redact.ts";

/** Each text contains SECRETVALUE where a secret may be. */
const PLANTED = [
  '{"Backend":{"Type":"wireguard","PSK":"SECRETVALUE="}}',
  '{"value":"{\\"Backend\\":{\\"PSK\\":\\"SECRETVALUE\\"}}"}',
  '{"psk": "a\\"SECRETVALUE"}',
  "PrivateKey = SECRETVALUE",
  "preshared key: SECRETVALUE",
  "FLANNELD_ETCD_PASSWORD=SECRETVALUE",
  "--etcd-password=SECRETVALUE --iface=eth0",
  "flanneld --etcd-password SECRETVALUE --iface=eth0",
  "flanneld\0-etcd-password\0SECRETVALUE\0--iface=eth0",
  "https://user:SECRETVALUE@etcd.example:2379",
  "https://SECRETVALUE@etcd.example:2379",
  "Authorization: Bearer SECRETVALUE",
  "-----BEGIN EC PRIVATE KEY-----\nSECRETVALUE\n-----END EC PRIVATE KEY-----",
  "-----BEGIN PRIVATE KEY-----\nSECRETVALUE (truncated)",
  "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.SECRETVALUE",
  "    client-key-data: SECRETVALUE==",
  "token: SECRETVALUE",
  'aws_secret_access_key="SECRETVALUE"',
];

test("a secret is removed in every form in which it may appear", () => {
  for (const text of PLANTED) {
    assert.ok(!redact(text).includes("SECRETVALUE"), `${text} → ${redact(text)}`);
    assert.match(redact(text), /\*\*\*/);
  }
  const state = `enc cbc(aes) 0x${"ab".repeat(16)} mark 0x1/0xff`;
  assert.equal(redact(state), "enc cbc(aes) *** mark 0x1/0xff");
});

test("a known value is removed wherever it is, also inside of JSON", () => {
  assert.equal(redact('a b"c\\d e', ['b"c\\d']), "a *** e");
  assert.equal(redact(JSON.stringify({ x: 'b"c\\d' }), ['b"c\\d']), '{"x":"***"}');
  assert.equal(
    redact('{"accessKeyId":"","AccessKeySecret":"kX2"}'),
    '{"accessKeyId":"","AccessKeySecret":"***"}',
  );
  assert.equal(redact("the cat", ["the", ""]), "the cat", "too short to be told from words");
});

test("what is no secret stays", () => {
  for (const text of [
    '{"key":"10.5.2.0-24","subnets":["10.5.2.0/24"],"VtepMAC":"c6:d2:32:6f:8f:44"}',
    "--etcd-keyfile=/etc/etcd/client.key --iface=eth0",
    "flannel_ready 1\nflannel_peers 2",
    "inet6 fe80::1/64 scope link",
  ])
    assert.equal(redact(text), text);
});
