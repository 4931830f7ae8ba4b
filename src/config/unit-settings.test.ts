import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { parseEnvironmentFile, readUnitSettings } from "./unit-settings.ts";

test("the file that the packages install gives the unit's defaults", () => {
  const text = readFileSync(new URL("../../deploy/systemd/flanneld.sysconfig", import.meta.url), "utf8");
  const { FLANNELD_ETCD_ENDPOINTS, FLANNELD_ETCD_PREFIX, FLANNEL_OPTIONS } = readUnitSettings([text]);
  assert.deepEqual(
    [FLANNELD_ETCD_ENDPOINTS, FLANNELD_ETCD_PREFIX, FLANNEL_OPTIONS],
    ["http://127.0.0.1:2379", "/coreos.com/network", ""],
  );
});

test("the sysconfig file of Go flannel's package, in its first and its last form", () => {
  const last =
    '# Flanneld configuration options  \n\n# etcd url location.\nFLANNEL_ETCD_ENDPOINTS="http://192.0.2.1:2379,http://192.0.2.2:2379"\n' +
    'FLANNEL_ETCD_PREFIX="/atomic.io/network"\n\n# Any additional options that you want to pass\n#FLANNEL_OPTIONS=""\n';
  const settings = readUnitSettings([last]);
  assert.equal(settings.FLANNELD_ETCD_ENDPOINTS, "http://192.0.2.1:2379,http://192.0.2.2:2379");
  assert.equal(settings.FLANNELD_ETCD_PREFIX, "/atomic.io/network");
  const first = readUnitSettings(['FLANNEL_ETCD="http://a:4001"\nFLANNEL_ETCD_KEY="/x"\n']);
  assert.equal(first.FLANNELD_ETCD_ENDPOINTS, "http://a:4001");
  assert.equal(first.FLANNELD_ETCD_PREFIX, "/x");
});

test("flags in FLANNEL_OPTIONS become variables, and take precedence", () => {
  const settings = readUnitSettings([
    "FLANNEL_ETCD_ENDPOINTS=http://a:2379\n" +
      "FLANNEL_OPTIONS=\"-etcd-cafile=/etc/my\\ ca.pem --etcd-endpoints https://b:2379 -ip-masq -iface 'eth 1'\"\n",
  ]);
  assert.equal(settings.FLANNELD_ETCD_ENDPOINTS, "https://b:2379");
  assert.equal(settings.FLANNELD_ETCD_CAFILE, "/etc/my ca.pem");
  assert.equal(settings.FLANNELD_IP_MASQ, "true");
  assert.equal(settings.FLANNELD_IFACE, "eth 1");
});

test("options that flanneld refuses change nothing else; a repeated flag is left out", () => {
  const broken = readUnitSettings(['FLANNEL_ETCD_PREFIX=/x\nFLANNEL_OPTIONS="-no-such-flag"\n']);
  assert.equal(broken.FLANNELD_ETCD_PREFIX, "/x");
  const twice = readUnitSettings(['FLANNEL_OPTIONS="-iface=a -iface=b -ip-masq"\n']);
  assert.equal(twice.FLANNELD_IFACE, undefined);
  assert.equal(twice.FLANNELD_IP_MASQ, "true");
});

test("the later file takes precedence, and FLANNELD_ variables stay as they are", () => {
  const settings = readUnitSettings([
    "FLANNEL_ETCD_PREFIX=/a\nFLANNELD_ETCD_PASSWORD=s\n",
    "FLANNEL_ETCD_PREFIX=/b\n",
  ]);
  assert.equal(settings.FLANNELD_ETCD_PREFIX, "/b");
  assert.equal(settings.FLANNELD_ETCD_PASSWORD, "s");
});

// What systemd 252 gives a unit for these lines.
for (const [line, expected] of [
  ["A=b", { A: "b" }],
  ["  A=b  ", { A: "b" }],
  ["A= b c ", { A: "b c" }],
  ['A="b c" ', { A: "b c" }],
  ["A='b \"c\"'", { A: 'b "c"' }],
  ['A="b\nc"', { A: "b\nc" }],
  ["A=b\\\nc", { A: "bc" }],
  ['A="b\\"c\\d"', { A: 'b"c\\d' }],
  ["A=", { A: "" }],
  ["#A=b", {}],
  ["; A=b", {}],
  ["export A=b", {}],
  ["A", {}],
  ["1A=b", {}],
  ["A=b\r\nB=c\r\n", { A: "b", B: "c" }],
  ["A=b=c", { A: "b=c" }],
  ['A=x"y z"w', { A: 'x"y z"w' }],
  ["A='it'\"s\"", { A: "its" }],
] as const) {
  test(`EnvironmentFile: ${JSON.stringify(line)}`, () =>
    assert.deepEqual(parseEnvironmentFile(line), expected));
}

test("random text never throws", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."A=\"'\\ \n-x#") }), (text) => {
      readUnitSettings([text, `FLANNEL_OPTIONS=${text}`]);
    }),
  );
});
