/**
 * Loaded into flanneld by NODE_OPTIONS=--require: measures how long the turns of its event loop are, in processor time of the
 * thread, so that other work on the machine does not count. SIGUSR2 begins a measurement; the next one ends it and
 * writes the longest turn, in ms, to FLANNEL_BENCH_LOOP_FILE.
 */

const { renameSync, writeFileSync } = require("node:fs");

const file = process.env.FLANNEL_BENCH_LOOP_FILE;
let isMeasuring = false;
let longestMs = 0;

const nowMs = () => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};

/** One turn: everything that runs between two immediates. */
function turn(beganMs) {
  longestMs = Math.max(longestMs, nowMs() - beganMs);
  if (isMeasuring) setImmediate(turn, nowMs());
}

process.on("SIGUSR2", () => {
  isMeasuring = !isMeasuring;
  if (isMeasuring) {
    longestMs = 0;
    setImmediate(turn, nowMs());
    return;
  }
  writeFileSync(`${file}.new`, String(longestMs));
  renameSync(`${file}.new`, file);
});
