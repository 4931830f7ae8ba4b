import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { isLater, tai64n } from "../wireguard/protocol/tai64n.ts";
import { bootClockMs, createHandshakeClock } from "./handshake-clock.ts";

const HOUR_MS = 3_600_000;

/** Clocks that are set by hand, and the clock of each process that is started on them. */
function host(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), `flannel-clock-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "wgkey.clock");
  const clocks = { wallMs: 1_700_000_000_000, bootMs: 5_000 };
  return {
    path,
    pass: (ms: number) => {
      clocks.wallMs += ms;
      clocks.bootMs += ms;
    },
    step: (ms: number) => {
      clocks.wallMs += ms;
    },
    wallMs: () => clocks.wallMs,
    start: (at: { readonly path: string | undefined } = { path }) =>
      createHandshakeClock({ ...at, wallClockMs: () => clocks.wallMs, monotonicMs: () => clocks.bootMs }),
  };
}

test("timestamps grow when the wall clock steps back and forward, and after restarts in between", (t) => {
  const { pass, step, start, wallMs } = host(t);
  let clock = start();
  let last = tai64n(clock());
  const isLaterNow = (what: string) => {
    pass(5_000);
    const stamp = tai64n(clock());
    assert.ok(isLater(stamp, last), what);
    last = stamp;
  };
  isLaterNow("as time passes");
  step(-HOUR_MS);
  isLaterNow("after a step back");
  clock = start();
  isLaterNow("after a restart");
  step(10 * HOUR_MS);
  isLaterNow("after a step forward");
  assert.ok(Math.abs(clock() - wallMs()) < 1_000, "it follows a step forward");
  step(-10 * HOUR_MS);
  clock = start();
  isLaterNow("after a step back and a restart");
  for (let times = 0; times < 1_000; times++) {
    step(times % 2 === 0 ? -7 : 6);
    isLaterNow("with a clock that is slewed");
  }
});

test("it is the wall clock as long as that is not set back, and the file is written rarely", (t) => {
  const { pass, start, wallMs, path } = host(t);
  const clock = start();
  for (let times = 0; times < 100; times++) {
    pass(1_000);
    assert.ok(clock() >= wallMs() && clock() - wallMs() <= 101);
  }
  const text = readFileSync(path, "utf8");
  pass(HOUR_MS);
  clock();
  assert.equal(readFileSync(path, "utf8"), text);
});

for (const text of ["", "soon", "1e300", "NaN", "9".repeat(40)]) {
  test(`a file with ${JSON.stringify(text.slice(0, 10))} counts as none`, (t) => {
    const { path, start, wallMs } = host(t);
    writeFileSync(path, text);
    assert.ok(start()() - wallMs() <= 101);
  });
}

test("without a place for the file it is the wall clock of each start", (t) => {
  const { start, step, wallMs } = host(t);
  for (const path of [undefined, "/proc/flannel/clock"]) {
    start({ path })();
    step(-HOUR_MS);
    assert.ok(start({ path })() - wallMs() <= 101);
  }
});

test("the clock since the start of the host is within /proc/uptime", () => {
  const uptimeMs = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1000;
  const sinceMs = bootClockMs();
  assert.ok(
    sinceMs > 0 && sinceMs < uptimeMs + 2_000,
    `${sinceMs} of ${uptimeMs} ms: it does not count sleep`,
  );
});
