/**
 * `flannelctl status`: this host and its peers as the running flanneld sees them, problems first, with what to do about
 * them. Exit codes: 0 healthy, 1 there are problems, 2 no flanneld answers.
 */

import { FlannelError, hasCode } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import { formatTable } from "../base/table.ts";
import { type Command, defineCommand } from "../config/command.ts";
import { formatOutput, OUTPUT_FLAGS } from "../config/output-format.ts";
import type { RouteReport, Status } from "../status/api.ts";
import { NO_DAEMON } from "../status/status-client.ts";
import { DAEMON_FLAGS } from "./daemon-flags.ts";
import { paint } from "./diagnose/colours.ts";
import type { Terminal } from "./diagnose/diagnose-ports.ts";
import { readFabric } from "./diagnose/find-peer.ts";

const EXIT_PROBLEMS = 1;
const EXIT_NO_DAEMON = 2;

/** `flannelctl status`. */
export const statusCommand = (terminal: Pick<Terminal, "hasColours">): Command =>
  defineCommand({
    summary:
      "print the state of this host and its peers; exit code 1 if there are problems, 2 without flanneld",
    synopsis: "[-o table|json|yaml]",
    flags: { ...OUTPUT_FLAGS, ...DAEMON_FLAGS },
    run: ({ values: { o, socket } }, { print, printError }) =>
      withDaemon(printError, async () => {
        const { status, routes } = await readFabric(socket);
        print(await formatOutput(o, { ...status, routes }, () => describeFabric(status, routes, terminal)));
        return isHealthy(status, routes) ? 0 : EXIT_PROBLEMS;
      }),
  });

/** Runs `command`; exit code 2 and a line if no flanneld answers. */
export async function withDaemon(
  printError: (line: string) => void,
  command: () => Promise<number>,
): Promise<number> {
  try {
    return await command();
  } catch (error) {
    if (!(error instanceof FlannelError) || !hasCode(error, NO_DAEMON)) throw error;
    printError(`flannelctl: ${printable(error.message)}`);
    return EXIT_NO_DAEMON;
  }
}

const isHealthy = (status: Status, routes: readonly RouteReport[]): boolean =>
  status.isReady && status.peerProblems === 0 && routes.every(isInOrder);

const FINE = ["unknown", "reachable"];

/** Nothing is known to be wrong with the route. */
export const isInOrder = ({ state, reason, probe }: RouteReport): boolean =>
  state === "programmed" && reason === undefined && FINE.includes(probe?.verdict ?? "unknown");

/** Lines for people: the host, then a table of its peers. */
function describeFabric(
  status: Status,
  routes: readonly RouteReport[],
  terminal: Pick<Terminal, "hasColours">,
): string[] {
  const { lease, externalInterface: external } = status;
  const rows = [
    ["host", `${status.host}, flanneld ${status.version} since ${status.startedAt}`],
    ["state", status.isReady ? "ready" : "not ready"],
    ...status.notReadyReasons.map((reason) => ["problem", reason]),
    ...status.notes.map((note) => ["note", note]),
    ["network", [...status.networks, status.backend ?? "not known yet"].join(" ")],
    ["lease", describeLease(lease)],
    ["interface", external === undefined ? "not known yet" : describeInterface(external)],
    ["datastore", status.datastore],
    ["peers", `${status.peers}${status.peerProblems === 0 ? "" : `, ${status.peerProblems} with problems`}`],
    [
      "kernel",
      `${status.kernel.objects} objects, ${status.kernel.failures} refused, ${status.kernel.repairs} repairs`,
    ],
  ];
  const lines = formatTable(rows.map((row) => row.map(printable))).map((line, index) => {
    const [name, value] = rows[index]!;
    if (name === "problem" || value === "not ready") return paint(terminal, "red", line);
    if (name === "note") return paint(terminal, "yellow", line);
    return value === "ready" ? paint(terminal, "green", line) : line;
  });
  if (routes.length === 0) return lines;
  return [...lines, "", ...describeRoutes(routes, terminal)];
}

/** Problems first; otherwise in the order of the API. */
function describeRoutes(routes: readonly RouteReport[], terminal: Pick<Terminal, "hasColours">): string[] {
  const sorted = [...routes.filter((route) => !isInOrder(route)), ...routes.filter(isInOrder)];
  const isProbed = routes.some(({ probe }) => probe !== undefined);
  const table = sorted.map(({ subnet, publicIp, backend, via, device, state, reason, probe }) => [
    ...[subnet, publicIp || "-", backend || "-", via ?? "-", device ?? "-", state],
    ...(isProbed ? [probe?.verdict ?? "-", ...pathCells(probe)] : []),
    [reason, probe?.advice].filter((each) => each !== undefined).join("; "),
  ]);
  const heading = ["SUBNET", "PEER", "BACKEND", "VIA", "DEVICE", "STATE"];
  const probed = isProbed ? ["PACKETS", "RTT", "LOSS"] : [];
  const [first, ...rest] = formatTable([
    [...heading, ...probed, ""],
    ...table.map((row) => row.map(printable)),
  ]);
  const painted = rest.map((line, index) =>
    isInOrder(sorted[index]!) ? line : paint(terminal, "red", line),
  );
  return [paint(terminal, "bold", first!), ...painted];
}

function pathCells(probe: RouteReport["probe"]): readonly [rtt: string, loss: string] {
  const { rttMs, lossRatio } = probe?.overlay ?? {};
  return [
    rttMs === undefined ? "-" : `${rttMs.mean.toFixed(1)} ms`,
    lossRatio === undefined ? "-" : `${Math.round(lossRatio * 100)} %`,
  ];
}

function describeLease(lease: Status["lease"]): string {
  if (lease === undefined) return "not known yet";
  if (lease.subnets.length === 0) return lease.problem ?? "none";
  const expiry = lease.expiresAt === undefined ? "does not expire" : `expires ${lease.expiresAt}`;
  return `${lease.subnets.join(", ")} at ${lease.publicIps.join(", ")}, ${lease.problem ?? expiry}`;
}

const describeInterface = ({ name, mtuBytes, addresses }: NonNullable<Status["externalInterface"]>): string =>
  `${name}: ${addresses.join(", ")}, MTU ${mtuBytes}`;
