/**
 * `flannelctl replay`: runs a recording of the flight recorder through planner and reconciler on a kernel in memory, and prints what
 * they did; with --at also what the kernel had at that moment. Nothing on this host is changed. Exit codes: 0 the same was planned and
 * the kernel had it, 1 it was not, or the file cannot be read, 2 usage error.
 */

import { type PlanDifference, PlanReplay } from "../agent/replay-plans.ts";
import { ConfigError } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import { type Command, defineCommand } from "../config/command.ts";
import { formatOutput, OUTPUT_FLAGS } from "../config/output-format.ts";
import type { RecorderEntry } from "../recorder/entries.ts";
import { encodeEntry } from "../recorder/recording-file.ts";
import { replay } from "../recorder/replay.ts";
import { describeObject } from "../state/objects.ts";
import { DAEMON_FLAGS } from "./daemon-flags.ts";
import type { DiagnosePorts } from "./diagnose/diagnose-ports.ts";
import { currentRecording, describeEntry, describeHeader, readRecording } from "./recording-text.ts";

const EXIT_DIFFERENT = 1;
const EXIT_USAGE = 2;
/** Operations of one step in the table; JSON has all. */
const SHOWN = 10;

/** `flannelctl replay`. */
export const replayCommand = ({ readFile }: Pick<DiagnosePorts, "readFile">): Command =>
  defineCommand({
    summary:
      "replay what flanneld's flight recorder has, or a file of it, on a kernel in memory; changes nothing here",
    synopsis: "[FILE] [--at TIME] [-o table|json|yaml]",
    flags: {
      at: {
        kind: "string",
        value: "time",
        help: "stop at this moment (as printed, or a part of it) and print the state",
      },
      ...OUTPUT_FLAGS,
      ...DAEMON_FLAGS,
    },
    takes: { words: true },
    async run({ values: { at, o, socket }, positional: [file, ...surplus] }, { print, printError }) {
      if (surplus.length > 0) {
        printError("give one FILE, or none for the running flanneld");
        return EXIT_USAGE;
      }
      const { header, entries } =
        file === undefined ? await currentRecording(socket, readFile) : readRecording(file, readFile);
      const untilMs = at === "" ? Number.POSITIVE_INFINITY : momentOf(at, entries);
      const steps: Step[] = [];
      const plans = new PlanReplay();
      const { state, desired, problems } = await replay(entries, {
        untilMs,
        onStep: ({ entry, operations, desired: recorded }) =>
          steps.push({
            entry,
            operations: operations.map(({ action, object }) => `${action} ${describeObject(object)}`),
            planDifferences: entry.type === "target" ? plans.step(entry, recorded) : [],
          }),
      });
      const isPlannedSame = steps.every(({ planDifferences }) => planDifferences.length === 0);
      const report = {
        ...header,
        steps: steps.map((step) => ({ ...step, entry: encodeEntry(step.entry) })),
        problems,
        planning: plans.hasInputs ? (isPlannedSame ? "same" : "different") : "not recorded",
        planProblems: plans.problems,
        state: state.map(describeObject),
        desired: desired.size,
      };
      print(
        await formatOutput(o, report, () => [
          printable(describeHeader(header)),
          ...steps.flatMap(({ entry, operations, planDifferences }) => [
            ...describeEntry(entry).map(printable),
            ...firstOf(planDifferences.map(describeDifference)),
            ...firstOf(operations),
          ]),
          "",
          at === "" ? "state at the end:" : `state at ${new Date(untilMs).toISOString()}:`,
          ...state.map((object) => `    ${printable(describeObject(object))}`),
          ...problems.map((problem) => printable(`problem: ${problem}`)),
          ...plans.problems.map((problem) => printable(`planner: ${problem}`)),
          plans.hasInputs
            ? isPlannedSame
              ? "planning again gave the recorded desired states"
              : "planning again gave other desired states than recorded: see the lines that begin with planned"
            : "the recording does not have what was planned from",
        ]),
      );
      return problems.length === 0 && isPlannedSame ? 0 : EXIT_DIFFERENT;
    },
  });

interface Step {
  readonly entry: RecorderEntry;
  readonly operations: readonly string[];
  readonly planDifferences: readonly PlanDifference[];
}

const firstOf = (lines: readonly string[]): string[] => [
  ...lines.slice(0, SHOWN).map((line) => `    ${printable(line)}`),
  ...(lines.length > SHOWN ? [`    and ${lines.length - SHOWN} more`] : []),
];

function describeDifference({ what, object, recorded }: PlanDifference): string {
  switch (what) {
    case "missing":
      return `planned differently: without ${object}`;
    case "added":
      return `planned differently: also ${object}`;
    case "changed":
      return `planned differently: ${object}; recorded: ${recorded}`;
    case "failed":
      return `planned differently: the planner fails: ${object}`;
  }
}

/** The last moment that begins with the text: "2026-01-01T10:00" is up to 10:00:59.999. Throws ConfigError. */
function momentOf(text: string, entries: readonly RecorderEntry[]): number {
  const wanted = entries.findLast(
    ({ atMs }) => isoOf(atMs).startsWith(text) || isoOf(atMs).slice(11).startsWith(text),
  );
  if (wanted !== undefined) return wanted.atMs;
  const exact = Date.parse(text);
  if (!Number.isNaN(exact)) return exact;
  const [first, last] = [entries[0], entries.at(-1)];
  const range =
    first === undefined || last === undefined ? "" : `; it has ${isoOf(first.atMs)} to ${isoOf(last.atMs)}`;
  throw new ConfigError(`--at ${JSON.stringify(text)} is no time of this recording${range}`);
}

const isoOf = (ms: number): string => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : "");
