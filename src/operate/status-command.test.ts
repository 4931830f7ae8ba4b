import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parse } from "yaml";
import { until } from "../../test/support/until.ts";
import type { RouteReport, Status } from "../status/api.ts";
import { EventLog } from "../status/event-log.ts";
import { StatusServer } from "../status/status-server.ts";
import { listenOnSocket } from "../status/unix-socket.ts";
import { driftCommand, eventsCommand } from "./daemon-history.ts";
import { statusCommand } from "./status-command.ts";

const STATUS: Status = {
  ...{ version: "v1", host: "h1", startedAt: "2026-01-01T00:00:00.000Z", isReady: true, notReadyReasons: [] },
  ...{ notes: [], datastore: "etcd key /x", networks: ["10.5.0.0/16"], backend: "vxlan", mtuBytes: 1450 },
  externalInterface: { name: "eth0", mtuBytes: 1500, addresses: ["192.168.7.1"] },
  lease: { key: "10.5.1.0-24", subnets: ["10.5.1.0/24"], publicIps: ["192.168.7.1"], backend: "vxlan" },
  ...{ peers: 2, peerProblems: 0, kernel: { objects: 8, failures: 0, passes: 3, repairs: 0 } },
};
const ROUTE: RouteReport = {
  ...{ subnet: "10.5.2.0/24", peer: "10.5.2.0-24", publicIp: "192.168.7.2", backend: "vxlan" },
  ...{ via: "10.5.2.0", device: "flannel.1", state: "programmed" },
};
const BAD: RouteReport = { ...ROUTE, subnet: "10.5.3.0/24", state: "failed", reason: "no \u001b[31mway" };

async function serve(
  t: TestContext,
  routes: readonly RouteReport[] | undefined,
  status: Partial<Status> = {},
) {
  const directory = mkdtempSync(join(tmpdir(), "flannel-status-"));
  const socket = join(directory, "flanneld.sock");
  const events = new EventLog("run");
  const server = await StatusServer.start(
    {
      ...{ version: "v1", events, status: () => ({ ...STATUS, ...status }), lease: () => STATUS.lease },
      ...{ routes: () => routes, peers: () => [], metrics: () => [] },
      peer: () => "absent",
      path: () => "absent",
      plan: () => [],
      drift: () => ({
        counts: { route: 1 },
        entries: [
          {
            at: "2026-01-01T00:00:00.000Z",
            kind: "route",
            what: "route 10.5.2.0/24 (missing)",
            tookMs: 0.42,
            by: "ip (pid 7)",
          },
        ],
      }),
    },
    (http) => listenOnSocket(http, socket),
  );
  t.after(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });
  return { socket, events, server };
}

type Commands = ReturnType<typeof statusCommand>;

async function run(command: Commands, ...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const context = {
    program: "flannelctl",
    print: (line: string) => void out.push(line),
    printError: (line: string) => void err.push(line),
  };
  const code = await command.run(args, context, "flannelctl status");
  return { code, out: out.join("\n"), err: err.join("\n") };
}

test("a healthy host is 0, with its state and its routes", async (t) => {
  const { socket } = await serve(t, [ROUTE]);
  const { code, out } = await run(statusCommand({ hasColours: false }), "--socket", socket);
  assert.equal(code, 0);
  assert.match(out, /^state +ready$/m);
  assert.match(out, /^lease +10\.5\.1\.0\/24 at 192\.168\.7\.1, does not expire$/m);
  assert.match(out, /^10\.5\.2\.0\/24 +192\.168\.7\.2 +vxlan +10\.5\.2\.0 +flannel\.1 +programmed$/m);
});

test("problems are 1 and come first, and what peers write is shown harmlessly", async (t) => {
  const { socket } = await serve(t, [ROUTE, BAD]);
  const { code, out } = await run(statusCommand({ hasColours: false }), "--socket", socket);
  assert.equal(code, 1);
  assert.ok(out.indexOf("10.5.3.0/24") < out.indexOf("10.5.2.0/24"));
  assert.match(out, /failed +no \\x1b\[31mway$/m);
});

test("a host that is not ready is 1 with the reasons, also before the leases are known", async (t) => {
  const { socket } = await serve(t, undefined, { isReady: false, notReadyReasons: ["lease: no lease yet"] });
  const { code, out } = await run(statusCommand({ hasColours: false }), "--socket", socket);
  assert.equal(code, 1);
  assert.match(out, /^problem +lease: no lease yet$/m);
});

test("JSON and YAML say the same, and other formats are refused", async (t) => {
  const { socket } = await serve(t, [ROUTE, BAD]);
  const json = await run(statusCommand({ hasColours: false }), "-o", "json", "--socket", socket);
  const yaml = await run(statusCommand({ hasColours: false }), "-o=yaml", "--socket", socket);
  assert.deepEqual(JSON.parse(json.out), { ...STATUS, routes: [ROUTE, BAD] });
  assert.deepEqual(parse(yaml.out), { ...STATUS, routes: [ROUTE, BAD] });
  assert.ok(!yaml.out.includes("\u001b"));
  await assert.rejects(
    run(statusCommand({ hasColours: false }), "-o", "xml", "--socket", socket),
    /"xml" is not table, json or yaml/,
  );
});

test("without flanneld the exit code is 2 and the message says what to do", async (t) => {
  const { socket, server } = await serve(t, []);
  await server[Symbol.asyncDispose]();
  for (const command of [
    statusCommand({ hasColours: false }),
    driftCommand(),
    eventsCommand({ untilInterrupted: () => new AbortController().signal, readFile: () => undefined }),
  ]) {
    const { code, err } = await run(command, "--socket", socket);
    assert.equal(code, 2);
    assert.ok(
      err.includes(`no flanneld answers at ${socket}; start flanneld, or name its socket with --socket`),
      err,
    );
  }
});

test("drift in a table, and as JSON", async (t) => {
  const { socket } = await serve(t, []);
  const { code, out } = await run(driftCommand(), "--socket", socket);
  assert.equal(code, 0);
  assert.match(out, /route +0\.4 ms +ip \(pid 7\) +route 10\.5\.2\.0\/24 \(missing\)$/m);
  assert.match(out, /^since startup: 1 route$/m);
  assert.equal(JSON.parse((await run(driftCommand(), "-o=json", "--socket", socket)).out).counts.route, 1);
});

test("events: those that are kept, and with --follow those that happen", async (t) => {
  const { socket, events } = await serve(t, []);
  const record = (message: string) =>
    events.record({ at: "2026-01-01T00:00:00.000Z", type: "peer", message });
  record("Peer joined");
  const stop = new AbortController();
  const command = eventsCommand({ untilInterrupted: () => stop.signal, readFile: () => undefined });
  assert.equal(
    (await run(command, "--socket", socket)).out,
    "2026-01-01T00:00:00.000Z  peer       Peer joined",
  );
  const lines: string[] = [];
  const context = { program: "flannelctl", print: (line: string) => void lines.push(line), printError() {} };
  const following = command.run(["--follow", "--json", "--socket", socket], context, "events");
  await until(() => lines.length === 1, "the first event");
  record("Peer left\u001b");
  await until(() => lines.length === 2, "the second event");
  assert.equal(JSON.parse(lines[1]!).message, "Peer left\u001b");
  assert.ok(!lines[1]!.includes("\u001b"));
  stop.abort();
  assert.equal(await following, 0);
});
