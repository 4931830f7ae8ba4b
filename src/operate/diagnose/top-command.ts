/**
 * `flannelctl top`: this host and its peers, problems first, drawn again every second until Ctrl-C. The lines fit the terminal, from
 * 80 columns on without loss; the screen is left as it was. Exit codes: 0 ended by Ctrl-C, 2 no flanneld answers.
 */

import { ConfigError } from "../../base/error.ts";
import { printable } from "../../base/printable.ts";
import { formatTable } from "../../base/table.ts";
import { type Command, defineCommand } from "../../config/command.ts";
import type { RouteReport } from "../../status/api.ts";
import { DAEMON_FLAGS } from "../daemon-flags.ts";
import { isInOrder, withDaemon } from "../status-command.ts";
import { paint } from "./colours.ts";
import type { DiagnosePorts, Terminal } from "./diagnose-ports.ts";
import { type Fabric, readFabric } from "./find-peer.ts";

// ECMA-48 and xterm: other screen buffer, cursor off; and back.
const OPEN_SCREEN = "\u001b[?1049h\u001b[?25l";
const CLOSE_SCREEN = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const CLEAR_LINE = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";

/** `flannelctl top`. */
export const topCommand = (ports: DiagnosePorts): Command =>
  defineCommand({
    summary: "show this host and its peers, problems first, drawn again every second until Ctrl-C",
    synopsis: "[--interval SECONDS] [--count N]",
    flags: {
      interval: { kind: "int", default: 1, help: "seconds between two tables" },
      count: { kind: "int", default: 0, help: "end after so many tables; 0 = never" },
      ...DAEMON_FLAGS,
    },
    run: ({ values: { interval, count, socket } }, { print, printError }) =>
      withDaemon(printError, async () => {
        if (interval < 1 || count < 0) throw new ConfigError("--interval is at least 1, --count at least 0");
        const { terminal } = ports;
        const signal = ports.untilInterrupted();
        let fabric = await readFabric(socket);
        if (terminal.isTerminal) terminal.write(OPEN_SCREEN);
        try {
          for (let drawn = 0; !signal.aborted; fabric = await readFabric(socket)) {
            const lines = drawFabric(fabric, terminal);
            if (terminal.isTerminal)
              terminal.write(
                `${HOME}${lines.map((line) => `${line}${CLEAR_LINE}`).join("\n")}${CLEAR_BELOW}`,
              );
            else print(lines.join("\n"));
            if (++drawn === count) break;
            await pause(ports, interval * 1_000, signal);
            if (signal.aborted) break;
          }
        } finally {
          if (terminal.isTerminal) terminal.write(CLOSE_SCREEN);
        }
        return 0;
      }),
  });

async function pause({ sleep }: DiagnosePorts, ms: number, signal: AbortSignal): Promise<void> {
  const aborted = new Promise<void>((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true }),
  );
  await Promise.race([sleep(ms), aborted]);
}

/** The lines of one table, cut to the terminal's size. */
export function drawFabric(
  { status, routes }: Fabric,
  terminal: Pick<Terminal, "hasColours" | "size">,
): string[] {
  const { columns, rows } = terminal.size();
  const bad = routes.filter((route) => !isInOrder(route));
  const sorted = [...bad, ...routes.filter(isInOrder)];
  const cut = (line: string) => (line.length > columns ? `${line.slice(0, columns - 1)}…` : line);
  const state = status.isReady ? "ready" : `not ready: ${status.notReadyReasons[0] ?? ""}`;
  const head = [
    `${status.host}  ${status.lease?.subnets.join(", ") || "no lease"}  ${status.backend ?? ""}  ${state}`,
    `${routes.length} subnets of peers, ${bad.length} with problems; ${status.kernel.objects} objects, ${status.kernel.repairs} repairs`,
  ].map((line) => cut(printable(line)));
  const table = formatTable([
    ["SUBNET", "PEER", "STATE", "PACKETS", "RTT", "LOSS", ""],
    ...sorted.slice(0, rows).map((route) => cellsOf(route).map(printable)),
  ]).map(cut);
  const [heading, ...body] = table;
  // The last row stays free, so that nothing scrolls.
  const shown = body.slice(0, Math.max(1, rows - head.length - 3));
  const more = sorted.length > shown.length ? [`and ${sorted.length - shown.length} more`] : [];
  return [
    paint(terminal, status.isReady ? "green" : "red", head[0]!),
    head[1]!,
    paint(terminal, "bold", heading!),
    ...shown.map((line, index) => (index < bad.length ? paint(terminal, "red", line) : line)),
    ...more,
  ];
}

function cellsOf({ subnet, publicIp, state, probe, reason }: RouteReport): string[] {
  const { rttMs, lossRatio } = probe?.overlay ?? {};
  return [
    ...[subnet, publicIp || "-", state, probe?.verdict ?? "-"],
    rttMs === undefined ? "-" : `${rttMs.mean.toFixed(1)} ms`,
    lossRatio === undefined ? "-" : `${Math.round(lossRatio * 100)} %`,
    reason ?? probe?.advice ?? "",
  ];
}
