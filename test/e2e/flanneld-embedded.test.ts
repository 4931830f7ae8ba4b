/**
 * A cluster without etcd: one flanneld serves the store, the other connects to it.
 *
 *     h1: eth0 192.168.9.1 ────── eth0 192.168.9.2 :h2
 *     flanneld, embedded store    flanneld
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { freshNetns } from "../netns/support.ts";
import { spawnFlanneld } from "../support/flanneld.ts";
import { FLANNELCTL } from "../support/programs.ts";

const LISTEN = "--embedded-listen=192.168.9.1:2379,127.0.0.1:2379";

test("flanneld serves the store for itself and other hosts, across restarts", async (t) => {
  const [h1, h2] = [freshNetns(t, "e1-"), freshNetns(t, "e2-")];
  h1.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", h2.name);
  for (const [index, host] of [h1, h2].entries()) {
    host.run("ip", "address", "add", `192.168.9.${index + 1}/24`, "dev", "eth0");
    host.run("ip", "link", "set", "eth0", "up");
  }
  const directory = mkdtempSync(join(tmpdir(), `flanneld-embedded-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const common = (name: string) => ["--iface=eth0", `--subnet-file=${join(directory, name)}`];
  const serve = (network: string) => [
    ...common("h1.env"),
    ...["--datastore=embedded", LISTEN, `--embedded-data-dir=${join(directory, "store")}`],
    `--network=${network}`,
  ];
  const flannelctl = (...args: string[]) => h1.run(FLANNELCTL, ...args, "--datastore=embedded", LISTEN);

  const first = spawnFlanneld(t, h1, { args: serve("10.7.0.0/16") });
  await first.logged(/flanneld is ready/, { deadlineMs: 20_000 });
  assert.match(first.log(), /Wrote the network config \{"Network":"10\.7\.0\.0\/16"/);
  assert.match(first.log(), /Every host that reaches the embedded store may change the network/);
  const other = spawnFlanneld(t, h2, {
    args: [...common("h2.env"), "--etcd-endpoints=http://192.168.9.1:2379"],
  });
  await other.logged(/flanneld is ready/, { deadlineMs: 20_000 });
  const leases = JSON.parse(flannelctl("leases", "--json"));
  assert.deepEqual(leases.map((lease: { publicIP: string }) => lease.publicIP).sort(), [
    "192.168.9.1",
    "192.168.9.2",
  ]);
  flannelctl("leases", "reserve", "10.7.200.0/24", "192.168.9.77");

  await first.stop("SIGKILL");
  const again = spawnFlanneld(t, h1, { args: serve("10.8.0.0/16") });
  await again.logged(/flanneld is ready/, { deadlineMs: 20_000 });
  assert.match(again.log(), /--network has no effect: a network config exists already/);
  const now = JSON.parse(flannelctl("leases", "--json"));
  assert.deepEqual(
    now.map((lease: { key: string }) => lease.key).sort(),
    [...leases.map((lease: { key: string }) => lease.key), "10.7.200.0-24"].sort(),
  );
  const { code, tookMs } = await again.stop("SIGTERM");
  assert.equal(code, 0);
  assert.ok(tookMs < 1000, `took ${tookMs} ms`);
});

test("two flannelds on one data directory, a foreign listen address: one line that explains it", async (t) => {
  const host = freshNetns(t, "e3-");
  const directory = mkdtempSync(join(tmpdir(), `flanneld-embedded-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const start = (listen: string) =>
    spawnFlanneld(t, host, {
      args: [
        ...["--datastore=embedded", `--embedded-data-dir=${directory}`, `--embedded-listen=${listen}`],
        `--subnet-file=${join(directory, "subnet.env")}`,
      ],
    });
  const serving = start("127.0.0.1:2379");
  await serving.logged(/No usable network config/);
  const second = start("127.0.0.1:2380");
  assert.equal((await second.exit).code, 1);
  assert.match(second.lines.at(-1)!, /^F.* another process|^F.*in use|^F.*already/);
  await serving.stop();
  const nowhere = start("192.0.2.1:2379");
  assert.equal((await nowhere.exit).code, 1);
  assert.match(nowhere.lines.at(-1)!, /^F.*192\.0\.2\.1/);
});
