/** etcdctl 3.4 on the embedded store: the same commands on a real etcd print the same. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { type RunningStore, startEmbedded } from "../support/embedded.ts";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { until } from "../support/until.ts";

let etcd: EtcdServer;
let embedded: RunningStore;
before(async () => {
  etcd = await startEtcd();
  embedded = await startEmbedded();
});
after(async () => {
  await embedded?.[Symbol.asyncDispose]();
  await etcd?.[Symbol.asyncDispose]();
});

function start(endpoint: string, args: readonly string[]): ChildProcess {
  const environment = { ...process.env, ETCDCTL_API: "3" };
  return spawn("etcdctl", ["--endpoints", endpoint, ...args], { env: environment });
}

/** What was printed on both outputs, without etcdctl's own log. */
async function run(endpoint: string, args: readonly string[], input = ""): Promise<string> {
  const child = start(endpoint, args);
  child.stdin!.on("error", () => {}); // EPIPE: most commands end without reading it
  child.stdin!.end(input);
  const [out, errors] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  const ownLines = errors.split("\n").filter((line) => !line.startsWith("{"));
  return out + ownLines.join("\n");
}

/** Without what differs from one server to another. */
const plain = (output: string): string =>
  output
    .replace(/"(cluster_id|member_id|raft_term|ID|lease|id)":\d+/g, '"$1":X')
    .replace(/"(ClusterID|MemberID|RaftTerm|Lease)" : \d+/g, '"$1" : X')
    .replace(/\b[0-9a-f]{16}\b/g, "ID")
    .replace(/remaining\(\d+s\)/g, "remaining(…)")
    .replaceAll(etcd.endpoint, "ENDPOINT")
    .replaceAll(embedded.endpoint, "ENDPOINT")
    .replace(/took = [^\s]+/g, "took");

async function same(args: readonly string[], input?: string): Promise<string> {
  const outputs = await Promise.all([etcd, embedded].map(({ endpoint }) => run(endpoint, args, input)));
  assert.equal(plain(outputs[1]!), plain(outputs[0]!), `etcdctl ${args.join(" ")}`);
  return outputs[1]!;
}

test("put, get, del: the same output in every form", async () => {
  for (const key of ["a", "ab", "b", "c"]) await same(["put", key, `value of ${key}`]);
  await same(["put", "b", "again", "--prev-kv"]);
  await same(["put", "b", "", "--ignore-lease"]);
  await same(["put", "nothing", "--ignore-value"]);
  for (const args of [
    ["a"],
    ["a", "--prefix"],
    ["", "--prefix"],
    ["a", "c"],
    ["b", "--from-key"],
    ["", "--prefix", "--limit", "2"],
    ["", "--prefix", "--keys-only"],
    ["", "--prefix", "--count-only", "--write-out", "fields"],
    ["", "--prefix", "--order", "DESCEND", "--sort-by", "MODIFY"],
    ["", "--prefix", "--order", "ASCEND", "--sort-by", "VALUE"],
    ["b", "--rev", "4"],
    ["b", "--rev", "99"],
    ["", "--prefix", "--write-out", "json"],
    ["", "--prefix", "--write-out", "fields"],
    ["a", "--print-value-only"],
    ["a", "--consistency", "s"],
  ]) {
    await same(["get", ...args]);
  }
  assert.match(await same(["del", "a", "--prefix", "--prev-kv"]), /^2\n/);
  await same(["del", "nothing"]);
  await same(["get", "", "--prefix", "--write-out", "json"]);
});

test("txn: both branches, and an invalid request", async () => {
  const compares = 'mod("c") > "0"\nvalue("c") = "value of c"\nver("c") < "9"\n';
  assert.match(await same(["txn", "-i"], `${compares}\nput d 1\nget c\ndel b\n\nput e 1\n\n`), /SUCCESS/);
  assert.match(await same(["txn", "-i"], 'create("none") > "0"\n\nput x 1\n\nget d\n\n'), /FAILURE/);
  assert.match(await same(["txn", "-i"], "\nput d 1\nput d 2\n\n\n"), /duplicate key/);
});

test("leases: grant, list, keep-alive, time to live, revoke", async () => {
  const ids = await Promise.all(
    [etcd, embedded].map(async ({ endpoint }) => {
      const granted = await run(endpoint, ["lease", "grant", "100"]);
      assert.match(granted, /granted with TTL\(100s\)/);
      return granted.split(" ")[1]!;
    }),
  );
  const both = async (args: (id: string) => string[]) => {
    const outputs = await Promise.all(
      [etcd, embedded].map((each, index) => run(each.endpoint, args(ids[index]!))),
    );
    assert.equal(plain(outputs[1]!), plain(outputs[0]!));
    return outputs[1]!;
  };
  await both((id) => ["put", "leased", "1", "--lease", id]);
  await both(() => ["get", "leased", "--write-out", "fields"]);
  assert.match(await both((id) => ["lease", "timetolive", id, "--keys"]), /attached keys\(\[leased\]\)/);
  assert.match(await both(() => ["lease", "list"]), /found 1 leases/);
  assert.match(await both((id) => ["lease", "keep-alive", "--once", id]), /keepalived with TTL\(100\)/);
  await both((id) => ["lease", "revoke", id]);
  await both((id) => ["lease", "timetolive", id]);
  await both((id) => ["lease", "keep-alive", id]);
  assert.match(await both((id) => ["lease", "revoke", id]), /requested lease not found/);
  assert.equal(await both(() => ["get", "leased"]), "");
  await same(["put", "x", "1", "--lease", "123"]);
});

