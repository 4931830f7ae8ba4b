/**
 * `flannelctl check`, `ping` and `status` on two hosts with a real flanneld each, while the network between them is broken in
 * the ways that operators meet.
 *
 *        etcd ── h1 ── h2        a third namespace has h2's address for one of the faults
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { PeerCheck } from "../../src/operate/diagnose/check-finding.ts";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { type Flanneld, readyFlanneld } from "../support/flanneld.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const LEASES = "/coreos.com/network/subnets";

interface Bed {
  readonly here: TestHost;
  readonly there: TestHost;
  readonly hub: TestHost;
  readonly subnet: string;
  readonly peer: Flanneld;
  /** Words of flannelctl, run on the first host. */
  run(...words: string[]): ReturnType<typeof flannelctl>;
  /** The only peer of `check`, and the exit code. */
  check(...words: string[]): Promise<PeerCheck & { readonly code: number }>;
  put(key: string, value: string): Promise<unknown>;
  del(key: string): Promise<unknown>;
}

async function makeBed(t: TestContext, config = CONFIG): Promise<Bed> {
  const etcd = await startEtcd();
  t.after(() => etcd[Symbol.asyncDispose]());
  await etcd.ctl("put", "/coreos.com/network/config", config);
  const [here, there, hub] = (await makeHosts(t, etcd, 3)) as [TestHost, TestHost, TestHost];
  const { flanneld } = await readyFlanneld(t, here);
  const { flanneld: peer, subnet: gateway } = await readyFlanneld(t, there);
  const subnet = gateway.replace(/\.1\/24$/, ".0/24");
  const socket = join(here.directory, "flanneld.sock");
  const run = (...words: string[]) => flannelctl(here, [...words, "--socket", socket]);
  await flanneld.until(async () => (await run("status")).out.includes(subnet), "the peer");
  return {
    ...{ here, there, hub, subnet, peer, run },
    async check(...words) {
      const { code, out, err } = await run("check", ...words, "-o", "json");
      assert.equal(err, "");
      const { peers } = JSON.parse(out) as { peers: PeerCheck[] };
      assert.equal(peers.length, 1, out);
      return { ...peers[0]!, code };
    },
    put: (key, value) => etcd.ctl("put", key, value),
    del: (key) => etcd.ctl("del", key),
  };
}

const step = ({ steps }: PeerCheck, name: string) => steps.find((each) => each.name === name)!;

/** Asserts that exactly this step failed, and its words. */
function assertFault(check: PeerCheck & { code: number }, name: string, seen: RegExp, advice: RegExp): void {
  const failed = check.steps.filter(({ state }) => state === "failed").map((each) => each.name);
  assert.deepEqual([failed, check.code], [[name], 1], JSON.stringify(check, undefined, 1));
  assert.match(step(check, name).seen, seen);
  assert.match(step(check, name).advice ?? "", advice);
}

