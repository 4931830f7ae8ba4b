/**
 * Probes of real flanneld processes: faults that an operator would search at night are named, and end.
 *
 *        etcd ── h1 ── h2        eth0 of each on one bridge; no container bridge unless the test makes it
 */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import type { PeerReport } from "../../src/status/api.ts";
import { askDaemon } from "../../src/status/status-client.ts";
import { startEtcd } from "../support/etcd.ts";
import { askHealth, readyFlanneld } from "../support/flanneld.ts";
import { makeContainer, makeHosts, type TestHost } from "../support/underlay.ts";

const CONFIG_KEY = "/coreos.com/network/config";
const VXLAN = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';

const probeOf = async ({ directory }: TestHost) => {
  const [peer] = await askDaemon<PeerReport[]>(join(directory, "flanneld.sock"), "/v1/peers");
  return peer?.probes?.[0];
};

/** The same of both families. */
const probesOf = async ({ directory }: TestHost) => {
  const [peer] = await askDaemon<PeerReport[]>(join(directory, "flanneld.sock"), "/v1/peers");
  return peer?.probes ?? [];
};

/** Two hosts with flanneld, once each finds the other reachable. */
async function startPair(
  t: TestContext,
  etcd: Awaited<ReturnType<typeof startEtcd>>,
  config: string,
  args: readonly string[] = [],
  prepare: (host: TestHost) => void = () => {},
) {
  await etcd.ctl("put", CONFIG_KEY, config);
  const hosts = await makeHosts(t, etcd, 2);
  hosts.forEach(prepare);
  const sides = [];
  for (const host of hosts) {
    const env = { WIREGUARD_KEY_FILE: join(host.directory, "wgkey") };
    sides.push({ host, ...(await readyFlanneld(t, host, { args, env })) });
  }
  const [a, b] = sides as [(typeof sides)[0], (typeof sides)[0]];
  for (const { host, flanneld } of sides)
    await flanneld.until(async () => (await probeOf(host))?.verdict === "reachable", "a reachable peer");
  return { a, b };
}

/** nft rules for a host, as `inet t`. */
const addRules = (host: TestHost, hook: "input" | "output" | "forward", ...rules: string[]): void => {
  const chain = `add table inet t; add chain inet t ${hook} { type filter hook ${hook} priority 0; }`;
  host.run("nft", [chain, ...rules.map((rule) => `add rule inet t ${hook} ${rule}`)].join("; "));
};
const removeRules = (host: TestHost): void => void host.run("nft", "delete", "table", "inet", "t");

test("faults of a VXLAN network are named while they last: closed port, cut underlay, small underlay MTU", async (t) => {
  await using etcd = await startEtcd();
  const { a, b } = await startPair(t, etcd, VXLAN, ["--healthz-ip=127.0.0.1", "--healthz-port=8081"]);
  assert.equal((await probeOf(a.host))?.overlay.state, "up");
  const { flanneld } = a;
  let from = 0;
  const logged = async (pattern: RegExp) => {
    await flanneld.logged(pattern, { from, deadlineMs: 20_000 });
    from = flanneld.lines.length;
  };

  await t.test("b receives nothing on the port: a hears b's probes", async () => {
    addRules(b.host, "input", "udp dport 8472 drop");
    await logged(/Peer .* is unreachable: (one direction|overlay down): UDP port 8472 closed or filtered/);
    await flanneld.until(async () => (await probeOf(a.host))?.verdict === "one direction", "the direction");
    assert.equal((await probeOf(a.host))?.underlay.state, "up");
    const { status, body } = (await askHealth(a.host, 8081, "/readyz"))!;
    assert.equal(status, 200);
    assert.match(body, /is unreachable: one direction: UDP port 8472 closed or filtered on 192\.168\.7\.2/);
    await b.flanneld.until(
      async () => (await probeOf(b.host))?.verdict === "overlay down",
      "the other end's verdict",
    );
    removeRules(b.host);
    await logged(/Peer .* is reachable again after \d+ s/);
    assert.doesNotMatch((await askHealth(a.host, 8081, "/readyz"))!.body, /unreachable/);
  });

  await t.test("the underlay is cut", async () => {
    b.host.run("ip", "link", "set", "eth0", "down");
    await logged(/is unreachable: underlay down: 192\.168\.7\.2 answers neither ICMP nor TCP/);
    b.host.run("ip", "link", "set", "eth0", "up");
    b.host.run("ip", "route", "replace", "default", "via", "192.168.7.254");
    await logged(/is reachable again/);
  });

  await t.test("ICMP is filtered on the underlay: not a fault, nor does it hide one", async () => {
    addRules(b.host, "input", "iifname eth0 meta l4proto icmp drop");
    await flanneld.until(
      async () => (await probeOf(a.host))?.underlay.state === "filtered",
      "a filtered underlay",
      40_000, // every tenth probe goes there
    );
    assert.equal((await probeOf(a.host))?.verdict, "reachable");
    b.host.run("nft", "add rule inet t input udp dport 8472 drop");
    await logged(/is unreachable: (one direction|overlay down): UDP port 8472 closed or filtered/);
    removeRules(b.host);
    await logged(/is reachable again/);
  });

  await t.test("large packets vanish without a word", async () => {
    // The length of the IP packet: what a link with an MTU of 1400 does not carry.
    addRules(b.host, "input", "iifname eth0 meta length > 1400 drop");
    await logged(/packets too large: the overlay carries packets of 1350 bytes/);
    await flanneld.until(
      async () => (await probeOf(a.host))?.underlay.largestPacketBytes === 1_400,
      "the largest packet of the underlay",
      20_000,
    );
    removeRules(b.host);
    await logged(/is reachable again/);
  });
});

