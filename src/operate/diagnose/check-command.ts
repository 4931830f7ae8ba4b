/**
 * `flannelctl check`: why packets do not get through to a peer, or to any. Exit codes: 0 all steps of all peers are fine,
 * 1 at least one failed, 2 no flanneld answers or a usage error.
 */

import { ConfigError } from "../../base/error.ts";
import { printable } from "../../base/printable.ts";
import { type Command, defineCommand } from "../../config/command.ts";
import { formatOutput, OUTPUT_FLAGS } from "../../config/output-format.ts";
import type { RouteReport } from "../../status/api.ts";
import { DAEMON_FLAGS } from "../daemon-flags.ts";
import { withDaemon } from "../status-command.ts";
import type { PeerCheck, Step } from "./check-finding.ts";
import { checkPeer } from "./check-steps.ts";
import { paint } from "./colours.ts";
import type { DiagnosePorts, Terminal } from "./diagnose-ports.ts";
import { findRoutes, readFabric } from "./find-peer.ts";

const EXIT_FAULTS = 1;
/** Peers that are checked at the same time. */
const CONCURRENT = 8;

/** `flannelctl check`. */
export const checkCommand = (ports: DiagnosePorts): Command =>
  defineCommand({
    summary: "find out step by step why packets do not reach a peer, and what to do; exit code 1 if anything",
    synopsis: "[PEER|SUBNET|ADDRESS|--all] [-o table|json|yaml]",
    flags: {
      all: { kind: "bool", help: "check every peer; also without a peer's name" },
      ...OUTPUT_FLAGS,
      ...DAEMON_FLAGS,
    },
    takes: { words: true },
    run: ({ values: { all, o, socket }, positional }, { print, printError }) =>
      withDaemon(printError, async () => {
        if (all && positional.length > 0) throw new ConfigError("give a peer or --all, not both");
        const fabric = await readFabric(socket);
        const routes =
          positional.length === 0
            ? fabric.routes
            : positional.flatMap((name) => findRoutes(fabric.routes, name));
        const checks = await checkAll(routes, (route) => checkPeer(ports, fabric, route));
        const sorted = [
          ...checks.filter(({ isReachable }) => !isReachable),
          ...checks.filter(({ isReachable }) => isReachable),
        ];
        const { isReady, notReadyReasons, host } = fabric.status;
        const report = { host, isReady, notReadyReasons, peers: sorted };
        print(
          await formatOutput(o, report, () => [
            ...notReadyReasons.map((reason) =>
              paint(ports.terminal, "red", printable(`✗ this host is not ready: ${reason}`)),
            ),
            ...sorted.flatMap((check) => describe(check, ports.terminal)),
            summarize(sorted),
          ]),
        );
        return isReady && sorted.every(({ isReachable }) => isReachable) ? 0 : EXIT_FAULTS;
      }),
  });

async function checkAll(
  routes: readonly RouteReport[],
  check: (route: RouteReport) => Promise<PeerCheck>,
): Promise<readonly PeerCheck[]> {
  const results: PeerCheck[] = [];
  let next = 0;
  const work = async () => {
    for (let index = next++; index < routes.length; index = next++)
      results[index] = await check(routes[index]!);
  };
  await Promise.all(Array.from({ length: CONCURRENT }, work));
  return results;
}

const MARKS: Readonly<Record<Step["state"], readonly [string, "red" | "green" | "yellow" | "dim"]>> = {
  ok: ["✓", "green"],
  failed: ["✗", "red"],
  unknown: ["?", "yellow"],
  skipped: ["-", "dim"],
};

function describe({ subnet, publicIp, steps }: PeerCheck, terminal: Terminal): string[] {
  return [
    paint(terminal, "bold", printable(`peer ${subnet} at ${publicIp || "no public IP"}`)),
    ...steps.flatMap(({ name, state, seen, advice }) => {
      const [mark, colour] = MARKS[state];
      const lines = [paint(terminal, colour, printable(`  ${mark} ${name.padEnd(8)}  ${seen}`))];
      if (advice !== undefined) lines.push(printable(`              → ${advice}`));
      return lines;
    }),
  ];
}

function summarize(checks: readonly PeerCheck[]): string {
  if (checks.length === 0) return "There are no peers.";
  const bad = checks.filter(({ isReachable }) => !isReachable).length;
  return bad === 0
    ? `All ${checks.length} subnets of peers are reachable.`
    : `${bad} of ${checks.length} subnets of peers have problems.`;
}
