/** What the page knows: the answers of the API joined by peer, and what is derived from them. No DOM here. */

import type { Cell, MatrixRow, PeerReport, ProbeReport, RouteReport, Status, StatusEvent } from "../api.ts";
import { compareCells } from "../probe-row.ts";

/** How the page marks what it shows. */
export type Health = "good" | "warn" | "bad" | "unknown";

/** A peer with all that the table shows. */
export interface PeerView {
  readonly key: string;
  readonly peer: PeerReport;
  readonly routes: readonly RouteReport[];
  /** The worst of its families. */
  readonly probe: ProbeReport | undefined;
  readonly health: Health;
  /** What is wrong, and what to do about it. */
  readonly reasons: readonly string[];
  /** In lower case, for the search. */
  readonly haystack: string;
}

/** One answer of each path of the API that the page requests. */
export interface Answers {
  readonly status: Status;
  readonly peers: readonly PeerReport[];
  readonly routes: readonly RouteReport[];
  readonly rows: readonly MatrixRow[];
}

const HEALTH_ORDER: readonly Health[] = ["bad", "warn", "unknown", "good"];

/** Peers with problems first, then by key. */
export function joinPeers({ peers, routes }: Pick<Answers, "peers" | "routes">): PeerView[] {
  const routesOf = Map.groupBy(routes, ({ peer }) => peer);
  return peers
    .map((peer) => viewOf(peer, routesOf.get(peer.key) ?? []))
    .sort(
      (a, b) => HEALTH_ORDER.indexOf(a.health) - HEALTH_ORDER.indexOf(b.health) || compareKeys(a.key, b.key),
    );
}

const collator = new Intl.Collator("en", { numeric: true });
const compareKeys = collator.compare;

function viewOf(peer: PeerReport, routes: readonly RouteReport[]): PeerView {
  const probe = worstProbe(peer.probes ?? []);
  const bad = routes.find(({ state }) => state !== "programmed");
  const reasons = [
    ...new Set(
      [probe?.advice, peer.problem, ...routes.map(({ reason }) => reason)].filter(
        (text) => text !== undefined,
      ),
    ),
  ];
  const states = routes.map(({ state }) => state);
  const texts = [
    peer.key,
    ...peer.subnets,
    ...peer.publicIps,
    peer.backend,
    ...states,
    probe?.verdict ?? "",
    ...reasons,
  ];
  return {
    ...{ key: peer.key, peer, routes, probe, reasons },
    health: healthOf(probe, bad?.state, reasons.length > 0),
    haystack: texts.join("\n").toLowerCase(),
  };
}

function healthOf(
  probe: ProbeReport | undefined,
  bad: RouteReport["state"] | undefined,
  hasReason: boolean,
): Health {
  const verdict = probe?.verdict ?? "unknown";
  if (bad === "failed" || bad === "refused") return "bad";
  if (verdict !== "unknown" && verdict !== "reachable") return "bad";
  if (bad !== undefined || hasReason || (probe?.overlay.lossRatio ?? 0) > 0) return "warn";
  return verdict === "reachable" ? "good" : "unknown";
}

const cellOf = ({ family, verdict, overlay }: ProbeReport): Cell => ({
  ...{ peer: "", family, verdict },
  ...{ rttMs: overlay.rttMs?.mean, lossRatio: overlay.lossRatio },
});

const worstProbe = (probes: readonly ProbeReport[]): ProbeReport | undefined =>
  probes.toSorted((a, b) => compareCells(cellOf(a), cellOf(b)))[0];

/** How a cell of the matrix is marked. */
export const cellHealth = ({ verdict, lossRatio = 0 }: Cell): Health =>
  verdict === "unknown" ? "unknown" : verdict !== "reachable" ? "bad" : lossRatio > 0 ? "warn" : "good";

/** A pair of hosts. */
export interface Pair extends Cell {
  readonly from: string;
}

/** All pairs that are known, the worst first. */
export const worstPairs = (rows: readonly MatrixRow[]): Pair[] =>
  rows.flatMap(({ key, cells }) => cells.map((cell) => ({ ...cell, from: key }))).sort(compareCells);

/** For each peer of a row, the cell of its worst family. */
export function cellsByPeer({ cells }: MatrixRow): ReadonlyMap<string, Cell> {
  const found = new Map<string, Cell>();
  for (const cell of cells) {
    const other = found.get(cell.peer);
    if (other === undefined || compareCells(cell, other) < 0) found.set(cell.peer, cell);
  }
  return found;
}

/** The numbers at the top of the page. */
export interface Summary {
  readonly medianMs: number | undefined;
  readonly worstMs: number | undefined;
  readonly meanLoss: number | undefined;
}

/** What this host's own row says in three numbers. */
export function summarize(own: readonly Cell[]): Summary {
  const rtts = own.flatMap(({ rttMs }) => rttMs ?? []).sort((a, b) => a - b);
  const losses = own.flatMap(({ lossRatio }) => lossRatio ?? []);
  return {
    medianMs: rtts[Math.floor(rtts.length / 2)],
    worstMs: rtts.at(-1),
    meanLoss: losses.length === 0 ? undefined : losses.reduce((sum, each) => sum + each, 0) / losses.length,
  };
}

/** When each lease was last concerned by an event, in ms since unix epoch. */
export function lastChanges(events: readonly StatusEvent[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const { key, at } of events) if (key !== undefined) found.set(key, Date.parse(at));
  return found;
}

/** When a peer last changed: its lease, or whether packets get through; undefined = not as far as is known. */
export function changedAt(
  { key, probe }: PeerView,
  changes: ReadonlyMap<string, number>,
): number | undefined {
  const times = [changes.get(key), probe?.overlay.since, probe?.underlay.since].flatMap((time) =>
    time === undefined ? [] : typeof time === "number" ? time : Date.parse(time),
  );
  return times.length === 0 ? undefined : Math.max(...times);
}
