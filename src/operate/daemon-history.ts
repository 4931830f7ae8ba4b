/** `flannelctl drift` and `flannelctl events`: what happened since flanneld was started. Exit code 2 if none answers. */

import { ConfigError } from "../base/error.ts";
import { printable, printableJson } from "../base/printable.ts";
import { formatTable } from "../base/table.ts";
import { type Command, defineCommand } from "../config/command.ts";
import { recordingPathOf } from "../recorder/recording-file.ts";
import type { DriftReport, StatusEvent } from "../status/api.ts";
import { askDaemon, readEvents } from "../status/status-client.ts";
import type { DiagnosePorts } from "./diagnose/diagnose-ports.ts";
import { DAEMON_FLAGS, formatOutput, OUTPUT_FLAGS } from "./output-format.ts";
import { describeEntry, describeHeader, readRecording } from "./recording-text.ts";
import { withDaemon } from "./status-command.ts";

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

export const eventsCommand = ({
  untilInterrupted,
  readFile,
}: Pick<DiagnosePorts, "untilInterrupted" | "readFile">): Command =>
  defineCommand({
    summary:
      "print what happened: peers, lease, drift, readiness; --follow: and what happens; --recorded: in the last run",
    synopsis: "[--follow|--recorded] [--json]",
    flags: {
      follow: { kind: "bool", help: "print events as they happen, until Ctrl-C" },
      recorded: {
        kind: "bool",
        help: "print what the flight recorder kept of the last run, also of a flanneld that crashed",
      },
      json: { kind: "bool", help: "print one JSON object per line" },
      ...DAEMON_FLAGS,
    },
    run: ({ values: { follow, recorded, json, socket } }, { print, printError }) =>
      withDaemon(printError, async () => {
        if (follow && recorded) throw new ConfigError("give --follow or --recorded, not both");
        if (recorded) {
          const { header, entries } = readRecording(recordingPathOf(socket), readFile);
          if (!json) print(printable(describeHeader(header)));
          for (const entry of entries)
            print(json ? printableJson(JSON.stringify(entry)) : printable(describeEntry(entry)));
          return 0;
        }
        const signal = untilInterrupted();
        for await (const event of readEvents(socket, { isFollowing: follow, signal })) {
          const { at, type, message } = event as StatusEvent;
          print(
            json ? printableJson(JSON.stringify(event)) : printable(`${at}  ${type.padEnd(9)}  ${message}`),
          );
        }
        return 0;
      }),
  });

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
