/** `flannelctl drift` and `flannelctl events`: what happened since flanneld was started. Exit code 2 if none answers. */

import { printable, printableJson } from "../base/printable.ts";
import { formatTable } from "../base/table.ts";
import { type Command, defineCommand } from "../config/command.ts";
import type { DriftReport, StatusEvent } from "../status/api.ts";
import { askDaemon, readEvents } from "../status/status-client.ts";
import { DAEMON_FLAGS, formatOutput, OUTPUT_FLAGS } from "./output-format.ts";
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

export const eventsCommand = (untilInterrupted: () => AbortSignal): Command =>
  defineCommand({
    summary: "print what happened: peers, lease, drift, readiness; with --follow also what happens",
    synopsis: "[--follow] [--json]",
    flags: {
      follow: { kind: "bool", help: "print events as they happen, until Ctrl-C" },
      json: { kind: "bool", help: "print one JSON object per line" },
      ...DAEMON_FLAGS,
    },
    run: ({ values: { follow, json, socket } }, { print, printError }) =>
      withDaemon(printError, async () => {
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
