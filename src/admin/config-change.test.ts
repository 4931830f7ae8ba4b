import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNetworkConfig } from "../config/network-config.ts";
import type { LeaseRecord } from "../lease/lease-admin.ts";
import { decodeLeaseKey, isProblem } from "../lease/lease-codec.ts";
import { obstaclesToChange } from "./config-change.ts";
import { describeConfig, effectiveConfig, reportConfig } from "./config-report.ts";

const network = (members: object) =>
  parseNetworkConfig(JSON.stringify({ Network: "10.5.0.0/16", ...members }));

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

test("without hosts anything may change", () => {
  assert.deepEqual(obstaclesToChange(network({}), network({ SubnetLen: 26 }), held("junk")), []);
});

test("leases that do not fit are named, the first few", () => {
  const keys = ["10.5.9.0-24", "10.5.10.0-24", ...[3, 4, 5, 6, 7].map((n) => `10.5.${n}.0-24`)];
  const [obstacle] = obstaclesToChange(network({}), network({ SubnetLen: 25 }), held(...keys, "junk"));
  assert.match(obstacle!, /^7 of 7 leases do not fit it \(10\.5\.3\.0\/24, 10\.5\.4\.0\/24, .*7\.0\/24, …\)/);
  assert.deepEqual(obstaclesToChange(network({}), network({ SubnetMax: "10.5.200.0" }), held(...keys)), []);
  assert.equal(obstaclesToChange(network({}), network({ SubnetMin: "10.5.4.0" }), held(...keys)).length, 1);
  const dual = network({ EnableIPv6: true, IPv6Network: "fc00::/48" });
  assert.match(obstaclesToChange(network({}), dual, held("10.5.9.0-24"))[0]!, /1 of 1/);
});

test("a backend that changes is told by its members' names, never their values", () => {
  const [before, after] = [
    { Type: "vxlan", VNI: 1, PSK: "hunter2" },
    { Type: "VXLAN", psk: "hunter3" },
  ].map((Backend) => network({ Backend }));
  const [obstacle] = obstaclesToChange(before, after!, held("10.5.9.0-24"));
  assert.match(obstacle!, /^Backend changes \(vni, psk\)/);
  assert.doesNotMatch(obstacle!, /hunter/);
  assert.match(
    obstaclesToChange(network({ Backend: { Type: "host-gw" } }), before!, held("10.5.9.0-24"))[0]!,
    /from host-gw to vxlan/,
  );
  assert.deepEqual(obstaclesToChange(before, before!, held("10.5.9.0-24")), []);
  assert.deepEqual(obstaclesToChange(undefined, before!, held("10.5.9.0-24")), []);
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

test("a good config is told in one line, and with every default", () => {
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
