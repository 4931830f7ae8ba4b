import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { text as readText } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Klog } from "./klog.ts";

function capture(verbosity = 0, nowUs?: () => number): { log: Klog; lines: string[] } {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  const options = { write, verbosity, pid: 32578 };
  return { log: new Klog(nowUs === undefined ? options : { ...options, nowUs }), lines };
}

test("one line in klog's form: severity, local time, padded pid, source", () => {
  const date = new Date(2026, 6, 20, 15, 29, 5, 891);
  const { log, lines } = capture(0, () => date.getTime() * 1000 + 498);
  for (const method of ["info", "warn", "error", "fatal"] as const) log[method]("message"); // the line
  const text = readFileSync(fileURLToPath(import.meta.url), "utf8").split("\n");
  const here = text.findIndex((line) => line.endsWith("// the line")) + 1;
  assert.deepEqual(
    lines,
    ["I", "W", "E", "F"].map(
      (letter) => `${letter}0720 15:29:05.891498   32578 klog.test.ts:${here}] message\n`,
    ),
  );
});

test("finds the caller's line by itself, whichever method is called", () => {
  const { log, lines } = capture(1);
  log.info("here 1");
  log.debug("here 2");
  log.fatal("here 3");
  const source = readFileSync(fileURLToPath(import.meta.url), "utf8").split("\n");
  for (const index of [0, 1, 2]) {
    const expected = source.findIndex((line) => line.includes(`"here ${index + 1}"`)) + 1;
    assert.match(lines[index]!, new RegExp(` klog\\.test\\.ts:${expected}\\] here`));
  }
});

test("shows debug messages up to the verbosity", () => {
  const { log, lines } = capture(2);
  log.debug("one");
  log.debug("two", 2);
  log.debug("three", 3);
  assert.deepEqual(
    lines.map((line) => line.split("] ")[1]),
    ["one\n", "two\n"],
  );
});

test("the clock has microseconds and goes with the machine's", () => {
  const { log, lines } = capture();
  for (let index = 0; index < 200; index++) log.info("x");
  const micros = lines.map((line) => /\.(\d{6}) /.exec(line)![1]!);
  assert.ok(micros.some((text) => !text.endsWith("000")));
  const now = new Date();
  const day = String(now.getMonth() + 1).padStart(2, "0") + String(now.getDate()).padStart(2, "0");
  assert.ok(lines.at(-1)!.startsWith(`I${day} `));
});

test("text from outside cannot make a line of its own, move the cursor or turn the text around", () => {
  const { log, lines } = capture();
  log.info("peer \n\rI0720 forged\x1b[2J\x7f\x9b\u2028\u202e\u2066 tab\t é");
  const line = lines[0]!;
  assert.equal(line.split("\n").length, 2);
  const expected = "peer \\n\\x0dI0720 forged\\x1b[2J\\x7f\\x9b\\u2028\\u202e\\u2066 tab\\t é\n";
  assert.equal(line.slice(line.indexOf("] ") + 2), expected);
});

test("cuts what is far too long", () => {
  const { log, lines } = capture();
  log.info("x".repeat(1_000_000));
  assert.ok(lines[0]!.length < 9000);
  assert.match(lines[0]!, /… \(991808 more\)\n$/);
});

/** Runs 3,000 log lines in a process of its own, which ends itself right after the last one. */
function spawnLogger(shell: string, prologue = "") {
  const script = `import { Klog, writeToStderr } from ${JSON.stringify(new URL("./klog.ts", import.meta.url).href)};
    ${prologue}
    const log = new Klog({ write: writeToStderr, verbosity: 0, pid: process.pid });
    for (let index = 0; index < 3000; index++) log.info("x".repeat(200));
    process.exit(7);`;
  const args = ["-c", shell, "sh", process.execPath, "--input-type=module", "-e", script];
  return spawn("sh", args, { stdio: ["ignore", "ignore", "pipe"], timeout: 20_000 });
}

test("everything is on stderr when the process ends", async () => {
  const child = spawnLogger('exec "$@"');
  const [text, [code]] = await Promise.all([readText(child.stderr), once(child, "exit")]);
  assert.equal(code, 7);
  assert.equal(text.split("\n").length, 3001);
});

test("a stderr whose reader has stalled does not hold the process up", async () => {
  const child = spawnLogger('exec "$@"', "process.stderr; // makes the pipe non-blocking");
  const [code] = await once(child, "exit");
  assert.equal(code, 7);
  const lines = (await readText(child.stderr)).split("\n");
  assert.ok(lines.length > 100 && lines.length < 3000, `${lines.length} lines`);
});

test("a closed stderr does no harm", async () => {
  const [code] = await once(spawnLogger('exec "$@" 2>&-'), "exit");
  assert.equal(code, 7);
});