test("a healthy peer is ✓ in every step, by each of its names, and answers ping and sweep", async (t) => {
  const bed = await makeBed(t);
  const base = bed.subnet.replace("/24", "");
  const { code, out } = await bed.run("check");
  assert.equal(code, 0, out);
  for (const name of ["lease", "config", "objects", "firewall", "underlay", "overlay", "size"])
    assert.match(out, new RegExp(`^ {2}✓ ${name} `, "m"));
  assert.match(out, /^All 1 subnets of peers are reachable\.$/m);
  for (const name of [bed.subnet, bed.there.address, base.replace(/0$/, "77"), `${base}-24`])
    assert.equal((await bed.check(name)).code, 0, name);
  const unknown = await bed.run("check", "10.77.0.1");
  assert.deepEqual([unknown.code, unknown.out], [1, ""]);
  assert.match(unknown.err, /no peer is called "10\.77\.0\.1"; give the subnet/);

  const ping = await bed.run("ping", bed.subnet, "--count", "2", "-o", "json");
  const answer = JSON.parse(ping.out);
  assert.deepEqual([ping.code, answer.target, answer.sent, answer.answered], [0, base, 2, 2]);
  const tooLarge = await bed.run("ping", bed.subnet, "--size", "1451", "--count", "1");
  assert.equal(tooLarge.code, 1);
  assert.match(tooLarge.out, /larger than the MTU of this host's device/);
  const sweep = await bed.run("ping", bed.there.address, "--sweep", "-o", "json");
  assert.equal(JSON.parse(sweep.out).largestPacketBytes, 1500);
  assert.equal((await bed.run("ping", bed.subnet, "--sweep")).code, 0);
  assert.equal((await bed.run("ping", "10.5.255.254", "--count", "1")).code, 1);

  const status = await bed.run("status");
  assert.equal(status.code, 0, status.out);
  assert.ok(!status.out.includes("\u001b"), "no colours in a pipe");
  const json = JSON.parse((await bed.run("check", "-o", "json")).out);
  assert.equal(json.isReady, true);
});

for (const type of ["host-gw", "udp"])
  test(`a healthy peer of ${type} has no ✗, and none without containers either`, async (t) => {
    const bed = await makeBed(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"${type}"}}`);
    const early = await bed.check();
    assert.equal(early.code, 0, JSON.stringify(early, undefined, 1));
    assert.equal(step(early, "overlay").state, type === "udp" ? "ok" : "unknown");
    bed.there.run("ip", "link", "add", "br0", "type", "bridge");
    bed.there.run("ip", "address", "add", bed.subnet.replace("0/24", "1/24"), "dev", "br0");
    bed.there.run("ip", "link", "set", "br0", "up");
    const late = await bed.check();
    assert.deepEqual([step(late, "overlay").state, step(late, "size").state, late.code], ["ok", "ok", 0]);
  });

test("check tells apart what breaks the underlay", async (t) => {
  const bed = await makeBed(t);
  const { here, there, hub } = bed;

  await t.test("a duplicate address", async () => {
    // Packets may reach the wrong host then, so that later steps can fail, too.
    for (const [address, seen] of [
      [there.address, /both use the peer's address 192\.168\.7\.2 on eth0/],
      [here.address, /also uses this host's address 192\.168\.7\.1 on eth0/],
    ] as const) {
      hub.run("ip", "address", "add", `${address}/24`, "dev", "eth0");
      const check = await bed.check();
      hub.run("ip", "address", "del", `${address}/24`, "dev", "eth0");
      assert.deepEqual([step(check, "lease").state, check.code], ["failed", 1]);
      assert.match(step(check, "lease").seen, seen);
      assert.match(step(check, "lease").advice ?? "", /two hosts have one address/);
    }
    for (const host of [here, there]) host.run("ip", "neigh", "flush", "dev", "eth0");
  });

  await t.test("the wrong interface", async () => {
    here.run("ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1");
    here.run("ip", "link", "set", "other0", "up");
    here.run("ip", "link", "set", "other1", "up");
    here.run("ip", "route", "add", `${there.address}/32`, "dev", "other0");
    assertFault(
      await bed.check(),
      "underlay",
      /packets to 192\.168\.7\.2 leave through other0, but flanneld uses eth0/,
      /--iface=other0/,
    );
    here.run("ip", "link", "del", "other0");
  });

  await t.test("rp_filter", async () => {
    here.run("ip", "link", "add", "side", "link", "eth0", "type", "macvlan", "mode", "private");
    for (const name of ["all", "side"]) here.run("sysctl", "-qw", `net.ipv4.conf.${name}.rp_filter=1`);
    here.run("ip", "link", "set", "side", "up");
    const mac = here.json("ip", "-json", "link", "show", "side")[0].address;
    there.run("ip", "neigh", "replace", here.address, "lladdr", mac, "dev", "eth0", "nud", "permanent");
    assertFault(
      await bed.check(),
      "underlay",
      /rp_filter of this host dropped \d+ packets/,
      /rp_filter.* to 2/,
    );
    there.run("ip", "neigh", "del", here.address, "dev", "eth0");
    here.run("ip", "link", "del", "side");
    here.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0");
  });

  await t.test("a peer that is down", async () => {
    there.run("ip", "link", "set", "eth0", "down");
    here.run("ip", "neigh", "flush", "dev", "eth0");
    assertFault(
      await bed.check(),
      "underlay",
      /does not answer address resolution on eth0/,
      /the peer is down/,
    );
    there.run("ip", "link", "set", "eth0", "up");
  });
});

test("check tells apart what breaks the overlay", async (t) => {
  const bed = await makeBed(t);
  const { here, there } = bed;
  const drop = (host: TestHost, chain: string, ...rule: string[]) => {
    host.run("nft", "add", "table", "inet", "fault");
    host.run("nft", "add", "chain", "inet", "fault", "c", `{ type filter ${chain} priority 5; }`);
    host.run("nft", "add", "rule", "inet", "fault", "c", ...rule);
    return () => host.run("nft", "delete", "table", "inet", "fault");
  };

  await t.test("a firewall that swallows the port", async () => {
    const heal = drop(there, "hook input", "udp", "dport", "8472", "drop");
    assertFault(
      await bed.check(),
      "overlay",
      /UDP port 8472 of 192\.168\.7\.2 swallows packets/,
      /accept UDP port 8472/,
    );
    heal();
  });

  await t.test("a firewall of this host", async () => {
    const heal = drop(here, "hook input", "udp", "dport", "8472", "drop");
    await until(
      async () => (await bed.run("status")).out.includes("drops the tunnel's packets"),
      "the finding",
    );
    const check = await bed.check();
    assert.equal(step(check, "firewall").state, "failed");
    assert.match(step(check, "firewall").seen, /chain c \(hook input.*drops the tunnel's packets/);
    heal();
    await until(
      async () => !(await bed.run("status")).out.includes("drops the tunnel's packets"),
      "the end of it",
    );
  });

  await t.test("a FORWARD policy of DROP", async () => {
    here.run("nft", "add", "table", "inet", "fw");
    here.run(
      "nft",
      "add",
      "chain",
      "inet",
      "fw",
      "forward",
      "{ type filter hook forward priority 5; policy drop; }",
    );
    await until(async () => (await bed.run("status")).out.includes("policy drop"), "the finding");
    assertFault(
      await bed.check(),
      "firewall",
      /hook forward.*drops packets of the network.*policy drop/,
      /accept the network/,
    );
    here.run("nft", "delete", "table", "inet", "fw");
    await until(async () => !(await bed.run("status")).out.includes("policy drop"), "the end of it");
  });

  await t.test("checksum offload, or a firewall on TCP and UDP", async () => {
    const heal = drop(there, "hook input", "iifname", "flannel.1", "meta", "l4proto", "{ tcp, udp }", "drop");
    here.run("ethtool", "-K", "flannel.1", "tx-checksum-ip-generic", "on");
    assertFault(
      await bed.check(),
      "overlay",
      /answers pings, but neither TCP nor UDP.*tx-checksum-ip-generic on/,
      /DisableTxChecksum/,
    );
    here.run("ethtool", "-K", "flannel.1", "tx-checksum-ip-generic", "off");
    assertFault(
      await bed.check(),
      "overlay",
      /answers pings, but neither TCP nor UDP$/,
      /a firewall on the peer/,
    );
    heal();
  });

  await t.test("an MTU of the network that is too small", async () => {
    const heal = drop(there, "hook input", "ip", "length", ">", "1400", "iifname", "eth0", "drop");
    assertFault(
      await bed.check(),
      "size",
      /packets of more than 1350 bytes are lost, 1450/,
      /carries 1400 of the 1500.*set Backend\.MTU to 1400/,
    );
    heal();
  });

  await t.test("a foreign route", async () => {
    const address = bed.subnet.replace("0/24", "2/32");
    here.run("ip", "route", "add", address, "dev", "eth0");
    assertFault(await bed.check(), "objects", /leave through eth0 instead of flannel\.1/, /ip route get/);
    here.run("ip", "route", "del", address, "dev", "eth0");
    assert.equal((await bed.check()).code, 0);
  });

  await t.test("a closed port, another VNI, another backend", async () => {
    await bed.peer.stop();
    there.run("ip", "link", "del", "flannel.1");
    assertFault(
      await bed.check(),
      "overlay",
      /UDP port 8472 of 192\.168\.7\.2 is closed/,
      /start flanneld on the peer/,
    );
    const key = `${LEASES}/${bed.subnet.replace("/", "-")}`;
    const lease = (rest: string) => bed.put(key, `{"PublicIP":"${there.address}",${rest}}`);
    await lease('"BackendType":"vxlan","BackendData":{"VNI":7,"VtepMAC":"1e:2a:60:53:0c:5d"}');
    await until(async () => (await bed.run("status")).out.includes("VNI"), "the VNI");
    assertFault(await bed.check(), "config", /its VNI is 7, this host's 1/, /Backend\.VNI/);
    await lease('"BackendType":"host-gw"');
    await until(async () => (await bed.run("status")).out.includes("host-gw"), "the type");
    assertFault(
      await bed.check(),
      "config",
      /the peer runs backend "host-gw", this host "vxlan"/,
      /Backend\.Type/,
    );
  });
});
