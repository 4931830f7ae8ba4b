/** flanneld.yaml on a host: flags, the network config in an empty and in a full datastore, flannelctl beside it. */

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { parseConfigFile } from "../../src/config/config-file.ts";
import { freshNetns } from "../netns/support.ts";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { readSubnetFile, spawnFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** “make test” installs them. */
const MODULES = join(ROOT, "tools/kubernetes/node_modules");
const PREFIX = "/site/net";

interface AjvLike {
  compile(schema: unknown): { (value: unknown): boolean; readonly errors?: unknown };
}

/** A file that ends with the test. */
function writeConfig(t: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), "flanneld-yaml-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "flanneld.yaml");
  writeFileSync(path, text);
  chmodSync(path, 0o600);
  return path;
}

test("an empty etcd gets the file's network config and reservations; the next host's file is compared", async (t) => {
  await using etcd = await startEtcd();
  const [host] = await makeHosts(t, etcd, 1);
  const settings = `etcd-endpoints: ${host!.etcdEndpoint}
etcd-prefix: ${PREFIX}
subnet-file: ${host!.subnetFile}
healthz-port: 1
`;
  const path = writeConfig(
    t,
    `${settings}Network: 10.7.0.0/16
Subnet:
  length: 25
  minimum: 10.7.1.0
  reserved:
    10.7.9.0/25: 192.168.7.9
Backend: vxlan
`,
  );
  const first = spawnFlanneld(t, host!, {
    args: [`--config-file=${path}`, "--healthz-port=0"], // the flag wins: port 1 is of no use to the next start
  });
  await first.logged(/flanneld is ready: 10\.7\.\d+\.\d+\/25/, { deadlineMs: 30_000 });
  await first.logged(
    /Wrote the network config of .*flanneld\.yaml to etcd key \/site\/net\/config: \{"Network":"10\.7\.0\.0\/16","SubnetLen":25/,
  );
  await first.logged(/10\.7\.9\.0\/25 is reserved for 192\.168\.7\.9/);
  await first.logged(/flanneld\.yaml:4: healthz-port is not used, because --healthz-port is given/);
  assert.match(first.lines[0]!, /etcd-prefix=\/site\/net \(.*flanneld\.yaml:2\)/);
  assert.match(readSubnetFile(host!).subnet, /^10\.7\./);

  const leases = await flannelctl(host!, ["leases", "--json", `--config-file=${path}`]);
  assert.equal(leases.code, 0, leases.err);
  const records = JSON.parse(leases.out) as { subnet: string; reservation: boolean; publicIP: string }[];
  assert.deepEqual(
    records.filter(({ reservation }) => reservation).map(({ subnet, publicIP }) => [subnet, publicIP]),
    [["10.7.9.0/25", "192.168.7.9"]],
  );
  assert.equal((await first.stop()).code, 0);

  const other = writeConfig(
    t,
    `${settings}Network: 10.8.0.0/16
Subnet:
  length: 25
  reserved: {10.7.9.0/25: 192.168.7.8, 10.7.10.0/25: 192.168.7.10}
Backend: {Type: VXLAN, VNI: 9}
`,
  );
  const second = spawnFlanneld(t, host!, {
    args: ["--healthz-port=0"],
    env: { FLANNELD_CONFIG_FILE: other },
  });
  await second.logged(/flanneld is ready: 10\.7\./, { deadlineMs: 30_000 });
  const warnings = second.lines.filter((line) => /flanneld\.yaml:\d+ (says|reserves)/.test(line));
  const expected = [
    /yaml:5 says Network "10\.8\.0\.0\/16", but etcd key \/site\/net\/config says "10\.7\.0\.0\/16", which is used; to change it: flannelctl config set .*flanneld\.yaml$/,
    /yaml:9 says Backend \{"Type":"VXLAN","VNI":9\}, but etcd key .* says \{"Type":"vxlan"\}, which is used/,
    /yaml:8 reserves 10\.7\.9\.0\/25 for 192\.168\.7\.8, but it belongs to 192\.168\.7\.9; to reserve it: flannelctl leases release/,
    /yaml:8 reserves 10\.7\.10\.0\/25 for 192\.168\.7\.10, but it is not reserved; to reserve it: flannelctl leases reserve 10\.7\.10\.0\/25 192\.168\.7\.10$/,
  ];
  assert.equal(warnings.length, expected.length, warnings.join("\n"));
  for (const [index, pattern] of expected.entries()) assert.match(warnings[index]!, pattern);
  assert.equal((await second.stop()).code, 0);

  // The command that the message names.
  const set = await flannelctl(host!, ["config", "set", other, "--force", `--config-file=${other}`]);
  assert.equal(set.code, 0, set.err);
  const stored = await flannelctl(host!, ["config", "get", `--config-file=${other}`]);
  assert.deepEqual(JSON.parse(stored.out), {
    ...{ Network: "10.8.0.0/16", SubnetLen: 25, Backend: { Type: "VXLAN", VNI: 9 } },
  });
});

test("the embedded store gets the file's network; --network replaces it", async (t) => {
  const netns = freshNetns(t);
  netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0");
  netns.run("ip", "address", "add", "192.168.9.1/24", "dev", "eth0");
  for (const device of ["lo", "eth0", "peer0"]) netns.run("ip", "link", "set", device, "up");
  const directory = mkdtempSync(join(tmpdir(), "flanneld-yaml-store-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const textOf = (store: string) => `datastore: embedded
embedded-data-dir: ${join(directory, store)}
subnet-file: ${join(directory, "subnet.env")}
iface: eth0
Network: 10.7.0.0/16
Subnet: {length: 26}
`;
  const path = writeConfig(t, textOf("one"));
  const first = spawnFlanneld(t, netns, { args: [`--config-file=${path}`] });
  await first.logged(/flanneld is ready: 10\.7\.\d+\.\d+\/26/, { deadlineMs: 30_000 });
  const shown = await flannelctl(netns, ["config", "get", `--config-file=${path}`]);
  assert.match(shown.out, /"SubnetLen":26/, shown.err);
  assert.equal((await first.stop()).code, 0);
  const second = spawnFlanneld(t, netns, {
    args: [`--config-file=${writeConfig(t, textOf("two"))}`, "--network=10.9.0.0/16"],
  });
  await second.logged(/flanneld is ready: 10\.9\.\d+\.0\/24/, { deadlineMs: 30_000 });
});

test("the shipped schema accepts what flanneld accepts, and refuses the common mistakes", async () => {
  const { default: Ajv } = createRequire(import.meta.url)(join(MODULES, "ajv/dist/2020.js")) as {
    default: new (options: object) => AjvLike;
  };
  const text = readFileSync(join(ROOT, "deploy/config/flanneld.schema.json"), "utf8");
  const validate = new Ajv({ allowUnionTypes: true }).compile(JSON.parse(text));
  const accepted = [
    readFileSync(join(ROOT, "deploy/config/flanneld.yaml"), "utf8"),
    "iface: [eth0, eth1]\nv: 2\nprobe-interval: 0.5\nip-masq: false",
    'Network: {range: [10.5.0.0/16, "fd00:5::/48"]}\nSubnet: {length: 24, ipv6: {length: 64}}\nBackend: host-gw',
    "Network: 10.5.0.0/16\nSubnet: {reserved: {10.5.3.0/24: 192.168.64.3}}",
  ];
  const refused = [
    "ifcae: eth0",
    "ip-masq: yes",
    'v: "2"',
    "datastore: etcd4",
    "public-ip: [192.168.64.1]",
    "Subnet: {length: 24}",
    "Network: 10.5.0.0",
    "Network: 10.5.0.0/16\nnetwork: 10.5.0.0/16",
    "Network: 10.5.0.0/16\nSubnet: {lenght: 24}",
    "version: true",
  ];
  for (const text of accepted) {
    assert.ok(validate(parse(text)), `${text}: ${JSON.stringify(validate.errors)}`);
    await parseConfigFile(text, "flanneld.yaml");
  }
  for (const text of refused) {
    assert.ok(!validate(parse(text)), text);
    // The name of a datastore is checked with the other options.
    if (!text.startsWith("datastore")) await assert.rejects(parseConfigFile(text, "flanneld.yaml"), text);
  }
});

test("faults of the file end the start with their lines; --print-config shows each value and its source", async (t) => {
  const netns = freshNetns(t);
  const bad = writeConfig(t, "ifcae: eth0\nip-masq: yes\n");
  const refused = spawnFlanneld(t, netns, { args: [`--config-file=${bad}`] });
  assert.equal((await refused.exit).code, 1);
  assert.deepEqual(refused.lines, [
    `flanneld: ${bad}:1: no setting is called "ifcae" (did you mean iface?)`,
    `flanneld: ${bad}:2: ip-masq: must be true or false, without quotes`,
  ]);

  const good = writeConfig(
    t,
    'etcd-username: flannel\netcd-password: hunter2\nip-masq: true\nNetwork: 10.7.0.0/16\nBackend: {Type: wireguard, PSK: "hunter2"}\n',
  );
  const env = { FLANNELD_IFACE: "eth1" };
  const args = [`--config-file=${good}`, "--print-config", "--v=3"];
  const text = spawnFlanneld(t, netns, { args, env });
  assert.equal((await text.exit).code, 0, text.log());
  assert.match(text.log(), /^iface: \["eth1"\] +# FLANNELD_IFACE$/m);
  assert.match(text.log(), /^v: 3 +# --v$/m);
  assert.match(text.log(), /^ip-masq: true +# .*flanneld\.yaml:3$/m);
  assert.match(text.log(), /^etcd-password: "\[redacted\]" +# .*flanneld\.yaml:2$/m);
  assert.match(text.log(), /^healthz-port: 0 +# default$/m);
  assert.match(text.log(), /^Network: 10\.7\.0\.0\/16 +# .*flanneld\.yaml:4$/m);
  const json = spawnFlanneld(t, netns, { args: [...args, "-o=json"], env });
  assert.equal((await json.exit).code, 0);
  const { file, settings, network } = JSON.parse(json.log());
  assert.equal(file, good);
  assert.deepEqual(settings["ip-masq"], { value: true, from: "file", source: `${good}:3` });
  assert.deepEqual(settings.iface, { value: ["eth1"], from: "environment", source: "FLANNELD_IFACE" });
  assert.deepEqual(settings["healthz-port"], { value: 0, from: "default", source: null });
  assert.equal(network.Backend.value.PSK, "***");
  for (const each of [text, json]) assert.ok(!each.log().includes("hunter2"), each.log());
});
