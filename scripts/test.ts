/**
 * Runs all layers of tests with node:test, and prints one line of totals at the end. Fails if a test failed, was skipped
 * unexpectedly, or if a layer has no test.
 * usage: test.ts [unit|arch|conformance|netns|e2e|vm …]   (none = type check, lint and all layers)
 */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { promisify } from "node:util";

interface Layer {
  readonly name: string;
  readonly pattern: string;
  /** Files that begin before the others. */
  readonly first?: readonly string[];
  /** Files that run one after the other, when nothing else runs. */
  readonly alone?: readonly string[];
  /** Test files that run in parallel; 1 where tests measure, or use the whole machine. */
  readonly concurrency: number;
  /** Whether its files run in a virtual machine, which boots once for all of them (test/vm/machine/boot.ts). */
  readonly inMachine?: true;
}

/** What measures memory, counts the packets that a repair costs, or builds the image. */
const ALONE = ["deploy-image", "embedded-memory", "soak"].map((name) => `test/e2e/${name}.test.ts`);
/** What takes longest begins first, so that none of it runs on when all else has ended. */
const LONG = ["walkthroughs", "lab", "lab-matrix", "lab-kube", "etcd-faults", "flannelctl-check"].map(
  (name) => `test/e2e/${name}.test.ts`,
);

// Tests wait more than they compute: two files leave a processor of two idle for much of the time.
const LAYERS: readonly Layer[] = [
  { name: "unit", pattern: "src/**/*.test.ts", concurrency: 2 },
  { name: "arch", pattern: "test/arch/*.test.ts", concurrency: 2 },
  { name: "conformance", pattern: "test/conformance/*.test.ts", concurrency: 2 },
  { name: "netns", pattern: "test/netns/*.test.ts", concurrency: 3 },
  { name: "e2e", pattern: "test/e2e/*.test.ts", concurrency: 3, first: LONG, alone: ALONE },
  { name: "vm", pattern: "test/vm/*.test.ts", concurrency: 1, inMachine: true },
];
/** Number of tests that may be skipped. None: a machine that runs `make test` can run all of them. */
const EXPECTED_SKIPS = 0;
const FILE_TIMEOUT_MS = 180_000;

// Each test file is a process: what they import is stripped of its types and compiled once, not in each of them.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, "../node_modules/.cache/compiled");

const wanted = process.argv.slice(2);
const layers = wanted.length === 0 ? LAYERS : LAYERS.filter((layer) => wanted.includes(layer.name));
const totals = { passed: 0, failed: 0, skipped: 0 };
let isGood = true;

if (wanted.length === 0) {
  const scripts = globSync(["bin/*", "scripts/*.sh", "deploy/**/*.sh", ".ci/run"]);
  await Promise.all([
    check("type check", "tsc", ["-p", "."]),
    check("type check of the status page", "tsc", ["-p", "src/status/page"]),
    check("lint and format", "biome", ["check"]),
    check("unused files, exports and dependencies", "knip", []),
    check("shellcheck", "shellcheck", ["-x", "-P", "bin", ...scripts]),
  ]);
}
for (const layer of layers) await (layer.inMachine ? runInMachine(layer) : runLayer(layer));
if (totals.skipped !== EXPECTED_SKIPS) {
  console.log(`✖ ${totals.skipped} tests skipped, expected ${EXPECTED_SKIPS}`);
  isGood = false;
}
console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exit(isGood && totals.failed === 0 && totals.passed > 0 ? 0 : 1);

async function check(title: string, command: string, args: string[]): Promise<void> {
  const startedMs = Date.now();
  const isPassed = await promisify(execFile)(command, args, { maxBuffer: 64 << 20 }).then(
    () => true,
    ({ stdout, stderr, message }) => {
      console.log(`${stdout}${stderr}` || message);
      return false;
    },
  );
  console.log(`${isPassed ? "✔" : "✖"} ${title} (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`);
  totals[isPassed ? "passed" : "failed"]++;
  isGood &&= isPassed;
}

async function runLayer({ name, pattern, concurrency, first = [], alone = [] }: Layer): Promise<void> {
  const files = globSync(pattern).sort();
  const others = files.filter((file) => !first.includes(file) && !alone.includes(file));
  await runFiles(name, [...files.filter((file) => first.includes(file)), ...others], concurrency);
  const rest = files.filter((file) => alone.includes(file));
  if (rest.length > 0) await runFiles(`${name}, one by one`, rest, 1);
}

async function runFiles(name: string, files: readonly string[], concurrency: number): Promise<void> {
  const startedMs = Date.now();
  let tests = 0;
  console.log(`\n==> ${name}: ${files.length} files`);
  using _watchdog = endOverdueChildren();
  const stream = run({ files, concurrency, timeout: FILE_TIMEOUT_MS });
  const isTest = (event: { details: { type?: string | undefined } }) => event.details.type !== "suite";
  stream.on("test:pass", (event) => {
    if (!isTest(event)) return;
    tests++;
    if (event.skip !== undefined || event.todo !== undefined) totals.skipped++;
    else totals.passed++;
  });
  stream.on("test:fail", (event) => {
    if (!isTest(event)) return;
    tests++;
    totals.failed++;
  });
  for await (const chunk of stream.compose(spec)) process.stdout.write(chunk as Buffer);
  console.log(`==> ${name} took ${((Date.now() - startedMs) / 1000).toFixed(1)} s`);
  if (tests === 0) {
    console.log(`✖ layer ${name} has no test`);
    isGood = false;
  }
}

/** Runs the files in a virtual machine, whose output is that of node:test, with its totals at the end ("ℹ pass 7"). */
async function runInMachine({ name, pattern }: Layer): Promise<void> {
  const files = globSync(pattern).sort();
  const startedMs = Date.now();
  console.log(`\n==> ${name}: ${files.length} files`);
  const machine = spawn(process.execPath, ["test/vm/machine/boot.ts", ...files], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exit = once(machine, "exit"); // may come after the end of its output
  const counts = { pass: 0, fail: 0, skipped: 0 };
  for await (const line of createInterface({ input: machine.stdout })) {
    console.log(line);
    const [, what, count] = /^ℹ (pass|fail|skipped) (\d+)$/.exec(line) ?? [];
    if (what !== undefined) counts[what as keyof typeof counts] = Number(count);
  }
  console.log(`==> ${name} took ${((Date.now() - startedMs) / 1000).toFixed(1)} s`);
  totals.passed += counts.pass;
  totals.failed += counts.fail;
  totals.skipped += counts.skipped;
  const [exitCode] = await exit;
  if (exitCode === 0 && counts.pass > 0) return;
  console.log(`✖ layer ${name} failed, or has no test`);
  isGood = false;
}

/** node:test's own timeout depends on the event loop of the tested process, so that a busy loop can only be ended from here. */
function endOverdueChildren(): Disposable {
  const firstSeenMs = new Map<number, number>();
  const timer = setInterval(() => {
    for (const task of readdirSync("/proc/self/task")) {
      const children = readFileSync(`/proc/self/task/${task}/children`, "utf8").trim().split(" ");
      for (const pid of children.filter((text) => text !== "").map(Number)) {
        const seenMs = firstSeenMs.get(pid) ?? Date.now();
        firstSeenMs.set(pid, seenMs);
        if (Date.now() - seenMs < FILE_TIMEOUT_MS + 10_000) continue;
        console.log(`✖ killed test process ${pid}: it ran for more than ${FILE_TIMEOUT_MS / 1000} s`);
        process.kill(pid, "SIGKILL");
        isGood = false;
      }
    }
  }, 2_000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
