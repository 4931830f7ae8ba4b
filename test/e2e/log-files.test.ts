/** flanneld's log in files: complete after SIGTERM and after a crash; what stderr has beside it. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { freshNetns } from "../netns/support.ts";
import { spawnFlanneld } from "../support/flanneld.ts";
import { FLANNELD } from "../support/programs.ts";
import { until } from "../support/until.ts";

/** Starts it with an etcd that nobody serves: it waits, and logs that. */
function start(t: TestContext, args: readonly string[], env: Record<string, string> = {}) {
  const directory = mkdtempSync(join(tmpdir(), "flanneld-log-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const flanneld = spawnFlanneld(t, freshNetns(t), {
    args: [
      ...["--etcd-endpoints=http://127.0.0.1:1", "--status-listen=off"],
      ...[`--subnet-file=${join(directory, "subnet.env")}`, `-log_dir=${join(directory, "log")}`, ...args],
    ],
    env,
  });
  const read = (severity: string): string => {
    const path = join(directory, `log/flanneld.${severity}`);
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  };
  const waiting = () =>
    flanneld.until(() => read("INFO").includes("No usable network config"), "the log", 30_000);
  return { flanneld, read, waiting, directory };
}

test("SIGTERM: every line is in the files, and stderr has those from the threshold on", async (t) => {
  const { flanneld, read, waiting } = start(t, ["-logtostderr=false", "-stderrthreshold=WARNING"]);
  await waiting();
  assert.equal((await flanneld.stop()).code, 0);
  assert.match(
    read("INFO"),
    /^Log file created at: .*\nRunning on machine: .*\nBinary: flanneld on Node\.js v26/,
  );
  assert.match(read("INFO"), /^I.*\] flanneld v[\d.]+ with .*log_dir=/m);
  assert.match(read("INFO"), /^I.*\] SIGTERM: stopping;.*\n$/m);
  const warnings = read("INFO")
    .split("\n")
    .filter((line) => /^[WEF]\d{4} /.test(line));
  assert.ok(warnings.length > 0);
  assert.deepEqual(flanneld.lines, warnings);
  assert.deepEqual(
    read("WARNING")
      .split("\n")
      .filter((line) => /^[IWEF]\d{4} /.test(line)),
    warnings,
  );
});

test("an error that nobody catches: the files have all lines before it, and its stack", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "flanneld-crash-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const crash = 'process.on("SIGWINCH", () => { throw new Error("boom"); })';
  const args = [
    ...["--etcd-endpoints=http://127.0.0.1:1", "--status-listen=off", "-logtostderr=false"],
    ...[`-log_dir=${directory}`, `--subnet-file=${join(directory, "subnet.env")}`],
  ];
  const child = spawn("nsenter", [`--net=${freshNetns(t).path}`, FLANNELD, ...args], {
    env: { ...process.env, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(crash)}` },
    stdio: "ignore",
  });
  t.after(() => child.kill("SIGKILL"));
  const ended = once(child, "exit");
  const read = (severity: string) => readFileSync(join(directory, `flanneld.${severity}`), "utf8");
  const hasWaited = () =>
    existsSync(join(directory, "flanneld.INFO")) && read("INFO").includes("No usable network");
  await until(hasWaited, "the log", 30_000);
  child.kill("SIGWINCH");
  const [code] = await ended;
  assert.notEqual(code, 0);
  assert.match(read("INFO"), /^I.*\] flanneld v[\d.]+ with /m);
  assert.match(read("FATAL"), /^F Error: boom\nF {5}at /m);
});

test("without -logtostderr=false nothing is written, and the log says so; a directory that cannot be made ends the start", async (t) => {
  const plain = start(t, []);
  await plain.flanneld.logged(/--log_dir: no effect, because the log goes to stderr; add -logtostderr=false/);
  assert.ok(!existsSync(join(plain.directory, "log")));
  await plain.flanneld.stop();
  const blocked = join(plain.directory, "file");
  writeFileSync(blocked, "");
  const refused = start(t, ["-logtostderr=false", `-log_dir=${blocked}`]);
  assert.equal((await refused.flanneld.exit).code, 1);
  assert.deepEqual(refused.flanneld.lines.length, 1);
  assert.match(
    refused.flanneld.lines[0]!,
    /^flanneld: -log_dir: failed to create a log file: ENOTDIR|EEXIST/,
  );
});
