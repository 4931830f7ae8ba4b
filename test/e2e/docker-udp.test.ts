/**
 * The users' scenario (docker.test.ts) on the udp backend: where VXLAN is unavailable.
 *
 *     c1 ── docker0 ── flannel0 ── flanneld ══ UDP 8285 ══ flanneld ── flannel0 ── docker0 ── c1
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type DockerHost, startDockerHosts } from "../support/docker-hosts.ts";
import { ping } from "../support/ping.ts";
import { Transfer } from "../support/transfer.ts";

const HEADER_BYTES = 28;

test("two Docker hosts on the udp backend: pings of every size, TCP both ways, after a restart too", async () => {
  await using bed = await startDockerHosts("dudp", [], 2, "udp");
  const [h1, h2] = bed.hosts as [DockerHost, DockerHost];
  const talk = async () => {
    for (const [from, to] of [
      [h1, h2],
      [h2, h1],
    ] as const) {
      const full = String(1472 - HEADER_BYTES);
      for (const size of ["56", full]) {
        const args = ["-M", "do", "-s", size];
        assert.equal(await ping(from.container.netns, to.container.address, { args }), 5, `${size} bytes`);
      }
      const transfer = await Transfer.open(from.container, to.container, 5000);
      await transfer.send(4 << 20);
      const { isSame } = await transfer.finish();
      assert.ok(isSame);
    }
  };
  assert.equal(h1.variable("FLANNEL_MTU"), "1472");
  await talk();
  assert.equal(await h1.flanneld.stop(), 0);
  await h1.startFlanneld();
  await talk();
});
