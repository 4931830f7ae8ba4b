/**
 * Docker hosts whose flanneld masquerades (-ip-masq), so that Docker does not: containers keep their addresses between
 * hosts, and reach the outside with the host's.
 *
 *     hub 192.168.64.1: etcd, and the outside: it has no route to 10.2.0.0/16
 *          │                     │
 *     h1 192.168.64.11      h2 192.168.64.12
 *          │                     │
 *     c1 10.2.a.2           c1 10.2.b.2
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type DockerHost, startDockerHosts } from "../support/docker-hosts.ts";
import { ping } from "../support/ping.ts";
import { Transfer } from "../support/transfer.ts";

let bed: Awaited<ReturnType<typeof startDockerHosts>>;
before(async () => {
  bed = await startDockerHosts("masq", ["-ip-masq"]);
});
after(() => bed?.[Symbol.asyncDispose]());

const directions = (): [from: DockerHost, to: DockerHost][] => {
  const [h1, h2] = bed.hosts as [DockerHost, DockerHost];
  return [
    [h1, h2],
    [h2, h1],
  ];
};

test("only flanneld masquerades", async () => {
  for (const host of bed.hosts) {
    assert.equal(host.variable("FLANNEL_IPMASQ"), "true");
    assert.ok((await host.dockerOptions()).includes("--ip-masq=false"));
    const rules = (await host.run("iptables", "-t", "nat", "-S")).split("\n");
    const masquerading = rules.filter((rule) => rule.includes("-j MASQUERADE"));
    assert.ok(masquerading.length > 0);
    assert.deepEqual(
      masquerading.filter((rule) => !rule.startsWith("-A FLANNEL-POSTRTG ")),
      [],
    );
  }
});

test("a container of another host sees the container's own address", async () => {
  for (const [from, to] of directions()) {
    const transfer = await Transfer.open(from.container, to.container, 5000);
    assert.equal(transfer.seenFrom, from.container.address);
    await transfer.send(1 << 20);
    assert.equal((await transfer.finish()).isSame, true);
  }
});

test("a container reaches the outside, which has no route to its address", async () => {
  for (const { container } of bed.hosts) {
    await assert.rejects(bed.hub.run("ip", ["route", "get", container.address]), /unreachable/);
    assert.equal(await ping(container.netns, bed.hub.address), 5);
  }
});
