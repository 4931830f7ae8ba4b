import assert from "node:assert/strict";
import { test } from "node:test";
import { RepetitionFilter } from "./repetition-filter.ts";

function start() {
  const clock = { atMs: 1_000, nowMs: () => clock.atMs };
  const filter = new RepetitionFilter(clock);
  /** The seconds at which a message is logged that comes each second, as `messageAt` says. */
  const logged = (seconds: number, messageAt: (second: number) => string) => {
    const lines: [second: number, message: string][] = [];
    for (let second = 0; second < seconds; second++) {
      const message = messageAt(second);
      if (filter.isDue(message)) lines.push([second, message]);
      clock.atMs += 1_000;
    }
    return lines;
  };
  return { filter, logged };
}

test("F20 an outage that alternates two messages is logged once for each, not at every change", () => {
  const { logged } = start();
  assert.deepEqual(
    logged(60, (second) => (second % 2 === 0 ? "does not answer" : "connection refused")),
    [
      [0, "does not answer"],
      [1, "connection refused"],
    ],
  );
});

test("F20 an outage that lasts is logged again at growing intervals, at most an hour apart", () => {
  const { logged } = start();
  const seconds = logged(4 * 3_600, () => "down").map(([second]) => second);
  assert.deepEqual(seconds.slice(0, 7), [0, 60, 180, 420, 900, 1_860, 3_780]);
  assert.deepEqual(seconds.slice(7), [7_380, 10_980]);
});

test("F20 the nature of an outage changes: the new message is logged at once, whatever the interval", () => {
  const { logged } = start();
  const lines = logged(1_000, (second) => (second < 500 ? "down" : "password refused"));
  assert.ok(lines.some(([second, message]) => second === 500 && message === "password refused"));
});

test("F20 messages that vary without end are logged at the intervals only, after the first ten", () => {
  const { logged } = start();
  const lines = logged(3_600, (second) => `port ${second}`);
  assert.deepEqual(
    lines.map(([second]) => second),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 60, 180, 420, 900, 1_860],
  );
});

test("after a reset everything is new, and the intervals are short", () => {
  const { filter, logged } = start();
  logged(1_000, () => "down");
  filter.reset();
  assert.deepEqual(
    logged(200, () => "down").map(([second]) => second),
    [0, 60, 180],
  );
});
