/** The executable that runs on nodes: what can go wrong only in it, and the same files as of Go's plugin. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { hasCode } from "../../src/base/error.ts";
import vectors from "../../src/cni/vectors.json" with { type: "json" };
import { CNI_EXECUTABLE, CNI_PROGRAMS } from "../support/cni-programs.ts";
import { TestProcess } from "../support/process.ts";
import { until } from "../support/until.ts";

const MAX_SIZE_MB = 5;
const ENV =
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
const DELEGATE =
  '#!/bin/sh\ncat >/dev/null\nenv >"$DIRECTORY/environment"\necho \'{"ips":[{"address":"10.5.72.2/24"}]}\'\n';

/** All that the vectors name. */
const DELEGATE_TYPES = new Set(vectors.map(({ stored }) => (JSON.parse(stored) as { type: string }).type));

function makeBed(t: TestContext, env = ENV) {
  const root = mkdtempSync(join(tmpdir(), `cni-engine-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, "plugins"));
  writeFileSync(join(root, "subnet.env"), env);
  for (const type of DELEGATE_TYPES) writeFileSync(join(root, "plugins", type), DELEGATE, { mode: 0o755 });
  const places = { subnetFile: join(root, "subnet.env"), dataDir: join(root, "data") };
  const variables = {
    PATH: process.env.PATH,
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "4f2a",
    CNI_NETNS: "/run/netns/none",
    CNI_IFNAME: "eth0",
    CNI_PATH: join(root, "plugins"),
    CNI_ARGS: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0",
    DIRECTORY: root,
  };
  return {
    root,
    places,
    run(input: string | Buffer, program = CNI_EXECUTABLE, args: readonly string[] = []) {
      const { status, signal, stdout, stderr } = spawnSync(program, args, {
        input,
        env: variables,
        timeout: 60_000,
      });
      return { end: status ?? signal, stdout: String(stdout), stderr: String(stderr) };
    },
    stored: () => readFileSync(join(root, "data/4f2a"), "utf8"),
  };
}

test("one static file of a few megabytes: it runs where there is nothing else", (t) => {
  assert.ok(statSync(CNI_EXECUTABLE).size < MAX_SIZE_MB * 1e6, `${statSync(CNI_EXECUTABLE).size} bytes`);
  const { root } = makeBed(t);
  const host = join(root, "host");
  mkdirSync(host);
  copyFileSync(CNI_EXECUTABLE, join(host, "flannel"));
  const { stdout } = spawnSync("chroot", [host, "/flannel"], {
    env: { PATH: process.env.PATH, CNI_COMMAND: "VERSION" },
    input: '{"cniVersion":"0.4.0"}',
    encoding: "utf8",
  });
  assert.equal(JSON.parse(stdout).cniVersion, "0.4.0");
});

for (const { name, directory } of CNI_PROGRAMS) {
  for (const vector of vectors) {
    test(`${name}: stores what Go's plugin stores (${vector.name})`, (t) => {
      const bed = makeBed(t, vector.subnetEnv);
      const { end, stdout } = bed.run(
        JSON.stringify({ ...vector.config, ...bed.places }),
        join(directory, "flannel"),
      );
      assert.equal(end, 0, stdout);
      assert.equal(bed.stored(), vector.stored);
    });
  }

  test(`${name}: half of a surrogate pair in the config is stored as U+FFFD`, (t) => {
    const bed = makeBed(t);
    const config = JSON.stringify({ name: "n", ...bed.places, delegate: { note: "x" } });
    const { end } = bed.run(config.replace('"x"', '"\\ud800x"'), join(directory, "flannel"));
    assert.equal(end, 0);
    assert.match(bed.stored(), /"note":"(?:\uFFFD|\\ud800)x"/);
  });
}

test("variables that are not UTF-8 reach the delegate as they are", (t) => {
  const bed = makeBed(t);
  const script = 'CNI_ARGS=$(printf "A=\\377\\376") OTHER=é exec "$0"';
  const config = JSON.stringify({ name: "n", cniVersion: "1.0.0", ...bed.places });
  const { end, stdout } = bed.run(config, "sh", ["-c", script, CNI_EXECUTABLE]);
  assert.deepEqual([end, stdout.includes('"1.0.0"')], [0, true]);
  const environment = readFileSync(join(bed.root, "environment"), "latin1").split("\n");
  assert.ok(environment.includes("CNI_ARGS=A=\u00ff\u00fe"));
  assert.ok(environment.includes("OTHER=\u00c3\u00a9"));
});

for (const [title, item, fault] of [
  ["millions of objects", "{},", /^cannot read the network config on standard input: out of memory$/],
  ["millions of levels", "[", /^cannot read the network config on standard input: Maximum call stack size/],
] as const) {
  test(`the largest input, ${title}: an error object instead of unbounded memory`, (t) => {
    const bed = makeBed(t);
    const bytes = 16 * 1024 * 1024 - 1024;
    const { end, stdout, stderr } = bed.run(`{"name":"n","delegate":[${item.repeat(bytes / item.length)}0]}`);
    assert.deepEqual([end, stderr], [1, ""]);
    const { code, msg } = JSON.parse(stdout);
    assert.equal(code, 6);
    assert.match(msg, fault);
    assert.ok(!readdirSync(bed.root).includes("data"));
  });
}

test("a flanneld that accepts no connection any more is waited for as long as one that does not answer", async (t) => {
  const bed = makeBed(t);
  const path = join(bed.root, "policy.sock");
  const code =
    'require("net").createServer().listen({ path: process.argv[1], backlog: 1 }, () => console.log("ready"))';
  await using stopped = new TestProcess(process.execPath, ["-e", code, path]);
  await stopped.brings("its socket", () => stopped.stdout.includes("ready"), 20_000);
  stopped.signal("SIGSTOP");
  const isFull = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(path, () => resolve(false)).on("error", (error) =>
        resolve(hasCode(error, "EAGAIN")),
      );
      t.after(() => void socket.destroy());
    });
  await until(isFull, "a full queue of connections", 20_000);
  const config = { name: "n", cniVersion: "1.0.0", ...bed.places, failClosed: true, policySocket: path };
  const { end, stdout } = bed.run(JSON.stringify(config));
  assert.equal(end, 1);
  assert.match(JSON.parse(stdout).msg, /not in effect: .*ETIMEDOUT/);
});

test("a runtime that does not read the answer: exit code 1, and nothing on stderr", (t) => {
  const bed = makeBed(t);
  // Descriptor 4 is a pipe that nobody reads any more.
  const script =
    'mkfifo "$DIRECTORY/pipe"; exec 3<>"$DIRECTORY/pipe" 4>"$DIRECTORY/pipe" 3>&-; exec "$0" >&4';
  assert.deepEqual(bed.run("{}", "sh", ["-c", script, CNI_EXECUTABLE]), { end: 1, stdout: "", stderr: "" });
});