test("watch: a prefix, from a revision, with previous values; a compacted revision", async () => {
  const outputs = await Promise.all(
    [etcd, embedded].map(async ({ endpoint }) => {
      const child = start(endpoint, ["watch", "w", "--prefix", "--rev", "2", "--prev-kv"]);
      let output = "";
      child.stdout!.on("data", (data) => {
        output += data;
      });
      await run(endpoint, ["put", "w1", "one"]);
      await run(endpoint, ["put", "w1", "two"]);
      await run(endpoint, ["del", "w1"]);
      await run(endpoint, ["put", "w-last", "end"]);
      await until(() => output.includes("end"), `events from ${endpoint}`);
      child.kill("SIGTERM");
      await once(child, "close");
      return output;
    }),
  );
  assert.equal(outputs[1], outputs[0]);
  assert.match(outputs[1]!, /DELETE\nw1\ntwo\nw1/);
  await same(["compaction", "8"]);
  await same(["compaction", "8"]);
  await same(["compaction", "9999"]);
  await same(["get", "a", "--rev", "3"]);
  await same(["watch", "w", "--prefix", "--rev", "2"]);
});

test("endpoint health and status, members, alarms", async () => {
  const ask = (...args: string[]) => run(embedded.endpoint, args);
  assert.match(await same(["endpoint", "health"]), /is healthy/);
  for (const endpoint of [embedded.endpoint, new URL(embedded.endpoint).host]) {
    assert.match(
      await run(endpoint, ["endpoint", "status"]),
      /, 3\.4\.0\+flannel-embedded, \d+ kB, true, false, 1, \d+, \d+, $/m,
    );
  }
  assert.match(
    await ask("member", "list"),
    /, started, flannel-embedded, , http:\/\/127\.0\.0\.1:\d+, false/,
  );
  assert.equal(await same(["alarm", "list"]), "");
});

test("F14 every command for endpoints, in every form of an endpoint", async () => {
  const { host, port } = new URL(embedded.endpoint);
  const forms = [
    `http://${host}`,
    host,
    `http://localhost:${port}`,
    `localhost:${port}`,
    `http://${host},localhost:${port}`,
  ];
  for (const form of forms) {
    const statuses = await run(form, ["endpoint", "status"]);
    assert.equal(statuses.match(/, 3\.4\.0\+flannel-embedded, /g)?.length, form.split(",").length, statuses);
    assert.match(await run(form, ["endpoint", "health"]), /is healthy/);
    assert.match(await run(form, ["endpoint", "status", "--write-out", "table"]), /flannel-embedded/);
    assert.match(
      await run(form, ["endpoint", "status", "--cluster", "--write-out", "json"]),
      /flannel-embedded/,
    );
    assert.match(await run(form, ["member", "list"]), /flannel-embedded/);
    assert.match(await run(form, ["put", "form", form]), /OK/);
    assert.match(await run(form, ["get", "form", "--write-out", "simple"]), /form/);
    assert.equal(await run(form, ["alarm", "list"]), "");
    assert.equal(await run(form, ["alarm", "disarm"]), "");
    assert.doesNotMatch(await run(form, ["endpoint", "hashkv"]), /PROTOCOL_ERROR/);
    assert.doesNotMatch(await run(form, ["defrag"]), /PROTOCOL_ERROR/);
  }
});

test("F14 the documented commands, as they are documented", async () => {
  const config = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
  const ctl = (...args: string[]) => run(embedded.endpoint, args);
  assert.equal(await ctl("put", "/coreos.com/network/config", config), "OK\n");
  assert.equal(
    await ctl("get", "--prefix", "/coreos.com/network"),
    `/coreos.com/network/config\n${config}\n`,
  );
  const { revision } = embedded.store;
  assert.equal(await ctl("compact", String(revision)), `compacted revision ${revision}\n`);
  assert.equal(await ctl("del", "/coreos.com/network/config"), "1\n");
});

test("missing methods are answered Unimplemented, users as by an etcd without authentication", async () => {
  const ask = (...args: string[]) => run(embedded.endpoint, args);
  for (const args of [
    ["user", "list"],
    ["defrag"],
    ["snapshot", "save", "/dev/null/no"],
    ["move-leader", "1"],
  ]) {
    const said = await ask(...args);
    assert.doesNotMatch(said, /\bOK\b|^$/, args.join(" "));
  }
  assert.match(await ask("user", "list"), /Unimplemented.*does not implement \/etcdserverpb\.Auth\/UserList/);
  await same(["get", "c", "--user", "root:secret"]);
});

test("F22 a server that stops while etcdctl is connected throws nothing", async () => {
  for (let round = 0; round < 20; round++) {
    const stopping = await startEmbedded();
    const children = [
      ["watch", "a", "--prefix"],
      ["endpoint", "status"],
      ["endpoint", "status", "--cluster"],
      ["get", "a"],
    ].map((args) => start(stopping.endpoint, args));
    await once(children.at(-1)!, "exit");
    await stopping[Symbol.asyncDispose]();
    for (const child of children) child.kill("SIGKILL");
  }
});
