/** Pinging every container of a lab from every other, and from every host. */

import type { Family } from "../../address/ip.ts";
import { FlannelError, hasCode } from "../../base/error.ts";
import { formatTable } from "../../base/table.ts";
import { exec } from "../../linux/exec.ts";
import { netnsPath } from "../../linux/netns.ts";
import { readSubnet } from "../clusters/daemons.ts";
import { addressesOfContainer } from "../hosts/containers.ts";
import type { Node, Topology } from "../plan/topology.ts";
import { formatFamilies } from "./family-tables.ts";

/** One cell of the table. */
export interface PingResult {
  readonly family: Family;
  readonly from: string;
  readonly to: string;
  /** Mean round trip of the answered ones; undefined if none was answered. */
  readonly rttMs: number | undefined;
  readonly lost: number;
}

/** So many ping processes at a time: they mostly wait. */
const PARALLEL = 16;
const INTERVAL_SECONDS = 0.2;
const ANSWER_SECONDS = 1;

/**
 * Sends `count` packets over every way, all ways at the same time; `onDone` after each way. Throws FlannelError if a container
 * has no address.
 */
export async function pingAll(
  topology: Topology,
  count: number,
  onDone: (done: number, all: number) => void = () => {},
): Promise<PingResult[]> {
  const containers = topology.hosts.flatMap((host) => {
    const network = readSubnet(host);
    if (network === undefined) {
      throw new FlannelError("NOT_FOUND", `${host.name} has no subnet: see "lab status" and ${host.logFile}`);
    }
    return host.containers.flatMap((container) =>
      addressesOfContainer(container, network).map(({ family, address }) => ({ container, family, address })),
    );
  });
  const sources: Node[] = [...topology.hosts.flatMap((host) => host.containers), ...topology.hosts];
  const ways = sources.flatMap((from) =>
    containers.filter(({ container }) => container.name !== from.name).map((to) => ({ from, ...to })),
  );
  const results: PingResult[] = new Array(ways.length);
  let next = 0;
  let done = 0;
  const work = async (): Promise<void> => {
    while (next < ways.length) {
      const index = next++;
      const { from, container, family, address } = ways[index]!;
      const to = container.name;
      results[index] = { family, from: from.name, to, ...(await ping(from.netns, address, count)) };
      onDone(++done, ways.length);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return results;
}

async function ping(
  netns: string,
  address: string,
  count: number,
): Promise<Pick<PingResult, "rttMs" | "lost">> {
  const args = ["-n", "-q", "-c", count, "-i", INTERVAL_SECONDS, "-W", ANSWER_SECONDS, address].map(String);
  const timeoutMs = (count * INTERVAL_SECONDS + ANSWER_SECONDS + 10) * 1000;
  try {
    const env = { PATH: process.env.PATH, LC_ALL: "C" };
    return readPing((await exec("ping", args, { netns: netnsPath(netns), timeoutMs, env })).stdout, count);
  } catch (error) {
    // No answer, or no route: exit code 1 or 2. That ping cannot be run at all is not a result.
    if (hasCode(error, "EXIT")) return { rttMs: undefined, lost: count };
    throw error;
  }
}

/** Reads the summary of ping(8): "3 packets transmitted, 2 received…" and "rtt min/avg/max/mdev = 0.05/0.06/…". */
export function readPing(output: string, count: number): Pick<PingResult, "rttMs" | "lost"> {
  const received = /(\d+) received/.exec(output)?.[1];
  const mean = /= [\d.]+\/([\d.]+)\//.exec(output)?.[1];
  return {
    rttMs: mean === undefined ? undefined : Number(mean),
    lost: count - Number(received ?? 0),
  };
}

/** A table for each family that there is, with a title if there are two. */
export function formatPings(results: readonly PingResult[]): string[] {
  return formatFamilies(
    results.map(({ family }) => family),
    (family) => formatFamily(results.filter((result) => result.family === family)),
  );
}

/** A row for each sender, a column for each receiver: mean ms, with what was lost; ✗ = no answer. */
function formatFamily(results: readonly PingResult[]): string[] {
  const senders = [...new Set(results.map(({ from }) => from))];
  const names = new Set(results.flatMap(({ from, to }) => [from, to])); // those of containers in the order of the hosts
  const receivers = [...names].filter((name) => results.some(({ to }) => to === name));
  const cellOf = (from: string, to: string): string => {
    const result = results.find((candidate) => candidate.from === from && candidate.to === to);
    if (result === undefined) return "-";
    const { rttMs, lost } = result;
    if (rttMs === undefined) return "✗";
    return lost === 0 ? rttMs.toFixed(2) : `${rttMs.toFixed(2)} (${lost} lost)`;
  };
  return formatTable([
    ["from \\ to", ...receivers],
    ...senders.map((from) => [from, ...receivers.map((to) => cellOf(from, to))]),
  ]);
}
