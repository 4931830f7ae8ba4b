import assert from "node:assert/strict";
import { test } from "node:test";
import type { LeaseRecord } from "../lease/lease-admin.ts";
import { decodeLeaseKey, isProblem } from "../lease/lease-codec.ts";
import { obstaclesToChange } from "./config-change.ts";
import { describeConfig, effectiveConfig, hideSecrets, reportConfig } from "./config-report.ts";

const network = (members: object) => reportConfig(JSON.stringify({ Network: "10.5.0.0/16", ...members }));

function held(...keys: string[]): LeaseRecord[] {
  return keys.map((key) => {
    const subnets = decodeLeaseKey(key);
    return {
      key,
      subnets: isProblem(subnets) ? undefined : subnets,
      attributes: undefined,
      problem: undefined,
      lifeId: "1",
      revision: 1n,
    };
  });
}

test("without leases every change is allowed", () => {
  assert.deepEqual(obstaclesToChange(network({}), network({ SubnetLen: 26 }), held("junk")), []);
});

test("leases that do not fit are named, the first few", () => {
  const keys = ["10.5.9.0-24", "10.5.10.0-24", ...[3, 4, 5, 6, 7].map((n) => `10.5.${n}.0-24`)];
  const obstacles = obstaclesToChange(network({}), network({ SubnetLen: 25 }), held(...keys, "junk"));
  assert.equal(obstacles.length, 2);
  assert.match(
    obstacles[0]!,
    /^7 of 7 leases do not fit it \(10\.5\.3\.0\/24, 10\.5\.4\.0\/24, .*7\.0\/24, …\)/,
  );
  assert.match(obstacles[1]!, /^SubnetLen 24 → 25: /);
  assert.deepEqual(obstaclesToChange(network({}), network({ SubnetMax: "10.5.200.0" }), held(...keys)), []);
  const [misfit, ...others] = obstaclesToChange(
    network({}),
    network({ SubnetMin: "10.5.4.0" }),
    held(...keys),
  );
  assert.match(misfit!, /^1 of 7 leases do not fit it \(10\.5\.3\.0\/24\)/);
  assert.deepEqual(others, []);
});

test("changes that running hosts refuse are reported, others not", () => {
  const hosts = held("10.5.9.0-24");
  const change = (before: object, after: object) =>
    obstaclesToChange(network({ Backend: before }), network({ Backend: after }), hosts);
  assert.match(change({ VNI: 1 }, { Type: "VXLAN", vni: 2 })[0]!, /^Backend\.VNI 1 → 2: /);
  assert.match(change({ Type: "host-gw" }, { Type: "vxlan" })[0]!, /^Backend\.Type host-gw → vxlan: /);
  assert.deepEqual(change({}, { VNI: 1, MTU: 1400, Learning: true }), []);
  assert.deepEqual(change({ VNI: 1, blah: 1 }, { VNI: 1 }), []);
  assert.deepEqual(obstaclesToChange(reportConfig("junk"), network({}), hosts), []);
});

test("a report names the faults of network and backend together", () => {
  const { network: none, faults } = reportConfig(
    '{"Network":"10.5.0.0","Backend":{"Type":"vxlan","VNI":-1}}',
  );
  assert.equal(none, undefined);
  assert.equal(faults.length, 2);
  assert.match(faults[0]!, /Network "10\.5\.0\.0"/);
  assert.match(faults[1]!, /Backend\.VNI/);
  assert.match(reportConfig("{}{").faults[0]!, /not valid JSON/);
});

test("a valid config is described in one line, and with every default", () => {
  const good = reportConfig(
    '{"network":"10.5.7.0/20","EnableNFTables":true,"backend":{"type":"VXLAN","VNI":3}}',
  );
  assert.deepEqual(good.faults, []);
  assert.equal(
    describeConfig(good.network!),
    "10.5.0.0/20 in 15 subnets of /24 (10.5.1.0 to 10.5.15.0), backend vxlan, nftables",
  );
  assert.deepEqual(effectiveConfig(good.network!), {
    EnableIPv4: true,
    EnableIPv6: false,
    Network: "10.5.0.0/20",
    SubnetLen: 24,
    SubnetMin: "10.5.1.0",
    SubnetMax: "10.5.15.0",
    EnableNFTables: true,
    Backend: { Type: "vxlan", VNI: 3 },
  });
});

test("a config with secrets can be examined, and its preshared keys are hidden in any spelling", () => {
  const psk = Buffer.alloc(32, 7).toString("base64");
  const { backend, faults } = network({ Backend: { Type: "wireguard", PSK: psk } });
  assert.deepEqual([backend?.type, faults], ["wireguard", []]);
  const wrong = network({ Backend: { Type: "wireguard", PSK: "my secret" } }).faults;
  assert.match(wrong[0]!, /Backend\.PSK is not a preshared key/);
  assert.ok(!wrong.join().includes("my secret"));
  assert.equal(
    hideSecrets(`{"Backend":{"psk" : "${psk}","MTU":1400}}`),
    '{"Backend":{"psk" : "***","MTU":1400}}',
  );
  assert.equal(
    hideSecrets('{"AccessKeyID":"LTAI","accesskeysecret":"kX2"}'),
    '{"AccessKeyID":"LTAI","accesskeysecret":"***"}',
  );
  for (const secret of [psk, 'a "quoted\\" one', "unterminated"]) {
    const text = `{"PSK": ${secret === "unterminated" ? `"${secret}` : JSON.stringify(secret)}`;
    assert.ok(!hideSecrets(text).includes(secret.slice(0, 8)), text);
  }
});
