/**
 * `flannelctl status`: this host and its peers as the running flanneld sees them, problems first. Exit codes: 0 healthy,
 * 1 there are problems, 2 no flanneld answers.
 */

import { FlannelError, hasCode } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import { formatTable } from "../base/table.ts";
import { type Command, defineCommand } from "../config/command.ts";
import type { RouteReport, Status } from "../status/api.ts";
import { askDaemon, NO_DAEMON } from "../status/status-client.ts";
import { DAEMON_FLAGS, formatOutput, OUTPUT_FLAGS } from "./output-format.ts";

const EXIT_PROBLEMS = 1;
const EXIT_NO_DAEMON = 2;

export const statusCommand = (): Command =>
  defineCommand({
    summary:
      "print the state of this host and its peers; exit code 1 if there are problems, 2 without flanneld",
    synopsis: "[-o table|json|yaml]",
    flags: { ...OUTPUT_FLAGS, ...DAEMON_FLAGS },
    run: ({ values: { o, socket } }, { print, printError }) =>
      withDaemon(printError, async () => {
        const status = await askDaemon<Status>(socket, "/v1/status");
        const routes = status.backend === undefined ? [] : await readRoutes(socket);
        print(await formatOutput(o, { ...status, routes }, () => describe(status, routes)));
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

/** Before the leases are known there are none. */
async function readRoutes(socket: string): Promise<readonly RouteReport[]> {
  try {
    return await askDaemon<readonly RouteReport[]>(socket, "/v1/routes");
  } catch (error) {
    if (hasCode(error, NO_DAEMON)) throw error;
    return [];
  }
}

const isHealthy = (status: Status, routes: readonly RouteReport[]): boolean =>
  status.isReady && status.peerProblems === 0 && routes.every(isInOrder);

const isInOrder = ({ state, reason }: RouteReport): boolean => state === "programmed" && reason === undefined;

function describe(status: Status, routes: readonly RouteReport[]): string[] {
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
  const lines = formatTable(rows.map((row) => row.map(printable)));
  if (routes.length === 0) return lines;
  // Problems first; otherwise in the order of the API.
  const sorted = [...routes.filter((route) => !isInOrder(route)), ...routes.filter(isInOrder)];
  const table = sorted.map((route) => [
    ...[route.subnet, route.publicIp || "-", route.backend || "-", route.via ?? "-", route.device ?? "-"],
    ...[route.state, route.reason ?? ""],
  ]);
  const heading = ["SUBNET", "PEER", "BACKEND", "VIA", "DEVICE", "STATE", ""];
  return [...lines, "", ...formatTable([heading, ...table.map((row) => row.map(printable))])];
}

function describeLease(lease: Status["lease"]): string {
  if (lease === undefined) return "not known yet";
  if (lease.subnets.length === 0) return lease.problem ?? "none";
  const expiry = lease.expiresAt === undefined ? "does not expire" : `expires ${lease.expiresAt}`;
  return `${lease.subnets.join(", ")} at ${lease.publicIps.join(", ")}, ${lease.problem ?? expiry}`;
}

const describeInterface = ({ name, mtuBytes, addresses }: NonNullable<Status["externalInterface"]>): string =>
  `${name}: ${addresses.join(", ")}, MTU ${mtuBytes}`;
