/**
 * `flannelctl trace`: the path of a packet, object by object, and where it dies; the way back as the other host's API describes it,
 * where that is reachable. Exit codes: 0 the packet leaves this host (and was answered, if it was sent from here), 1 it dies, 2
 * no flanneld answers or a usage error.
 */

import { formatIp, parseIp } from "../../address/ip.ts";
import { ConfigError } from "../../base/error.ts";
import { printable } from "../../base/printable.ts";
import { type Command, defineCommand } from "../../config/command.ts";
import { formatOutput, OUTPUT_FLAGS } from "../../config/output-format.ts";
import type { RouteReport } from "../../status/api.ts";
import { DAEMON_FLAGS } from "../daemon-flags.ts";
import { withDaemon } from "../status-command.ts";
import { paint } from "./colours.ts";
import type { DiagnosePorts } from "./diagnose-ports.ts";
import { firstEcho } from "./echo-series.ts";
import { type Fabric, readFabric, resolveTarget } from "./find-peer.ts";
import { ownSource } from "./ping-command.ts";
import { type Hop, peerOf, tracePath } from "./trace-path.ts";

const EXIT_DIES = 1;
const PEER_TIMEOUT_MS = 1_000;
const STATUS_PORT = 7_000;

/** `flannelctl trace`. */
export const traceCommand = (ports: DiagnosePorts): Command =>
  defineCommand({
    summary: 'follow a packet from an address (or "host") to a peer, object by object, to where it dies',
    synopsis: "FROM|host TO [-o table|json|yaml]",
    flags: { ...OUTPUT_FLAGS, ...DAEMON_FLAGS },
    takes: { words: ["FROM", "TO"] },
    run: ({ values: { o, socket }, positional }, { print, printError }) =>
      withDaemon(printError, async () => {
        const [fromText, toText] = positional as [string, string];
        const from = parseIp(fromText);
        if (from === undefined && fromText !== "host")
          throw new ConfigError(
            `FROM ${JSON.stringify(fromText)} is no IP address; "host" is this host itself`,
          );
        const fabric = await readFabric(socket);
        const { target } = resolveTarget(fabric, toText);
        using rtnetlink = ports.openRtnetlink();
        const hops = [...tracePath(rtnetlink, fabric, { from, to: target })];
        const isAlive = hops.every(({ problem }) => problem === undefined);
        // From an address of this host the packet can be sent; for a container's it would be forged.
        const source = from ?? ownSource(ports, fabric.status, target.family);
        const isOwn =
          source !== undefined && rtnetlink.addresses().some(({ address }) => address === formatIp(source));
        if (isAlive && (from === undefined || isOwn)) {
          const echo = await firstEcho(ports, target, isOwn ? source : undefined);
          hops.push(
            "rttMs" in echo
              ? { object: "peer", seen: `${formatIp(target)} answers in ${echo.rttMs.toFixed(2)} ms` }
              : {
                  object: "peer",
                  seen: formatIp(target),
                  problem: `${echo.problem}; run flannelctl check ${toText}`,
                },
          );
        }
        const back = await readWayBack(fabric, formatIp(target));
        const report = { from: fromText, to: formatIp(target), hops, wayBack: back };
        const dies = hops.some(({ problem }) => problem !== undefined);
        print(
          await formatOutput(o, report, () => [
            ...hops.map((hop) => describe(hop, ports)),
            back === undefined
              ? "  the way back is not known: the peer's status server is not reachable from here; run flannelctl trace there"
              : printable(
                  `  way back, as the peer says: ${back.subnet} via ${back.via ?? "-"} dev ${back.device ?? "-"}, ${back.state}${back.reason === undefined ? "" : `: ${back.reason}`}`,
                ),
          ]),
        );
        return dies ? EXIT_DIES : 0;
      }),
  });

function describe({ object, seen, problem }: Hop, { terminal }: DiagnosePorts): string {
  const line = `${problem === undefined ? "✓" : "✗"} ${object.padEnd(9)}  ${seen}${problem === undefined ? "" : `: ${problem}`}`;
  return paint(terminal, problem === undefined ? "green" : "red", printable(line));
}

/** The route to this host's subnet, from the peer's status server where that listens for others. */
async function readWayBack({ status, routes }: Fabric, target: string): Promise<RouteReport | undefined> {
  const own = status.lease?.subnets ?? [];
  const peer = peerOf(routes, target);
  if (peer === undefined || peer.publicIp === "" || own.length === 0) return undefined;
  const host = peer.publicIp.includes(":") ? `[${peer.publicIp}]` : peer.publicIp;
  try {
    const answer = await fetch(`http://${host}:${STATUS_PORT}/v1/routes`, {
      signal: AbortSignal.timeout(PEER_TIMEOUT_MS),
    });
    if (!answer.ok) return undefined;
    const theirs = (await answer.json()) as readonly RouteReport[];
    return theirs.find(({ subnet }) => own.includes(subnet));
  } catch {
    return undefined;
  }
}
