/** `flannelctl drift` and `flannelctl events`: what happened since flanneld was started. Exit code 2 if none answers. */

import { ConfigError } from "../base/error.ts";
import { printable, printableJson } from "../base/printable.ts";
import { formatTable } from "../base/table.ts";
import { type Command, defineCommand } from "../config/command.ts";
import { formatOutput, OUTPUT_FLAGS } from "../config/output-format.ts";
import { encodeEntry, type Recording } from "../recorder/recording-file.ts";
import type { DriftReport, StatusEvent } from "../status/api.ts";
import { askDaemon, readEvents } from "../status/status-client.ts";
import { DAEMON_FLAGS } from "./daemon-flags.ts";
import type { DiagnosePorts } from "./diagnose/diagnose-ports.ts";
import { currentRecording, describeEntry, describeHeader } from "./recording-text.ts";
import { withDaemon } from "./status-command.ts";

/** `flannelctl drift`. */
export const driftCommand = (): Command =>
  defineCommand({
    summary: "print what something else changed of flannel's objects and flanneld repaired",
    synopsis: "[-o table|json|yaml]",
    flags: { ...OUTPUT_FLAGS, ...DAEMON_FLAGS },
    run: ({ values: { o, socket } }, { print, printError }) =>
      withDaemon(printError, async () => {
        const drift = await askDaemon<DriftReport>(socket, "/v1/drift");
        print(await formatOutput(o, drift, () => describeDrift(drift)));
        return 0;
      }),
  });

/** `flannelctl events`. */
export const eventsCommand = ({
  untilInterrupted,
  readFile,
}: Pick<DiagnosePorts, "untilInterrupted" | "readFile">): Command =>
  defineCommand({
    summary:
      "print what happened: peers, lease, drift, readiness; --follow: and what happens; --recorded: in detail, also of a crash",
    synopsis: "[--follow|--recorded] [-o table|json|yaml | --json]",
    flags: {
      follow: { kind: "bool", help: "print events as they happen, until Ctrl-C" },
      recorded: {
        kind: "bool",
        help: "print what the flight recorder has: of the running flanneld, else of the last run, also if it crashed",
      },
      json: { kind: "bool", help: "print one JSON object per line" },
      ...OUTPUT_FLAGS,
      ...DAEMON_FLAGS,
    },
    run: ({ values: { follow, recorded, json, o, socket } }, { print, printError }) =>
      withDaemon(printError, async () => {
        if (follow && recorded) throw new ConfigError("give --follow or --recorded, not both");
        if (json && o !== "table") throw new ConfigError("give --json or -o, not both");
        await formatOutput(o, [], () => []); // an unknown format is refused before anything is printed
        if (recorded) {
          await printRecording(await currentRecording(socket, readFile), { json, o, print });
          return 0;
        }
        const events = readEvents(socket, { isFollowing: follow, signal: untilInterrupted() });
        const toText = json ? lineOf : follow ? formatEvent(o) : o === "table" ? rowOf : undefined;
        if (toText === undefined) print(await formatOutput(o, await Array.fromAsync(events), () => []));
        else for await (const event of events) print(await toText(event));
        return 0;
      }),
  });

const lineOf = (value: unknown): string => printableJson(JSON.stringify(value));

function rowOf(event: unknown): string {
  const { at, type, message } = event as StatusEvent;
  return printable(`${at}  ${type.padEnd(9)}  ${message}`);
}

/** One event of a stream: a line, or a YAML document. */
const formatEvent =
  (format: string) =>
  async (event: unknown): Promise<string> =>
    format === "table"
      ? rowOf(event)
      : format === "json"
        ? lineOf(event)
        : `---\n${await formatOutput(format, event, () => [])}`;

async function printRecording(
  { header, entries }: Recording,
  { json, o, print }: { readonly json: boolean; readonly o: string; readonly print: (line: string) => void },
): Promise<void> {
  if (json) for (const entry of entries) print(lineOf(encodeEntry(entry)));
  else {
    const value = { ...header, entries: entries.map(encodeEntry) };
    print(
      await formatOutput(o, value, () => [
        printable(describeHeader(header)),
        ...entries.flatMap(describeEntry).map(printable),
      ]),
    );
  }
}

function describeDrift({ counts, entries }: DriftReport): string[] {
  if (entries.length === 0) return ["No drift since flanneld was started."];
  const rows = entries.map(({ at, kind, what, tookMs, by }) => [
    ...[at, kind, `${tookMs.toFixed(1)} ms`, by ?? "-", what],
  ]);
  const sums = Object.entries(counts).map(([kind, count]) => `${count} ${kind}`);
  const heading = ["REPAIRED AT", "KIND", "TOOK", "CHANGED BY", "WHAT"];
  return [
    ...formatTable([heading, ...rows.map((row) => row.map(printable))]),
    "",
    `since startup: ${sums.join(", ")}`,
  ];
}
