/**
 * Injects faults one after the other, at hosts chosen at random, while packets flow between all pods. After each one the
 * bed has to recover: all hosts ready with their subnets, packets in all directions; and no more packets may be lost than
 * the fault allows, none between hosts that it does not concern.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../src/base/error.ts";
import { Chance } from "../../src/testing/random-packets.ts";
import type { BackendName, SoakHost } from "./bed.ts";
import { Bed } from "./bed.ts";
import { type Allowance, allowanceOf, type Fault, type Target } from "./fault.ts";
import { faultsOf, shuffled } from "./faults.ts";
import { type Loss, Pings } from "./pings.ts";

const STANDS_MS = 500;
const RECOVERY_DEADLINE_MS = 30_000;
const REPORT_DEADLINE_MS = 10_000;
const LOOK_AGAIN_MS = 50;

/** One fault and what it cost. */
export interface Outcome {
  readonly fault: string;
  readonly host: string;
  /** Since the start of the run. */
  readonly atMs: number;
  /** From the end of the fault (undone, or injected) until everything was in order; undefined: never. */
  readonly recoveredAfterMs: number | undefined;
  readonly losses: readonly Loss[];
  /** What should not be, one line each. */
  readonly failures: readonly string[];
  /** What the hosts logged meanwhile, if something should not be. */
  readonly logs: string;
  /** Resident memory of each flanneld afterwards, in MB. */
  readonly residentMegabytes: readonly number[];
}

export interface SoakOptions {
  readonly backend: BackendName;
  readonly seed: number;
  /** No fault is injected after this time, or after so many. */
  readonly forMs?: number;
  readonly faults?: number;
  /** Only faults whose name matches. */
  readonly only?: RegExp;
  readonly onOutcome?: (outcome: Outcome) => void;
}

/** Runs until time or number are used up, or until the bed does not recover. */
export async function soak(options: SoakOptions): Promise<Outcome[]> {
  const { backend, seed, forMs = Infinity, faults = Infinity, only = /./ } = options;
  const chance = new Chance(seed);
  const deck = faultsOf(backend).filter(({ name }) => only.test(name));
  if (deck.length === 0) throw new Error(`no fault of ${backend} has a name that matches ${only}`);
  await using bed = await Bed.start(backend);
  using pings = new Pings(bed.hosts.map(({ pod }) => pod));
  const startedMs = performance.now();
  const first = await untilRecovered(bed, pings, startedMs);
  if (first.length > 0) throw new Error(`the bed does not work before any fault:\n${first.join("\n")}`);
  const outcomes: Outcome[] = [];
  for (const fault of shuffled(deck, chance)) {
    if (outcomes.length >= faults || performance.now() - startedMs >= forMs) break;
    const [host, peer] = [...shuffledHosts(bed.hosts, chance)] as [SoakHost, SoakHost];
    const outcome = await injectOne(fault, { bed, host, peer, chance }, pings, startedMs);
    outcomes.push(outcome);
    options.onOutcome?.(outcome);
    if (outcome.recoveredAfterMs === undefined) break;
  }
  return outcomes;
}

async function injectOne(fault: Fault, target: Target, pings: Pings, startedMs: number): Promise<Outcome> {
  const { bed, host } = target;
  const failures: string[] = [];
  const logged = new Map(bed.hosts.map(({ name, daemon }) => [name, daemon.log.length]));
  const injectedMs = performance.now();
  try {
    const undo = await fault.inject(target);
    if (undo !== undefined) {
      await sleep(fault.standsMs ?? STANDS_MS); // the fault is a matter of time, not of a condition
      if (fault.reported !== undefined && !(await isReported(host, fault.reported, logged.get(host.name)!))) {
        failures.push(`neither /readyz nor the log of ${host.name} matches ${fault.reported}`);
      }
      await undo();
    }
  } catch (error) {
    failures.push(`the fault could not be injected: ${messageOf(error)}`);
  }
  const endedMs = performance.now();
  const problems = await untilRecovered(bed, pings, endedMs);
  const isRecovered = problems.length === 0;
  const recoveredMs = performance.now();
  failures.push(...problems);
  const losses = pings.lossesBetween(injectedMs, recoveredMs - 200);
  failures.push(
    ...excess(losses, fault.isEverywhere ? undefined : host.name, allowanceOf(fault, bed.backend), endedMs),
  );
  const logs: string[] = [];
  for (const each of failures.length === 0 ? [] : bed.hosts) {
    logs.push(`--- ${each.name}`, each.daemon.log.slice(logged.get(each.name)));
    if (!isRecovered) logs.push(await bed.describe(each));
  }
  return {
    fault: fault.name,
    host: host.name,
    atMs: injectedMs - startedMs,
    recoveredAfterMs: isRecovered ? recoveredMs - endedMs : undefined,
    losses,
    failures,
    logs: logs.join("\n"),
    residentMegabytes: bed.hosts.map(({ daemon }) => daemon.residentMegabytes ?? 0),
  };
}

/** Waits until nothing is wrong; what still is at the deadline. */
async function untilRecovered(bed: Bed, pings: Pings, sinceMs: number): Promise<string[]> {
  const deadlineMs = performance.now() + RECOVERY_DEADLINE_MS;
  for (;;) {
    const silent = pings.silentDirections(sinceMs);
    const isLate = performance.now() > deadlineMs;
    if (silent.length === 0 || isLate) {
      const problems = [...silent.map((name) => `no packets ${name}`), ...(await bed.problems())];
      if (problems.length === 0 || isLate) return problems;
    }
    await sleep(LOOK_AGAIN_MS);
  }
}

async function isReported(host: SoakHost, pattern: RegExp, from: number): Promise<boolean> {
  const deadlineMs = performance.now() + REPORT_DEADLINE_MS;
  do {
    if (pattern.test(host.daemon.log.slice(from))) return true;
    if (pattern.test((await host.daemon.health())?.body ?? "")) return true;
    await sleep(LOOK_AGAIN_MS);
  } while (performance.now() < deadlineMs);
  return false;
}

function excess(
  losses: readonly Loss[],
  host: string | undefined,
  allowance: Allowance,
  endedMs: number,
): string[] {
  return losses.flatMap(({ direction, hosts, lost, lastLostAtMs }) => {
    if (lost === 0) return [];
    if (host !== undefined && !hosts.includes(host))
      return [`${lost} packets lost ${direction}, which the fault does not concern`];
    if ("packets" in allowance) {
      return lost <= allowance.packets
        ? []
        : [`${lost} packets lost ${direction}, allowed are ${allowance.packets}`];
    }
    const lateMs = lastLostAtMs! - endedMs;
    return lateMs <= allowance.withinMs
      ? []
      : [`packets lost ${direction} for ${lateMs.toFixed(0)} ms, allowed are ${allowance.withinMs} ms`];
  });
}

function* shuffledHosts(hosts: readonly SoakHost[], chance: Chance): Generator<SoakHost> {
  const rest = [...hosts];
  while (rest.length > 0) yield rest.splice(chance.below(rest.length), 1)[0]!;
}
