import assert from "node:assert/strict";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type LogFileOptions, LogFiles, namePart } from "./log-files.ts";

const START_MS = new Date(2026, 10, 28, 15, 29, 5).getTime();
const HEAD =
  /^Log file created at: .*\nRunning on machine: h1\nBinary: flanneld on Node\.js v.*\nLog line format: .*\n/;

function bed(t: TestContext, options: Partial<LogFileOptions> = {}) {
  const directory = mkdtempSync(join(tmpdir(), "log-files-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const problems: string[] = [];
  const clock = { nowMs: START_MS };
  const logs = new LogFiles({
    ...{ directory, program: "flanneld", host: "h1", user: "root", pid: 7, maxBytes: 0, keptFiles: 3 },
    nowMs: () => clock.nowMs,
    onProblem: (message) => void problems.push(message),
    ...options,
  });
  const read = (name: string) => readFileSync(join(directory, name), "utf8");
  const files = () =>
    readdirSync(directory).filter((name) => !statSync(join(directory, name)).isSymbolicLink());
  return { directory, logs, problems, clock, read, files };
}

/** The lines of a file below its head. */
const linesOf = (text: string): string => {
  assert.match(text, HEAD);
  return text.replace(HEAD, "");
};

test("klog's names, links, and each line in the files of its severity and of those below", (t) => {
  const { logs, directory, read } = bed(t);
  for (const line of ["I1 info\n", "W2 warning\n", "E3 error\n"]) logs.write(line);
  const nameOf = (severity: string) => `flanneld.h1.root.log.${severity}.20261128-152905.7`;
  for (const [severity, lines] of [
    ["INFO", "I1 info\nW2 warning\nE3 error\n"],
    ["WARNING", "W2 warning\nE3 error\n"],
    ["ERROR", "E3 error\n"],
  ] as const) {
    assert.equal(linesOf(read(nameOf(severity))), lines);
    assert.equal(readlinkSync(join(directory, `flanneld.${severity}`)), nameOf(severity));
  }
  assert.ok(!existsSync(join(directory, "flanneld.FATAL")), "no line, no file");
  logs.write("F4 fatal\n");
  assert.equal(linesOf(read("flanneld.FATAL")), "F4 fatal\n");
  assert.equal(statSync(join(directory, nameOf("INFO"))).mode & 0o777, 0o640 & ~process.umask());
});

test("lines below E are buffered until a flush; a great many are not", (t) => {
  const { logs, read } = bed(t);
  logs.write("I1 quiet\n");
  assert.equal(read("flanneld.INFO"), "");
  logs.flush();
  assert.equal(linesOf(read("flanneld.INFO")), "I1 quiet\n");
  const line = `I ${"x".repeat(1000)}\n`;
  for (let index = 0; index < 40; index++) logs.write(line);
  assert.ok(read("flanneld.INFO").length > 30_000);
});

test("a file of the largest size is followed by another, also in the same second, and old ones are removed", (t) => {
  const { logs, files, read, clock, directory } = bed(t, { maxBytes: 400 });
  writeFileSync(join(directory, "flanneld.h1.root.log.INFO.20200101-000000.1"), "of an earlier run\n");
  writeFileSync(join(directory, "flanneld.h2.root.log.INFO.20200101-000000.1"), "another host's\n");
  writeFileSync(join(directory, "flanneld.h1.root.log.INFO.notes"), "the operator's\n");
  for (let index = 0; index < 12; index++) logs.write(`I ${index} ${"x".repeat(120)}\n`);
  clock.nowMs += 1000;
  for (let index = 12; index < 16; index++) logs.write(`I ${index} ${"x".repeat(120)}\n`);
  logs.flush();
  const own = files().filter((name) => /^flanneld\.h1\.root\.log\.INFO\.2/.test(name));
  assert.equal(own.length, 3, own.join());
  assert.ok(files().includes("flanneld.h2.root.log.INFO.20200101-000000.1"));
  assert.ok(files().includes("flanneld.h1.root.log.INFO.notes"));
  for (const name of own) assert.ok(read(name).length <= 400, name);
  assert.match(read("flanneld.INFO"), /I 15 x+\n$/);
  assert.match(readlinkSync(join(directory, "flanneld.INFO")), /20261128-152906\.7/);
});

test("one file: all severities, continued by the next run, renamed when it is full", (t) => {
  const { directory } = bed(t);
  const file = join(directory, "deep/er/flanneld.log");
  const open = () => bed(t, { file, maxBytes: 500 }).logs;
  const first = open();
  first.write("I1 info\n");
  first.write("E2 error\n");
  assert.equal(linesOf(readFileSync(file, "utf8")), "I1 info\nE2 error\n");
  const second = open();
  second.write("E3 again\n");
  assert.equal(linesOf(readFileSync(file, "utf8")), "I1 info\nE2 error\nE3 again\n");
  for (let index = 0; index < 12; index++) second.write(`E ${index} ${"x".repeat(200)}\n`);
  assert.deepEqual(readdirSync(join(directory, "deep/er")).sort(), [
    "flanneld.log",
    "flanneld.log.1",
    "flanneld.log.2",
  ]);
  assert.match(readFileSync(file, "utf8"), /E 11 x+\n$/);
  assert.match(readFileSync(`${file}.1`, "utf8"), /E 10 x+\n$/);
});

test("what cannot be written is reported once; a link of another user is not followed", (t) => {
  const { logs, directory, problems, clock } = bed(t, { maxBytes: 300 });
  const victim = join(directory, "victim");
  symlinkSync(victim, join(directory, "flanneld.h1.root.log.WARNING.20261128-152905.7"));
  logs.write("W1 warning\n");
  logs.flush();
  assert.ok(!existsSync(victim));
  assert.match(readlinkSync(join(directory, "flanneld.WARNING")), /\.7\.1$/);
  assert.deepEqual(problems, []);
  rmSync(directory, { recursive: true });
  clock.nowMs += 1000;
  for (let index = 0; index < 5; index++) logs.write(`E ${index} ${"x".repeat(200)}\n`);
  assert.equal(problems.length, 1);
  assert.match(problems[0]!, /^Failed to write log files: ENOENT/);
});

test("names of hosts and users as parts of file names", () => {
  assert.deepEqual(["node-1", "first.last", "DOMAIN\\user", "a b/../c", ""].map(namePart), [
    "node-1",
    "first.last",
    "DOMAIN_user",
    "a_b_.._c",
    "unknown",
  ]);
});
