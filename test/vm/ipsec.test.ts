/**
 * The ipsec backend on a kernel with ESP, with a charon for each host: packets between containers, what the wire carries, and
 * what happens when policies, charons and peers go away (topology: ../netns/agents.ts).
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPrefix } from "../../src/address/prefix.ts";
import { hasEsp } from "../../src/linux/esp.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { type Agent, addContainer, answers, makeCluster, makeFabric } from "../netns/agents.ts";
import { type TestNetns, waitFor } from "../netns/support.ts";
import { TestProcess } from "../support/process.ts";

const PSK = "0123456789abcdef".repeat(6);
const config = (more: object = {}) => ({ Network: "10.5.0.0/16", Backend: { Type: "ipsec", PSK, ...more } });
const SLOW_MS = 30_000;

const subnetOf = (agent: Agent): string => formatPrefix(agent.env()!.subnets!.ipv4!);
const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;
const policies = (host: TestNetns): number => count(host.run("ip", "xfrm", "policy"), /^src .*\n\tdir/gm);
/** Security associations of ESP, both directions. */
const associations = (host: TestNetns): number => count(host.run("ip", "xfrm", "state"), /^\tproto esp/gm);

test("the kernel says that it has ESP, and keeps no trace of the question", (t) => {
  const [host] = makeFabric(t, [0]);
  withNetns(host!.path, () => assert.equal(hasEsp(), true));
  assert.equal(host!.run("ip", "xfrm", "state"), "");
});

test("packets travel in ESP only, through what happens to policies, charons and peers", async (t) => {
  const [h1, h2] = makeFabric(t, [0, 1]);
  const cluster = makeCluster(t, config());
  const first = cluster.start(h1!);
  let second = cluster.start(h2!);
  for (const agent of [first, second]) await ready(agent);
  const [a, b] = [addContainer(t, h1!, first), addContainer(t, h2!, second)];
  await using wire = await captureSent(h1!);
  const reaches = (target: string) => waitFor("an answer", () => answers(a, target), SLOW_MS);
  await reaches(b.ipv4);
  assert.equal(first.env()!.mtuBytes, 1423);
  assert.ok(await answers(a, b.ipv4, 1423 - 28), "the whole MTU");
  assert.equal(policies(h1!), 3);
  assert.ok(associations(h1!) >= 2);
  const tunnel = first.tunnelTo(subnetOf(second));
  assert.equal(tunnel?.state, "established");
  assert.equal(tunnel?.association?.cipher, "AES_GCM_16-128");

  await t.test("policies that are deleted by hand are made again", async () => {
    const [own, remote] = [subnetOf(first), subnetOf(second)];
    h1!.run("ip", "xfrm", "policy", "delete", "src", own, "dst", remote, "dir", "out");
    h1!.run("ip", "xfrm", "policy", "delete", "src", remote, "dst", own, "dir", "fwd");
    await waitFor("the repair", () => policies(h1!) === 3);
    await reaches(b.ipv4);
  });

  await t.test("a charon that is killed is started again", async () => {
    process.kill(charonOf(first), "SIGKILL");
    await first.logged(/^E charon ended \(SIGKILL\); starting it again in 0\.5 s/);
    await waitFor("another charon", () => first.charonPid() !== undefined, SLOW_MS);
    await reaches(b.ipv4);
  });

  await t.test("a peer whose flanneld restarts has its tunnel again", async () => {
    await second.stop();
    second = cluster.start(h2!);
    await ready(second);
    await waitFor("a tunnel", () => second.tunnelTo(subnetOf(first))?.state === "established", SLOW_MS);
    await reaches(b.ipv4);
  });

  await t.test("nothing of a peer that left stays", async () => {
    const gone = subnetOf(second);
    await second.stop();
    cluster.data.delete(gone.replace("/", "-"));
    await waitFor("no policy", () => policies(h1!) === 0, SLOW_MS);
    // What the kernel still waits for (spi 0) expires by itself.
    const state = () => h1!.run("ip", "xfrm", "state");
    const withPeer = () => count(state(), /^src (?:\S+ dst )?192\.168\.8\.2.*\n\tproto esp spi 0x(?!0{8})/gm);
    await waitFor("no security association", () => withPeer() === 0, SLOW_MS).catch((error) => {
      throw new Error(`${error}\n${state()}\n${first.log.slice(-40).join("\n")}`);
    });
    await waitFor("no connection", () => first.tunnelTo(gone) === undefined, SLOW_MS);
  });

  await wire.stop("SIGINT");
  const sent = wire.stdout.split("\n").filter((line) => /^\d/.test(line));
  assert.ok(sent.filter((line) => /192\.168\.7\.1 > 192\.168\.[78]\.\d: ESP\(/.test(line)).length >= 5);
  assert.deepEqual(
    sent.filter(
      (line) =>
        !/: ESP\(|\.500 > .*isakmp|\.4500 > .*(?:NONESP-encap|isakmp-nat-keep-alive)|udp port \d+ unreachable/.test(
          line,
        ),
    ),
    [],
    "everything is ESP or IKE",
  );
  for (const { log } of [first, second]) assert.ok(!log.join("\n").includes(PSK));
});

test("UDPEncap: packets travel in UDP 4500 only", async (t) => {
  const [h1, h2] = makeFabric(t, [0, 1]);
  const cluster = makeCluster(t, config({ UDPEncap: true }));
  const [first, second] = [cluster.start(h1!), cluster.start(h2!)];
  for (const agent of [first, second]) await ready(agent);
  const [a, b] = [addContainer(t, h1!, first), addContainer(t, h2!, second)];
  await using wire = await captureSent(h1!);
  await waitFor("an answer", () => answers(a, b.ipv4), SLOW_MS);
  assert.equal(first.env()!.mtuBytes, 1415);
  assert.ok(await answers(a, b.ipv4, 1415 - 28), "the whole MTU");
  await wire.stop("SIGINT");
  assert.match(wire.stdout, /192\.168\.7\.1\.4500 > 192\.168\.8\.2\.4500: UDP-encap: ESP\(/);
  assert.doesNotMatch(wire.stdout, /192\.168\.8\.2: ESP\(|10\.5\./);
  await waitFor("the tunnel", () => first.tunnelTo(subnetOf(second))?.association?.isInUdp, SLOW_MS);
});

/** The emulated processor needs seconds for the key exchanges of three hosts. */
const ready = async ({ readiness }: Agent) =>
  void (await waitFor("readiness", () => readiness.reasons.length === 0, SLOW_MS));

function charonOf(agent: Agent): number {
  const pid = agent.charonPid();
  assert.ok(pid !== undefined, "it has a charon");
  return pid;
}

/** What the host sends: received packets are seen a second time without their encryption. */
async function captureSent(host: TestNetns): Promise<TestProcess> {
  const args = ["-Z", "root", "-i", "eth0", "-Q", "out", "-n", "-l", "--immediate-mode", "ip"];
  const capture = new TestProcess("tcpdump", args, { netns: host.path });
  await waitFor("tcpdump", () => capture.stderr.includes("listening on"), SLOW_MS);
  return capture;
}
