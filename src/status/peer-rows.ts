/**
 * The rows of the matrix. This host knows its own, and requests those of other hosts from their status servers while a client
 * requests the matrix. The number of requests does not grow with the cluster: above MAX_ROWS peers only their worst cells are
 * requested, from the peers that look worst from here first, and from all others in turn.
 */

import { messageOf } from "../base/error.ts";
import type { Cell, MatrixRow, PeerReport, Row } from "./api.ts";
import { compareCells, probeRow } from "./probe-row.ts";
import type { StatusSource } from "./status-source.ts";

/** Rows that are requested in one round, and peers up to which rows are complete. */
const MAX_ROWS = 100;
/** Of MAX_ROWS, for the peers that look worst from here. */
const WORST_PEERS = 50;
/** Cells of a row that is not complete. */
const WORST_CELLS = 20;
const PARALLEL = 8;
const ROUND_INTERVAL_MS = 10_000;
/** Older rows are shown no longer. */
const MAX_AGE_MS = 60_000;
/** Of what is kept where there are more peers than MAX_ROWS. */
const MAX_KEPT = 3 * MAX_ROWS;

/** How rows of other hosts are requested. */
export interface RowRequests {
  /** The port of their status servers: this host's own. */
  readonly port: number;
  /** Rejects with the reason why there is no row; `worst` = so many cells. */
  readonly fetch: (host: string, port: number, worst: number | undefined) => Promise<Row>;
  readonly nowMs: () => number;
}

interface Kept {
  readonly atMs: number;
  readonly row?: Row;
  readonly reason?: string;
}

/** The rows of the matrix: this host's own, and those of other hosts while the matrix is requested. */
export class PeerRows {
  readonly #source: Pick<StatusSource, "status" | "peers">;
  readonly #requests: RowRequests | undefined;
  readonly #refusal: string | undefined;
  /** By key of the host's lease, the oldest first. */
  readonly #kept = new Map<string, Kept>();
  #roundStartedMs = Number.NEGATIVE_INFINITY;
  #isInRound = false;
  #nextInTurn = 0;

  /** `requests` is a text if rows of other hosts are not requested: the reason. */
  constructor(source: Pick<StatusSource, "status" | "peers">, requests: RowRequests | string) {
    this.#source = source;
    if (typeof requests === "string") this.#refusal = requests;
    else this.#requests = requests;
  }

  /** This host's own row, or its worst cells; undefined = peers are not known yet. */
  own(worst?: number): Row | undefined {
    const peers = this.#source.peers();
    const { host, lease } = this.#source.status();
    return peers && probeRow({ key: lease?.key, host }, peers, worst);
  }

  /** The matrix as it is known now; starts a round of requests if the last one was some time ago. */
  rows(): Iterable<MatrixRow> | undefined {
    const peers = this.#source.peers();
    if (peers === undefined) return undefined;
    const { host, lease } = this.#source.status();
    const all = [...peers];
    const own = probeRow({ key: lease?.key, host }, all);
    this.#startRound(all, own);
    return this.#list(all, own);
  }

  *#list(peers: readonly PeerReport[], own: Row): Generator<MatrixRow> {
    const reason = own.isProbing ? undefined : NO_PROBES;
    yield { key: own.key ?? "", host: own.host, reason, cells: own.cells };
    const isComplete = peers.length <= MAX_ROWS;
    const known = new Set(peers.map(({ key }) => key));
    if (own.key !== undefined) known.add(own.key);
    for (const { key } of peers) {
      const kept = this.#kept.get(key);
      if (kept?.row === undefined && !isComplete) continue;
      yield this.#requests === undefined
        ? { key, reason: this.#refusal, cells: [] }
        : this.#rowOf(key, kept, known);
    }
  }

  #rowOf(key: string, kept: Kept | undefined, known: ReadonlySet<string>): MatrixRow {
    if (kept === undefined) return { key, reason: "not received yet", cells: [] };
    const { row, atMs, reason } = kept;
    if (row === undefined) return { key, reason, cells: [] };
    const at = new Date(atMs).toISOString();
    if (this.#requests!.nowMs() - atMs > MAX_AGE_MS)
      return { key, host: row.host, at, reason: reason ?? "the row is older than a minute", cells: [] };
    return {
      ...{ key, host: row.host, at },
      reason: row.isProbing ? reason : NO_PROBES,
      cells: row.cells.filter(({ peer }) => peer !== key && known.has(peer)),
    };
  }

  #startRound(peers: readonly PeerReport[], own: Row): void {
    if (this.#requests === undefined || this.#isInRound) return;
    const nowMs = this.#requests.nowMs();
    if (nowMs - this.#roundStartedMs < ROUND_INTERVAL_MS) return;
    this.#roundStartedMs = nowMs;
    this.#isInRound = true;
    const queue = this.#choose(peers, own.cells);
    const worst = peers.length > MAX_ROWS ? WORST_CELLS : undefined;
    void Promise.all(Array.from({ length: PARALLEL }, () => this.#work(queue, worst))).finally(() => {
      this.#isInRound = false;
      this.#forget(peers);
    });
  }

  async #work(queue: PeerReport[], worst: number | undefined): Promise<void> {
    for (let peer = queue.shift(); peer !== undefined; peer = queue.shift()) {
      const kept = await this.#request(peer, worst);
      this.#kept.delete(peer.key);
      this.#kept.set(peer.key, kept);
    }
  }

  async #request({ key, publicIps }: PeerReport, worst: number | undefined): Promise<Kept> {
    const { port, fetch, nowMs } = this.#requests!;
    const before = this.#kept.get(key);
    const host = publicIps[0];
    // A row stays for a while: the host may only be slow.
    const without = (reason: string): Kept => ({ atMs: nowMs(), ...before, reason });
    if (host === undefined) return without("its lease has no public IP");
    try {
      const row = await fetch(host, port, worst);
      if (row.key === key) return { atMs: nowMs(), row };
      return without(`at ${host} another host answers${row.key === undefined ? ", or it has no lease" : ""}`);
    } catch (error) {
      return without(`no row from ${host} port ${port}: ${messageOf(error)}`);
    }
  }

  #choose(peers: readonly PeerReport[], cells: readonly Cell[]): PeerReport[] {
    if (peers.length <= MAX_ROWS) return [...peers];
    const chosen = new Set<PeerReport>();
    const byKey = new Map(peers.map((peer) => [peer.key, peer]));
    for (const { peer } of cells.toSorted(compareCells).slice(0, WORST_PEERS)) {
      const found = byKey.get(peer);
      if (found !== undefined) chosen.add(found);
    }
    while (chosen.size < MAX_ROWS) chosen.add(peers[this.#nextInTurn++ % peers.length]!);
    return [...chosen];
  }

  #forget(peers: readonly PeerReport[]): void {
    const known = new Set(peers.map(({ key }) => key));
    for (const key of this.#kept.keys())
      if (!known.has(key) || this.#kept.size > MAX_KEPT) this.#kept.delete(key);
  }
}

const NO_PROBES = "no results of probes: they are off, or have just begun";
