/**
 * `flannelctl replay`: runs a recording of the flight recorder through the reconciler on a kernel in memory, and prints what
 * it did; with --at also what the kernel had at that moment. Nothing on this host is changed. Exit codes: 0 the kernel had what was
 * desired, 1 it had not, or the file cannot be read, 2 usage error.
 */

import { ConfigError } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import { type Command, defineCommand } from "../config/command.ts";
import type { RecorderEntry } from "../recorder/entries.ts";
import { replay } from "../recorder/replay.ts";
import { describeObject } from "../state/objects.ts";
import type { DiagnosePorts } from "./diagnose/diagnose-ports.ts";
import { formatOutput, OUTPUT_FLAGS } from "./output-format.ts";
import { describeEntry, describeHeader, readRecording } from "./recording-text.ts";

const EXIT_DIFFERENT = 1;
/** Operations of one step in the table; JSON has all. */
const SHOWN = 10;

export const replayCommand = ({ readFile }: Pick<DiagnosePorts, "readFile">): Command =>
  defineCommand({
    summary: "replay a recording of flanneld's flight recorder on a kernel in memory; changes nothing here",
    synopsis: "FILE [--at TIME] [-o table|json|yaml]",
    flags: {
      at: {
        kind: "string",
        value: "time",
        help: "stop at this moment (as printed, or a part of it) and print the state",
      },
      ...OUTPUT_FLAGS,
    },
    takes: { words: ["FILE"] },
    async run({ values: { at, o }, positional }, { print }) {
      const { header, entries } = readRecording(positional[0]!, readFile);
      const untilMs = at === "" ? Number.POSITIVE_INFINITY : momentOf(at, entries);
      const steps: { readonly entry: RecorderEntry; readonly operations: readonly string[] }[] = [];
      const { state, desired, problems } = await replay(entries, {
        untilMs,
        onStep: ({ entry, operations }) =>
          steps.push({
            entry,
            operations: operations.map(({ action, object }) => `${action} ${describeObject(object)}`),
          }),
      });
      const report = { ...header, steps, problems, state: state.map(describeObject), desired: desired.size };
      print(
        await formatOutput(o, report, () => [
          printable(describeHeader(header)),
          ...steps.flatMap(({ entry, operations }) => [
            printable(describeEntry(entry)),
            ...operations.slice(0, SHOWN).map((line) => `    ${printable(line)}`),
            ...(operations.length > SHOWN ? [`    and ${operations.length - SHOWN} more`] : []),
          ]),
          "",
          at === "" ? "state at the end:" : `state at ${new Date(untilMs).toISOString()}:`,
          ...state.map((object) => `    ${printable(describeObject(object))}`),
          ...problems.map((problem) => printable(`problem: ${problem}`)),
        ]),
      );
      return problems.length === 0 ? 0 : EXIT_DIFFERENT;
    },
  });

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
