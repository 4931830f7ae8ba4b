/** flannelctl on the v2 API of a real etcd: writes have no transactions there, and listings contain TTLs. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { OwnLease } from "../../src/lease/lease.ts";
import { exec, runCommand } from "../../src/linux/exec.ts";
import { startEtcd } from "../support/etcd.ts";
import { openEtcd2Store } from "../support/etcd-store.ts";
import { type Etcd2Server, startEtcd2 } from "../support/etcd2.ts";
import { TestProcess } from "../support/process.ts";
import { FLANNELCTL } from "../support/programs.ts";
import { acquireAs } from "../support/vxlan-host.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';

let etcd: Etcd2Server;
before(async () => {
  etcd = await startEtcd2();
});
after(() => etcd?.[Symbol.asyncDispose]());

const connection = () => ["--datastore=etcd2", `--etcd-endpoints=${etcd.endpoint}`];

async function good(args: readonly string[], input?: string): Promise<string> {
  const options = input === undefined ? {} : { input };
  return (await exec(FLANNELCTL, [...args, ...connection()], options)).stdout;
}

async function bad(...args: string[]): Promise<string> {
  const { code, stderr } = await runCommand(FLANNELCTL, [...args, ...connection()]);
  assert.equal(code, 1, stderr);
  return stderr;
}

/** The lease that a host with this public IP gets. */
async function join(publicIp: string): Promise<OwnLease> {
  await using host = openEtcd2Store(etcd.endpoint, { prefix: PREFIX });
  return await acquireAs(host.store, publicIp);
}

test("config, listing, watch, reservation and release on etcd v2", async () => {
  assert.match(
    await bad("config", "get"),
    /no network config at etcd \(v2\) key \/coreos\.com\/network\/config/,
  );
  assert.match(await good(["config", "set", "-"], CONFIG), /etcd \(v2\) key .* is set: 10\.5\.0\.0\/16/);
  assert.equal((await etcd.ctl2("get", `${PREFIX}/config`)).trim(), CONFIG);
  assert.equal((await good(["config", "get"])).trim(), CONFIG);
  assert.match(await good(["leases"]), /There are no leases/);

  const lease = await join("192.168.64.3");
  const subnet = lease.key.replace("-", "/");
  assert.match(
    await good(["leases"]),
    new RegExp(`^${subnet} +192\\.168\\.64\\.3 +vxlan +(23h 59m|1d 0h) +\\{"VNI":1,`, "m"),
  );
  await using watch = new TestProcess(FLANNELCTL, ["leases", "--watch", ...connection()]);
  await watch.brings("the listing", () => watch.stdout.includes("192.168.64.3"), 20_000);

  await good(["leases", "reserve", subnet, "192.168.64.3"]);
  const kept = JSON.parse(await good(["leases", "--json"]))[0];
  assert.equal(kept.reservation, true);
  assert.equal(kept.backendType, "vxlan", "the running host's data stay");
  assert.equal((await join("192.168.64.3")).expiresAtMs, undefined);

  await good(["leases", "reserve", "10.5.200.0/24", "192.168.64.4"]);
  await watch.brings(
    "the reservation",
    () => / added +10\.5\.200\.0\/24 .* never /.test(watch.stdout),
    20_000,
  );
  assert.equal((await join("192.168.64.4")).key, "10.5.200.0-24");
  assert.match(await bad("leases", "reserve", "10.5.200.0/24", "192.168.64.5"), /belongs to 192\.168\.64\.4/);

  assert.match(await bad("leases", "release", "10.5.200.0/24"), /give --yes/);
  assert.equal(await good(["leases", "release", "--yes", "10.5.200.0/24"]), "10.5.200.0/24 is released.\n");
  await watch.brings("the release", () => / removed +10\.5\.200\.0\/24 /.test(watch.stdout), 20_000);
  assert.equal(await watch.stop("SIGINT"), 0);

  await etcd.ctl2("set", `${PREFIX}/subnets/what&is this`, "junk");
  assert.match(await good(["leases"]), /^what&is this .* invalid: the key is not a subnet/m);
  await good(["leases", "release", "--yes", "what&is this"]);
  assert.equal(JSON.parse(await good(["leases", "--json"])).length, 1);
});

test("an etcd without the v2 API is reported with the remedy", async () => {
  await using plain = await startEtcd();
  const args = ["leases", "--datastore=etcd2", `--etcd-endpoints=${plain.endpoint}`];
  const { code, stderr } = await runCommand(FLANNELCTL, [...args]);
  assert.equal(code, 1);
  assert.match(stderr, /--enable-v2=true.*--datastore=etcd3/);
});
