/** What a run cost, as text: a line for each fault while it runs, a table of all kinds of fault at the end. */

import { formatTable } from "../../src/base/table.ts";
import type { Outcome, SoakOptions } from "./soak.ts";

const ms = (value: number | undefined): string => (value === undefined ? "never" : `${value.toFixed(0)} ms`);
const longest = (times: readonly (number | undefined)[]): number | undefined =>
  times.reduce(
    (most, each) => (most === undefined || each === undefined ? undefined : Math.max(most, each)),
    0,
  );
const lostOf = ({ losses }: Outcome): number => losses.reduce((sum, { lost }) => sum + lost, 0);

/** "  12.3 s  h2  device deleted: recovered after 210 ms; lost h1→h2 2, h2→h1 1". */
export function formatOutcome(outcome: Outcome): string {
  const { atMs, host, fault, recoveredAfterMs, losses, failures } = outcome;
  const lost = losses.filter((loss) => loss.lost > 0).map(({ direction, lost }) => `${direction} ${lost}`);
  const seconds = (atMs / 1000).toFixed(1).padStart(6);
  const line = `${seconds} s  ${host}  ${fault}: recovered after ${ms(recoveredAfterMs)}; lost ${lost.join(", ") || "nothing"}`;
  return [line, ...failures.map((failure) => `          ✖ ${failure}`)].join("\n");
}

/** One row for each kind of fault, then totals; the command that repeats the run. */
export function formatReport(outcomes: readonly Outcome[], { backend, seed }: SoakOptions): string {
  const kinds = Map.groupBy(outcomes, ({ fault }) => fault);
  const rows = [...kinds].map(([fault, all]) => [
    ...[fault, String(all.length)],
    String(all.reduce((sum, { losses }) => sum + losses.reduce((n, { sent }) => n + sent, 0), 0)),
    String(all.reduce((sum, each) => sum + lostOf(each), 0)),
    String(Math.max(...all.flatMap(({ losses }) => losses.map(({ lost }) => lost)))),
    ms(longest(all.map(({ recoveredAfterMs }) => recoveredAfterMs))),
  ]);
  const last = outcomes.at(-1);
  return [
    ...formatTable([["fault", "times", "sent", "lost", "most in a direction", "longest recovery"], ...rows]),
    "",
    `${backend}: ${outcomes.length} faults of ${kinds.size} kinds in ${((last?.atMs ?? 0) / 1000).toFixed(0)} s`,
    `Resident memory in MB, each minute: ${memoryByMinute(outcomes)}`,
    `Repeat: node test/soak/run.ts --backend ${backend} --seed ${seed} --faults ${outcomes.length}`,
  ].join("\n");
}

/** "67/66/70, 68/66/71": the three hosts, after the first fault of each minute. */
function memoryByMinute(outcomes: readonly Outcome[]): string {
  const minutes = Map.groupBy(outcomes, ({ atMs }) => Math.floor(atMs / 60_000));
  return [...minutes.values(), outcomes.slice(-1)]
    .map(([first]) => (first?.residentMegabytes ?? []).map((mb) => mb.toFixed(0)).join("/"))
    .join(", ");
}
