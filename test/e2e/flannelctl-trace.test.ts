/** `flannelctl trace` and `top` between two hosts and from a container, and where a packet dies. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { FLANNELCTL } from "../support/programs.ts";
import { makeContainer, makeHosts } from "../support/underlay.ts";

interface Report {
  readonly hops: readonly { readonly object: string; readonly seen: string; readonly problem?: string }[];
  readonly wayBack?: { readonly device: string; readonly state: string };
}

test("a packet is followed object by object, also a container's, to where it dies", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const [here, there] = await makeHosts(t, etcd, 2);
  const { flanneld, subnet: own, mtuBytes } = await readyFlanneld(t, here!);
  const { subnet } = await readyFlanneld(t, there!, { args: ["--status-listen=0.0.0.0:7000"] });
  const container = makeContainer(t, here!, { subnet: own, mtuBytes });
  const peer = subnet.replace(/\.1\/24$/, ".0/24");
  const socket = join(here!.directory, "flanneld.sock");
  const run = (...words: string[]) => flannelctl(here!, ["trace", ...words, "--socket", socket]);
  await flanneld.until(async () => (await run("host", peer)).code === 0, "a path to the peer");
  const trace = async (...words: string[]) => {
    const { code, out, err } = await run(...words, "-o", "json");
    assert.equal(err, "");
    const report = JSON.parse(out) as Report;
    return { code, report, objects: report.hops.map(({ object }) => object), last: report.hops.at(-1)! };
  };

  const host = await trace("host", peer);
  const path = [
    "source",
    "route",
    "device",
    "firewall",
    "neighbour",
    "fdb",
    "tunnel",
    "route",
    "device",
    "neighbour",
  ];
  assert.deepEqual(host.objects, [...path, "peer"], JSON.stringify(host.report, undefined, 1));
  assert.match(host.report.hops[6]!.seen, /flannel\.1 sends UDP port 8472 to 192\.168\.7\.2/);
  assert.match(host.last.seen, /answers in/);
  assert.deepEqual([host.report.wayBack?.device, host.report.wayBack?.state], ["flannel.1", "programmed"]);

  const target = peer.replace("0/24", "9");
  const forwarded = await trace(container.address, target);
  assert.deepEqual([forwarded.code, forwarded.objects], [0, path]);
  assert.match(forwarded.report.hops[0]!.seen, /which arrives on br0/);

  here!.run("ip", "route", "add", "blackhole", `${target}/32`);
  const blackhole = await trace("host", target);
  assert.equal(blackhole.code, 1);
  assert.match(blackhole.last.problem ?? "", /no route leads there|blackhole/);
  here!.run("ip", "route", "del", "blackhole", `${target}/32`);

  here!.run("ip", "link", "set", "eth0", "down");
  const down = await trace("host", peer);
  assert.equal(down.code, 1);
  assert.match(down.last.problem ?? "", /no route leads there|it is down|no answer|not sent/);
  here!.run("ip", "link", "set", "eth0", "up");

  const top = (...words: string[]) => flannelctl(here!, ["top", "--socket", socket, ...words]);
  const tables = await top("--count", "2");
  assert.deepEqual([tables.code, tables.err], [0, ""]);
  assert.equal(tables.out.match(/^SUBNET /gm)?.length, 2);
  const ended = await flannelctl(here!, ["top", "--socket", socket], {}, [
    "timeout",
    "--preserve-status",
    "-s",
    "INT",
    "2",
  ]);
  assert.equal(ended.code, 0, "Ctrl-C is how it ends");
  const screen = [
    "script",
    "-qec",
    `timeout --preserve-status -s INT 2 ${FLANNELCTL} top --socket ${socket}`,
    "/dev/null",
  ];
  const seen = here!.run(...(screen as [string, ...string[]]));
  assert.ok(
    seen.includes("\u001b[?1049h") && seen.trimEnd().endsWith("\u001b[?25h\u001b[?1049l"),
    "the screen is left as it was",
  );

  const table = await run("host", peer);
  assert.match(table.out, /^✓ route {6}10\.5\.\d+\.0 via 10\.5\.\d+\.0 dev flannel\.1/m);
  const wrong = await run("somewhere", peer);
  assert.equal(wrong.code, 1);
  assert.match(wrong.err, /FROM "somewhere" is no IP address; "host" is this host itself/);
});
