/**
 * `flannelctl ping`: ICMP echo through the tunnel to a peer, or to any address, with sizes that are tested on the wire. Exit
 * codes: 0 every packet was answered (or a size was found), 1 not all were, 2 no flanneld answers or a usage error.
 */

import { formatIp } from "../../address/ip.ts";
import { ConfigError } from "../../base/error.ts";
import { printable } from "../../base/printable.ts";
import { type Command, defineCommand } from "../../config/command.ts";
import { formatOutput, OUTPUT_FLAGS } from "../../config/output-format.ts";
import { DAEMON_FLAGS } from "../daemon-flags.ts";
import { withDaemon } from "../status-command.ts";
import { type DiagnosePorts, SMALLEST_ECHO_BYTES } from "./diagnose-ports.ts";
import { echoOnce, firstEcho, largestPacket } from "./echo-series.ts";
import { ownOverlayAddress, readFabric, resolveTarget } from "./find-peer.ts";

const EXIT_LOSS = 1;
const INTERVAL_MS = 200;
const LARGEST_PACKET_BYTES = 65_535;

/** `flannelctl ping`. */
export const pingCommand = (ports: DiagnosePorts): Command =>
  defineCommand({
    summary: "send ICMP echos through the tunnel to a peer; --sweep finds the largest packet that passes",
    synopsis: "PEER|SUBNET|ADDRESS [--count N] [--size BYTES] [--sweep] [-o table|json|yaml]",
    flags: {
      count: { kind: "int", default: 4, help: "number of packets" },
      size: { kind: "int", default: 84, help: "size of the IP packets in bytes; they are never fragmented" },
      sweep: { kind: "bool", help: "find the largest packet that passes, by bisection" },
      ...OUTPUT_FLAGS,
      ...DAEMON_FLAGS,
    },
    takes: { words: ["PEER"] },
    run: ({ values, positional }, { print, printError }) =>
      withDaemon(printError, async () => {
        const { count, size, o } = values;
        requireRange("--count", count, 1, 100_000);
        requireRange("--size", size, SMALLEST_ECHO_BYTES, LARGEST_PACKET_BYTES);
        const fabric = await readFabric(values.socket);
        const { target, label } = resolveTarget(fabric, positional[0]!);
        const source = ownSource(ports, fabric.status, target.family);
        const isTable = o === "table";
        const from = source === undefined ? "" : ` from ${formatIp(source)}`;
        if (isTable) print(printable(`ping ${label}${from}`));
        if (values.sweep) return await sweep();
        using socket = ports.openEcho(target, source);
        const rttsMs: number[] = [];
        const signal = ports.untilInterrupted();
        let sent = 0;
        for (; sent < count && !signal.aborted; sent++) {
          if (sent > 0) await ports.sleep(INTERVAL_MS);
          const outcome = await echoOnce(ports, socket, sent % 65_536, size);
          if ("rttMs" in outcome) rttsMs.push(outcome.rttMs);
          const text = "rttMs" in outcome ? `${outcome.rttMs.toFixed(2)} ms` : outcome.problem;
          if (isTable) print(`${size} bytes, packet ${sent + 1}: ${text}`);
        }
        const report = {
          target: formatIp(target),
          ...{ packetBytes: size, sent, answered: rttsMs.length },
          ...(rttsMs.length === 0 ? {} : { rttMs: summarize(rttsMs) }),
        };
        print(await formatOutput(o, report, () => [describe(report)]));
        return report.answered === sent ? 0 : EXIT_LOSS;

        async function sweep(): Promise<number> {
          const first = await firstEcho(ports, target, source);
          const mtuBytes = deviceMtu(ports, formatIp(target)) ?? LARGEST_PACKET_BYTES;
          const found =
            "rttMs" in first
              ? await largestPacket(ports, target, {
                  ...{ mostBytes: mtuBytes, rttMs: first.rttMs },
                  ...(source && { source }),
                })
              : undefined;
          const problem = "problem" in first ? first.problem : undefined;
          const report = {
            target: formatIp(target),
            deviceMtuBytes: mtuBytes,
            largestPacketBytes: found,
            problem,
          };
          print(
            await formatOutput(o, report, () => [
              found === undefined
                ? `nothing passes: ${problem ?? "no answer"}`
                : `packets of up to ${found} bytes pass; the MTU of this host's device is ${mtuBytes}`,
            ]),
          );
          return found === undefined ? EXIT_LOSS : 0;
        }
      }),
  });

function requireRange(flag: string, value: number, least: number, most: number): void {
  if (value < least || value > most)
    throw new ConfigError(`${flag} ${value} is not between ${least} and ${most}`);
}

/** The own address in the overlay, if this host has it (the bridge of a host without containers has none yet). */
export function ownSource(
  ports: DiagnosePorts,
  status: Parameters<typeof ownOverlayAddress>[0],
  family: 4 | 6,
): ReturnType<typeof ownOverlayAddress> {
  const address = ownOverlayAddress(status, family);
  if (address === undefined) return undefined;
  using rtnetlink = ports.openRtnetlink();
  const isHere = rtnetlink.addresses({ family }).some((each) => each.address === formatIp(address));
  return isHere ? address : undefined;
}

/** The MTU of the device that packets to this address leave through. */
function deviceMtu(ports: DiagnosePorts, address: string): number | undefined {
  using rtnetlink = ports.openRtnetlink();
  const { oif } = rtnetlink.lookupRoute(address) ?? {};
  return oif === undefined ? undefined : rtnetlink.link(oif)?.mtuBytes;
}

const summarize = (rttsMs: readonly number[]) => ({
  min: round(Math.min(...rttsMs)),
  mean: round(rttsMs.reduce((sum, each) => sum + each, 0) / rttsMs.length),
  max: round(Math.max(...rttsMs)),
});

const round = (value: number): number => Math.round(value * 1_000) / 1_000;

function describe({
  sent,
  answered,
  rttMs,
}: {
  sent: number;
  answered: number;
  rttMs?: ReturnType<typeof summarize>;
}): string {
  const lost = sent === 0 ? 0 : Math.round((1 - answered / sent) * 100);
  const times =
    rttMs === undefined ? "" : `, round trip min/mean/max ${rttMs.min}/${rttMs.mean}/${rttMs.max} ms`;
  return `${sent} sent, ${answered} answered, ${lost} % lost${times}`;
}
