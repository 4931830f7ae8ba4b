/** The report: a table for people, a JSON file for comparisons. */

import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { join } from "node:path";
import { isKept, type Measurement } from "./measurement.ts";

/** The measurements of one benchmark, or why there are none. */
export interface Outcome {
  readonly name: string;
  readonly measurements: readonly Measurement[];
  readonly error?: string;
}

/** The table: measure, value, floor, bar, verdict; one block per benchmark. */
export function formatTable(outcomes: readonly Outcome[]): string {
  const rows = outcomes.flatMap(({ name, measurements, error }) => [
    [`${name}:`, "", "", "", ""],
    ...measurements.map((m) => [
      `  ${m.measure}`,
      show(m.value, m.unit),
      m.floor === undefined ? "" : show(m.floor, m.unit),
      barOf(m),
      isKept(m) === undefined ? "" : isKept(m) ? "ok" : "MISSED",
    ]),
    ...(error === undefined ? [] : [[`  broke: ${error}`, "", "", "", ""]]),
  ]);
  const table = [["measure", "value", "floor", "bar", ""], ...rows];
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...table.filter((row) => row[1] !== "").map((row) => row[column]!.length)),
  );
  return table
    .map(([measure, value, floor, bar, verdict]) =>
      [
        measure!.padEnd(widths[0]!),
        value!.padStart(widths[1]!),
        floor!.padStart(widths[2]!),
        bar!.padStart(widths[3]!),
        verdict,
      ]
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const barOf = ({ bar, leastBar, unit }: Measurement): string => {
  if (leastBar !== undefined) return `≥ ${show(leastBar, unit)}`;
  return bar === undefined ? "" : `≤ ${show(bar, unit)}`;
};

/** Writes `directory`/DATE.json and returns its path. */
export function writeResults(directory: string, turns: number, outcomes: readonly Outcome[]): string {
  const date = new Date().toISOString();
  const path = join(directory, `${date.slice(0, 19).replaceAll(":", "-")}.json`);
  mkdirSync(directory, { recursive: true });
  const report = { date, commit: commit(), machine: machine(), turns, benchmarks: outcomes };
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`);
  return path;
}

const machine = () => ({
  processors: cpus().length,
  model: cpus()[0]?.model ?? "unknown",
  kernel: release(),
  node: process.version,
  loadAverage: loadavg(),
});

/** Of the sources beside this file; undefined outside of a git checkout. */
function commit(): string | undefined {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], {
      cwd: import.meta.dirname,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return undefined;
  }
}

/** Three digits that count, thousands apart: "4,980 ms", "12.3 ms", "0.512 ms". */
function show(value: number, unit: string): string {
  const digits =
    Number.isInteger(value) || Math.abs(value) >= 100
      ? 0
      : Math.abs(value) >= 10
        ? 1
        : Math.abs(value) >= 1
          ? 2
          : 3;
  const text = value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return unit === "" ? text : `${text} ${unit}`;
}
