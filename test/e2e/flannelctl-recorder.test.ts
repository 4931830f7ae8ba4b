/** The flight recorder of a real flanneld: written on shutdown and on a crash, read and replayed by flannelctl. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { changeRecording } from "../../src/recorder/recording-file.ts";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const CRASH = "data:text/javascript,process.on('SIGHUP',()=>setImmediate(()=>{throw new Error('boom')}))";
const FLANNELD = new URL("../../src/cmd/flanneld.ts", import.meta.url).pathname;

test("a run is recorded, shown, replayed at any moment, and survives a crash", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const [host] = await makeHosts(t, etcd, 1);
  const socket = join(host!.directory, "flanneld.sock");
  const file = join(host!.directory, "recorder");
  const run = (...words: string[]) => flannelctl(host!, words);

  const none = await run("events", "--recorded", "--socket", socket);
  assert.equal(none.code, 1);
  assert.match(none.err, /recorder: there is no recording; flanneld writes it when it ends/);

  const { flanneld } = await readyFlanneld(t, host!);
  await etcd.ctl(
    "put",
    "/coreos.com/network/subnets/10.5.77.0-24",
    '{"PublicIP":"192.168.7.77","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"1e:2a:60:53:0c:5d"}}',
  );
  const hasRoute = () => host!.run("ip", "route", "show", "10.5.77.0/24").includes("flannel.1");
  await flanneld.until(hasRoute, "the route");
  host!.run("ip", "route", "del", "10.5.77.0/24");
  await flanneld.logged(/Repaired drift/);
  await etcd.ctl("del", "/coreos.com/network/subnets/10.5.77.0-24");
  await flanneld.until(() => !hasRoute(), "the route to be removed");
  // What the running flanneld has, over its socket; the same can be replayed without a file.
  const recordOf = () => run("events", "--recorded", "--socket", socket);
  const isRecorded = async () => (await recordOf()).out.includes("planned from: 1 lease gone");
  await flanneld.until(isRecorded, "the record of the departure"); // the kernel is first
  const live = await recordOf();
  assert.match(live.out, /^recorded on \S+ by flanneld v/, live.err);
  assert.match(live.out, /Z {2}inputs {5}planned from: (1 lease|2 leases) set$/m); // the own one may be among them
  assert.match(live.out, /Z {2}inputs {5}planned from: 1 lease gone$/m);
  assert.ok(!existsSync(file), "it was not from the file");
  const liveReplay = await run("replay", "--socket", socket);
  assert.equal(liveReplay.code, 0, liveReplay.out + liveReplay.err);
  assert.match(liveReplay.out, /^planning again gave the recorded desired states$/m);
  const yaml = (await run("events", "-o", "yaml", "--socket", socket)).out;
  assert.match(yaml, /^- at: .*\n {2}type: peer\n {2}message: /m);
  const listed = JSON.parse((await run("events", "-o", "json", "--socket", socket)).out);
  assert.ok(
    listed.some(({ type }: { type: string }) => type === "drift"),
    JSON.stringify(listed),
  );
  const recorded = JSON.parse((await run("events", "--recorded", "-o", "json", "--socket", socket)).out);
  assert.equal(recorded.entries[0].inputs.config.network.backend.type, "vxlan");
  for (const [words, reason] of [
    [["-o", "xml"], /-o: "xml" is not table, json or yaml/],
    [["-o", "json", "--json"], /give --json or -o, not both/],
  ] as const) {
    const refused = await run("events", ...words, "--socket", socket);
    assert.deepEqual([refused.code, refused.out], [1, ""]);
    assert.match(refused.err, reason);
  }
  const get = (...where: string[]) =>
    host!.run("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", ...where);
  assert.equal(get("--unix-socket", socket, "http://localhost/v1/recorder"), "200");
  assert.equal(get("http://127.0.0.1:7000/v1/recorder"), "404", "not where others may ask");
  assert.equal((await flanneld.stop()).code, 0);

  assert.equal(statSync(file).mode & 0o777, 0o600);
  const shown = await run("events", "--recorded", "--socket", socket);
  assert.equal(shown.code, 0, shown.err);
  assert.match(shown.out, /^recorded on \S+ by flanneld v/);
  for (const line of [
    /Z {2}lease {6}Lease 10\.5\.\d+\.0\/24 is held$/m,
    /Z {2}peer {7}Peer joined: /m,
    /Z {2}target {5}desired state: 3 objects set, 0 gone$/m,
    /Z {2}drift {6}repaired: create route 10\.5\.77\.0\/24/m,
    /Z {2}readiness {2}ready$/m,
  ])
    assert.match(shown.out, line);
  const entries = (await run("events", "--recorded", "--json", "--socket", socket)).out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

  // The replay ends as the host did, and has the peer in between.
  const end = JSON.parse((await run("replay", file, "-o", "json")).out);
  assert.deepEqual(end.problems, []);
  assert.equal(end.planning, "same");
  assert.ok(!end.state.some((line: string) => line.includes("10.5.77.0")), end.state.join("\n"));
  assert.ok(
    end.state.some((line: string) => line.startsWith("device flannel.1 vxlan")),
    end.state.join("\n"),
  );
  const drift = entries.find(({ type }) => type === "drift");
  const step = end.steps.find((each: { entry: { type: string } }) => each.entry.type === "drift");
  assert.match(step.operations.join(), /create route 10\.5\.77\.0\/24/);
  const middle = await run("replay", file, "--at", new Date(drift.atMs).toISOString());
  assert.equal(middle.code, 0, middle.err);
  assert.match(middle.out, /^state at [\s\S]*^ {4}route 10\.5\.77\.0\/24 /m);

  // A desired state that the planner does not plan is reported, as if it had a bug.
  const other = join(host!.directory, "other");
  const bug = (text: string) =>
    text.replace(/("kind":"route","destination":"10\.5\.77\.0\/24","device":")/, "$1x");
  writeFileSync(other, changeRecording(readFileSync(file, "utf8"), bug));
  const different = await run("replay", other);
  assert.equal(different.code, 1);
  assert.match(
    different.out,
    /^ {4}planned differently: route 10\.5\.77\.0\/24 .*; recorded: route 10\.5\.77/m,
  );
  assert.match(different.out, /^planning again gave other desired states than recorded/m);
  assert.equal((await run("replay", file, other)).code, 2);

  const foreign = join(host!.directory, "foreign");
  for (const [text, reason] of [
    ["hello\n", /foreign: it is no recording of flanneld/],
    [readFileSync(file, "utf8").slice(0, 500), /foreign: it is truncated/],
    [readFileSync(file, "utf8").replace("10.5.77.0/24", "10.5.78.0/24"), /foreign: it is corrupt/],
  ] as const) {
    writeFileSync(foreign, text);
    const refused = await run("replay", foreign);
    assert.deepEqual([refused.code, refused.out], [1, ""]);
    assert.match(refused.err, reason);
  }
  const wrong = await run("replay", file, "--at", "noon");
  assert.match(wrong.err, /--at "noon" is no time of this recording; it has 20/);

  const child = spawn(
    "nsenter",
    [
      ...[`--net=${host!.path}`, process.execPath, "--no-warnings", "--import", CRASH, FLANNELD],
      ...[`--etcd-endpoints=${host!.etcdEndpoint}`, `--subnet-file=${host!.subnetFile}`],
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  t.after(() => child.kill("SIGKILL"));
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log += text;
  });
  await until(() => log.includes("flanneld is ready"), "the second run");
  const before = statSync(file).ino;
  child.kill("SIGHUP");
  const [code] = await once(child, "close");
  assert.notEqual(code, 0);
  assert.match(log, /boom/);
  assert.notEqual(statSync(file).ino, before, "replaced as a whole");
  const crashed = await run("replay", file, "-o", "json");
  assert.equal(crashed.code, 0, crashed.err);
  assert.match(crashed.out, /device flannel\.1 vxlan/);
});
