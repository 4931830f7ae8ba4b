/**
 * Docker hosts as users build them: etcd, a network config written with etcdctl, and on each host flanneld, Docker
 * with the options from mk-docker-opts.sh, and a container.
 *
 *              hub 192.168.64.1: etcd
 *               ┌──────────┴──────────┐
 *        eth0 192.168.64.11    eth0 192.168.64.12
 *        h1: flanneld,         h2: flanneld,
 *            dockerd               dockerd
 *        docker0 10.2.a.1      docker0 10.2.b.1
 *          │                     │
 *        c1 10.2.a.2           c1 10.2.b.2
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type DockerHost, startDockerHosts } from "../support/docker-hosts.ts";
import { PingStream, ping } from "../support/ping.ts";
import { Transfer } from "../support/transfer.ts";

const ICMP_AND_IPV4_HEADER_BYTES = 28;
const TRANSFER_BYTES = 8 << 20;

let bed: Awaited<ReturnType<typeof startDockerHosts>>;
let h1: DockerHost;
let h2: DockerHost;
before(async () => {
  bed = await startDockerHosts("docker");
  [h1, h2] = bed.hosts as [DockerHost, DockerHost];
});
after(() => bed?.[Symbol.asyncDispose]());

const directions = (): [from: DockerHost, to: DockerHost][] => [
  [h1, h2],
  [h2, h1],
];

/** "10.2.71.1" of "10.2.71.1/24". */
const addressOf = (prefix: string): string => prefix.split("/")[0]!;

test("docker0 has FLANNEL_SUBNET, containers have FLANNEL_MTU", async () => {
  const subnets = new Set<string>();
  for (const { container, run, variable, host } of [h1, h2].map(bound)) {
    const subnet = variable("FLANNEL_SUBNET");
    subnets.add(subnet);
    assert.match(subnet, /^10\.2\.\d+\.1\/24$/);
    assert.equal(variable("FLANNEL_NETWORK"), "10.2.0.0/16");
    assert.equal(variable("FLANNEL_MTU"), "1450");
    const [docker0] = JSON.parse(await run("ip", "-json", "-4", "address", "show", "docker0"));
    assert.equal(`${docker0.addr_info[0].local}/${docker0.addr_info[0].prefixlen}`, subnet, host.name);
    assert.equal(container.address, addressOf(subnet).replace(/\.1$/, ".2"));
    const [eth0] = JSON.parse(await container.run("ip", "-json", "link", "show", "eth0"));
    assert.equal(String(eth0.mtu), variable("FLANNEL_MTU"));
  }
  assert.equal(subnets.size, 2);
});

test("Docker drops forwarded packets, flannel's rules accept those of the network", async () => {
  for (const { run } of [h1, h2].map(bound)) {
    const rules = await run("iptables", "-S", "FORWARD");
    assert.match(rules, /^-P FORWARD DROP$/m);
    assert.match(rules, /^-A FORWARD .*-j FLANNEL-FWD$/m);
  }
  // The rules of both hosts: accepting outgoing packets is not enough.
  for (const [from, to] of directions())
    assert.equal(await ping(from.container.netns, to.container.address), 5);
});

test("without flannel's rules no packet is forwarded", async () => {
  const jump = (await h2.run("iptables", "-S", "FORWARD")).match(/^-A (FORWARD .*-j FLANNEL-FWD)$/m)![1]!;
  const words = jump.match(/"[^"]*"|\S+/g)!.map((word) => word.replaceAll('"', ""));
  await h2.flanneld.stop();
  try {
    await h2.run("iptables", "-D", ...words);
    assert.equal(await ping(h1.container.netns, h2.container.address, { count: 3 }), 0);
  } finally {
    await h2.startFlanneld();
  }
  assert.equal(await ping(h1.container.netns, h2.container.address), 5);
});

test("container to container, with the container's own ping", async () => {
  for (const [from, to] of directions()) {
    const output = await from.container.exec("ping", "-c", "2", "-i", "0.1", to.container.address);
    assert.match(output, /2 packets transmitted, 2 packets received/);
  }
});

test("packets of exactly FLANNEL_MTU pass unfragmented, longer ones do not", async () => {
  for (const [from, to] of directions()) {
    const { netns } = from.container;
    const payload = Number(from.variable("FLANNEL_MTU")) - ICMP_AND_IPV4_HEADER_BYTES;
    const send = (bytes: number) =>
      ping(netns, to.container.address, { args: ["-M", "do", "-s", String(bytes)] });
    assert.equal(await send(payload), 5);
    assert.equal(await send(payload + 1), 0);
  }
});

test("container to the other host's docker0, host to container, host to host", async () => {
  for (const [from, to] of directions()) {
    const docker0 = addressOf(to.variable("FLANNEL_SUBNET"));
    assert.equal(await ping(from.container.netns, docker0), 5);
    assert.equal(await ping(from.host.netns, to.container.address), 5);
    assert.equal(await ping(from.host.netns, docker0), 5);
  }
});

test("a TCP transfer is complete", async () => {
  for (const [from, to] of directions()) {
    const transfer = await Transfer.open(from.container, to.container, 5000);
    // Docker masquerades what leaves docker0, because flanneld does not (-ip-masq).
    assert.equal(transfer.seenFrom, addressOf(from.variable("FLANNEL_SUBNET")).replace(/\.1$/, ".0"));
    await transfer.send(TRANSFER_BYTES);
    const { isSame, receivedBytes } = await transfer.finish();
    assert.deepEqual({ isSame, receivedBytes }, { isSame: true, receivedBytes: TRANSFER_BYTES });
  }
});

test("restarts of flanneld on either host lose no packet and break no connection", async () => {
  await using pings = new PingStream(h1.container.netns, h2.container.address);
  await using back = new PingStream(h2.container.netns, h1.container.address);
  const transfer = await Transfer.open(h1.container, h2.container, 5001);
  const end = new AbortController();
  const streaming = transfer.stream(end.signal);
  const everythingGoesOn = () => Promise.all([pings.more(20), back.more(20), transfer.moves()]);
  await everythingGoesOn();
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    for (const host of [h1, h2]) {
      const subnet = host.variable("FLANNEL_SUBNET");
      assert.equal(await host.flanneld.stop(signal), signal === "SIGTERM" ? 0 : "SIGKILL");
      await everythingGoesOn();
      await host.startFlanneld();
      await everythingGoesOn();
      assert.equal(host.variable("FLANNEL_SUBNET"), subnet);
    }
  }
  end.abort();
  await streaming;
  assert.equal((await transfer.finish()).isSame, true);
  for (const stream of [pings, back]) {
    const { sent, lost, repeated } = await stream.stop();
    assert.ok(sent > 180, `${sent} packets`);
    assert.deepEqual({ lost, repeated }, { lost: [], repeated: [] }, `of ${sent}`);
  }
});

test("Docker restarts with the same options, and its containers reach the others again", async () => {
  const { address } = h1.container;
  await h1.engine.stop();
  await h1.startDocker();
  assert.equal(h1.container.address, address);
  assert.match(await h1.run("iptables", "-S", "FORWARD"), /^-P FORWARD DROP$/m);
  for (const [from, to] of directions())
    assert.equal(await ping(from.container.netns, to.container.address), 5);
});

/** The parts of a host, for the cleanup. */
function bound(host: DockerHost) {
  return {
    host: host.host,
    container: host.container,
    run: host.run.bind(host),
    variable: host.variable.bind(host),
  };
}