test("hosts without a bridge, and hosts under load, raise no alarm", async (t) => {
  await using etcd = await startEtcd();
  const { a, b } = await startPair(t, etcd, '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}');
  await a.flanneld.until(async () => (await probeOf(a.host))?.overlay.state === "filtered", "no bridge");
  assert.equal((await probeOf(a.host))?.verdict, "reachable");
  const container = makeContainer(t, b.host, b);
  await a.flanneld.until(async () => (await probeOf(a.host))?.overlay.state === "up", "the bridge");
  const server = spawn("nsenter", [`--net=${container.path}`, "iperf3", "-s", "-1"], { stdio: "ignore" });
  t.after(() => server.kill("SIGKILL"));
  await a.flanneld.until(
    async () => container.run("ss", "-Hltn", "sport = 5201") !== "",
    "iperf3 to listen in the container",
  );
  const load = ["iperf3", "-c", container.address, "-P", "2", "-t", "5"];
  await promisify(execFile)("nsenter", [`--net=${a.host.path}`, ...load]);
  for (const { flanneld } of [a, b]) assert.doesNotMatch(flanneld.log(), /unreachable/);
});

test("in two families each has a verdict of its own", async (t) => {
  await using etcd = await startEtcd();
  const config = JSON.stringify({ ...JSON.parse(VXLAN), EnableIPv6: true, IPv6Network: "fc00::/48" });
  const { a, b } = await startPair(t, etcd, config, ["--iface=eth0"], ({ run, address }) => {
    run("ip", "address", "add", `fd00:7::${address.split(".").at(-1)}/64`, "dev", "eth0", "nodad");
  });
  const verdicts = async () => (await probesOf(a.host)).map(({ family, verdict }) => `${family} ${verdict}`);
  const both = (ipv6: string) => async () => (await verdicts()).join() === `ipv4 reachable,ipv6 ${ipv6}`;
  await a.flanneld.until(both("reachable"), "both families");
  addRules(b.host, "input", "meta nfproto ipv6 udp dport 8472 drop");
  await a.flanneld.logged(/Peer .* \(IPv6\) is unreachable: .*UDP port 8472 closed or filtered/);
  await a.flanneld.until(both("one direction"), "IPv6 alone");
  removeRules(b.host);
  await a.flanneld.until(both("reachable"), "both families again");
});

test("peers of the udp backend are probed through its tunnel", async (t) => {
  await using etcd = await startEtcd();
  const config = '{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}';
  const { a, b } = await startPair(t, etcd, config);
  assert.equal((await probeOf(a.host))?.overlay.state, "up");
  addRules(b.host, "input", "udp dport 8285 drop");
  await a.flanneld.logged(/is unreachable: .*: UDP port 8285 closed or filtered/);
  removeRules(b.host);
  await a.flanneld.logged(/is reachable again/);
});

test("peers of WireGuard in this process are probed through its tunnel", async (t) => {
  await using etcd = await startEtcd();
  const config = '{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard","Implementation":"userspace"}}';
  const { a, b } = await startPair(t, etcd, config);
  assert.equal((await probeOf(a.host))?.overlay.state, "up");
  addRules(b.host, "input", "udp dport 51820 drop");
  await a.flanneld.logged(/is unreachable: .*: UDP port 51820 closed or filtered/);
  removeRules(b.host);
  await a.flanneld.logged(/is reachable again/);
});
