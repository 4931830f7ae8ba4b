/**
 * The status server of the real flanneld on three hosts, asked as operators and Prometheus ask it.
 *
 *        etcd ── h1 ── h2 ── h3        each: 127.0.0.1:7000 in its namespace, and a socket of its own
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import type { PeerDetail, PendingChange, RouteReport, Status, StatusEvent } from "../../src/status/api.ts";
import { askDaemon, readEvents } from "../../src/status/status-client.ts";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { askHealth, readyFlanneld, startFlanneld } from "../support/flanneld.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const CONFIG_KEY = "/coreos.com/network/config";
const PORT = 7000;

const socketOf = ({ directory }: TestHost): string => join(directory, "flanneld.sock");

/** The answer to a GET on the host's port 7000, with this Host header. */
function ask(host: TestHost, path: string, hostHeader = "127.0.0.1:7000"): string {
  const question = `GET ${path} HTTP/1.0\\r\\nHost: ${hostHeader}\\r\\n\\r\\n`;
  return host.run("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/${PORT} && printf '${question}' >&3 && cat <&3`);
}

/** Runs a script of Node.js in the host's namespace until the test ends; resolves with its first line. */
async function runScript(t: TestContext, host: TestHost, script: string): Promise<string> {
  const child = spawn("nsenter", [`--net=${host.path}`, process.execPath, "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error("the script ended without a line");
}

test("three hosts show themselves and each other, by port, by socket and by flannelctl", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", CONFIG_KEY, CONFIG);
  const [host, second, third] = await makeHosts(t, etcd, 3);
  const socket = socketOf(host!);

  const before = await flannelctl(host!, ["status", "--socket", socket]);
  assert.equal(before.code, 2);
  assert.match(before.err, /^flannelctl: no flanneld answers at .*flanneld\.sock; start flanneld/);

  // What probes measure changes between two answers.
  const { flanneld, subnet } = await readyFlanneld(t, host!, { args: ["--probe-interval=off"] });
  const peers = [await readyFlanneld(t, second!), await readyFlanneld(t, third!)];
  const routes = () => askDaemon<RouteReport[]>(socket, "/v1/routes");
  await flanneld.logged(/Status server on 127\.0\.0\.1 port 7000$/);
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  await flanneld.until(
    async () => (await routes()).filter(({ state }) => state === "programmed").length === 2,
    "both peers' routes",
  );

  const state = await askDaemon<Status>(socket, "/v1/status");
  assert.deepEqual([state.isReady, state.backend, state.peers, state.mtuBytes], [true, "vxlan", 2, 1450]);
  assert.deepEqual(state.externalInterface, { name: "eth0", mtuBytes: 1500, addresses: [host!.address] });
  assert.deepEqual(state.lease?.subnets, [subnet.replace(/\.1\/24$/, ".0/24")]);
  const left = Date.parse(state.lease!.expiresAt!) - Date.now();
  assert.ok(left > 23.9 * 3_600_000 && left <= 24 * 3_600_000, `${left} ms`);

  const expected = peers.map((peer, index) => {
    const base = peer.subnet.replace(/\.1\/24$/, ".0");
    return `${base}/24 via ${base} dev flannel.1 to ${[second, third][index]!.address} programmed`;
  });
  const shown = (await routes()).map(
    (r) => `${r.subnet} via ${r.via} dev ${r.device} to ${r.publicIp} ${r.state}`,
  );
  assert.deepEqual(shown.sort(), expected.sort());
  for (const { subnet: destination } of await routes())
    assert.match(host!.run("ip", "route", "show", destination), /dev flannel\.1 proto 70/);
  assert.equal(
    (await askHealth(host!, PORT, "/v1/routes"))?.body,
    `${JSON.stringify(await routes()).replaceAll("},{", "},\n{")}\n`,
  );

  const detail = await askDaemon<PeerDetail>(
    socket,
    `/v1/peers/${encodeURIComponent((await routes())[0]!.subnet)}`,
  );
  assert.deepEqual(
    detail.objects.map(({ kind, state }) => `${kind} ${state}`),
    ["fdb programmed", "neighbour programmed", "route programmed"],
  );
  const plan = () => askDaemon<PendingChange[]>(socket, "/v1/plan");
  await until(async () => (await plan()).length === 0, "an empty plan");

  const healthy = await flannelctl(host!, ["status", "--socket", socket]);
  assert.deepEqual([healthy.code, healthy.err], [0, ""]);
  assert.match(healthy.out, /^state +ready$/m);

  const metrics = (await askHealth(host!, PORT, "/metrics"))!.body;
  // Exit code 3 and lines on stderr for whatever breaks Prometheus' conventions.
  assert.equal(execFileSync("promtool", ["check", "metrics"], { input: metrics, encoding: "utf8" }), "");
  for (const sample of [
    /^flannel_build_info\{version="v[\d.]+",node_version="v26\.[\d.]+"(,revision="[0-9a-f]{12}(-dirty)?")?\} 1$/m,
    /^flannel_ready 1$/m,
    /^flannel_peers 2$/m,
    /^flannel_peer_problems 0$/m,
    /^flannel_kernel_operations_total\{kind="route",action="create",result="success"\} 2$/m,
    /^flannel_reconcile_duration_seconds_count [1-9]\d*$/m,
    /^flannel_datastore_requests_total\{operation="acquire_lease",result="success"\} 1$/m,
    /^flannel_datastore_request_duration_seconds_count\{operation="read_config"\} [1-9]\d*$/m,
    /^flannel_lease_expiry_timestamp_seconds \d+(?:\.\d+)?$/m,
    /^process_resident_memory_bytes \d+$/m,
  ])
    assert.match(metrics, sample);

  // A peer that leaves: seen as an event, and gone from the routes.
  const stop = new AbortController();
  const events: StatusEvent[] = [];
  const reading = (async () => {
    for await (const event of readEvents(socket, { isFollowing: true, signal: stop.signal }))
      events.push(event as StatusEvent);
  })();
  await until(() => events.some(({ message }) => message === "ready"), "the events so far");
  await peers[1]!.flanneld.stop();
  const gone = peers[1]!.subnet.replace(/\.1\/24$/, ".0-24");
  await etcd.ctl("del", `/coreos.com/network/subnets/${gone}`);
  await until(
    () => events.some(({ key, message }) => key === gone && message.startsWith("Peer left: ")),
    "the departure",
  );
  await until(async () => (await routes()).length === 1, "the route to be gone");
  assert.match(ask(host!, "/metrics"), /^flannel_peers 1$/m);

  // A deleted route: drift with its cause, and in the metrics.
  host!.run("ip", "route", "del", (await routes())[0]!.subnet);
  await until(() => events.some(({ type }) => type === "drift"), "the drift");
  const drift = await flannelctl(host!, ["drift", "--socket", socket]);
  assert.match(drift.out, /route 10\.5\.\d+\.0\/24 .*\(missing\)$/m);
  assert.match(ask(host!, "/metrics"), /^flannel_drift_repairs_total\{kind="route",by="\w+"\} 1$/m);
  stop.abort();
  await reading;
  const listed = await flannelctl(host!, ["events", "--socket", socket]);
  assert.match(listed.out, /^\S+Z {2}peer {7}Peer left: /m);

  // A peer whose lease is unusable is a problem.
  await etcd.ctl(
    "put",
    "/coreos.com/network/subnets/10.5.77.0-24",
    '{"PublicIP":"192.168.7.77","BackendType":"vxlan"}',
  );
  await until(async () => (await routes()).length === 2, "the peer");
  const ill = await flannelctl(host!, ["status", "--socket", socket, "-o", "json"]);
  assert.equal(ill.code, 1);
  const bad = (JSON.parse(ill.out).routes as RouteReport[]).find(
    ({ subnet: each }) => each === "10.5.77.0/24",
  );
  assert.deepEqual([bad?.state, bad?.reason], ["refused", "it has no BackendData"]);

  // What the kernel refuses is pending, with its answer.
  host!.run("ip", "link", "set", "flannel.1", "name", "renamed");
  host!.run("ip", "link", "add", "flannel.1", "type", "bridge");
  await until(async () => (await plan()).some(({ action }) => action === "blocked"), "the foreign device");
  assert.match((await plan())[0]!.reason!, /^device flannel\.1 exists and is not flannel's/);

  await flanneld.stop();
  assert.equal((await flannelctl(host!, ["status", "--socket", socket])).code, 2);
});

test("strangers, crowds and a port in use do no harm", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", CONFIG_KEY, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  const { flanneld } = await readyFlanneld(t, host!);
  await flanneld.logged(/Status server on 127\.0\.0\.1 port 7000$/);
  const socket = socketOf(host!);

  assert.match(ask(host!, "/v1/status"), /^HTTP\/1\.1 200 /);
  assert.match(ask(host!, "/v1/status", "rebound.example"), /^HTTP\/1\.1 403 /);
  for (const path of [
    "/../../etc/passwd",
    "/v1/../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "//etc/passwd",
  ])
    assert.match(ask(host!, path.replaceAll("%", "%%")), /^HTTP\/1\.1 404 /, path);

  // 1,000 connections that say nothing.
  const idle = `const { connect } = require("node:net");
    let open = 0, done = 0;
    const settle = () => { if (++done === 1000) console.log(open); };
    for (let n = 0; n < 1000; n++) {
      const socket = connect(${PORT}, "127.0.0.1");
      let isSettled = false;
      const once = (isOpen) => { if (!isSettled) { isSettled = true; open += isOpen; settle(); } };
      socket.on("error", () => {}).on("close", () => once(0)).resume();
      socket.once("connect", () => setTimeout(() => once(1), 1500));
    }
    setInterval(() => {}, 1000);`;
  const opened = Number(await runScript(t, host!, idle));
  assert.ok(opened <= 256, `${opened} of 1,000 connections stayed open`);
  assert.ok(readdirSync(`/proc/${flanneld.pid}/fd`).length < 400);
  assert.equal(
    (await askDaemon<Status>(socket, "/v1/status")).isReady,
    true,
    "the socket is served meanwhile",
  );
  await until(
    async () => (await askHealth(host!, PORT, "/v1/status"))?.status === 200,
    "the port again",
    20_000,
  );

  // Another flanneld in the same namespace finds the port taken and works without it.
  await etcd.ctl(
    "put",
    "/other/config",
    '{"Network":"10.9.0.0/16","Backend":{"Type":"vxlan","VNI":9,"Port":8473}}',
  );
  const other = startFlanneld(t, host!, {
    args: ["--etcd-prefix=/other", `--subnet-file=${join(host!.directory, "other.env")}`],
  });
  await other.logged(
    /^W.*Status server not started on 127\.0\.0\.1 port 7000; retrying: the port is in use; choose another --status-listen, or off$/,
  );
  await other.logged(/flanneld is ready/);
  const otherStatus = await askDaemon<Status>(join(host!.directory, "other.sock"), "/v1/status");
  assert.deepEqual(otherStatus.networks, ["10.9.0.0/16"]);
  assert.deepEqual((await askDaemon<Status>(socket, "/v1/status")).networks, ["10.5.0.0/16"]);

  // The socket file of a killed one is replaced.
  await flanneld.stop("SIGKILL");
  const again = startFlanneld(t, host!, { args: ["--status-listen=off"] });
  await again.logged(/flanneld is ready/);
  await again.until(
    async () => (await askDaemon<Status>(socket, "/v1/status").catch(() => undefined))?.isReady === true,
    "the socket",
  );
  assert.equal(await askHealth(host!, PORT, "/v1/status"), undefined);
});
