/** A host's row of the matrix: the results of its probes, one cell for each peer and family. Used by server and page. */

import type { Cell, PeerReport, Row } from "./api.ts";

/** From the best to the worst. */
const SEVERITY: readonly Cell["verdict"][] = [
  "reachable",
  "unknown",
  "packets too large",
  "one direction",
  "overlay down",
  "underlay down",
];

/** The row of the host of this name and lease; with `worst`, only so many cells, the worst first. */
export function probeRow(
  { key, host }: Pick<Row, "key" | "host">,
  peers: Iterable<PeerReport>,
  worst?: number,
): Row {
  const cells: Cell[] = [];
  for (const { key: peer, probes } of peers)
    for (const { family, verdict, overlay } of probes ?? [])
      cells.push({ peer, family, verdict, rttMs: overlay.rttMs?.mean, lossRatio: overlay.lossRatio });
  const wanted = worst === undefined ? cells : cells.sort(compareCells).slice(0, worst);
  return { key, host, isProbing: cells.length > 0, cells: wanted };
}

/** Orders cells for Array.sort(), the worst first: by verdict, then loss, then round-trip time. */
export const compareCells = (a: Cell, b: Cell): number =>
  SEVERITY.indexOf(b.verdict) - SEVERITY.indexOf(a.verdict) ||
  (b.lossRatio ?? 0) - (a.lossRatio ?? 0) ||
  (b.rttMs ?? 0) - (a.rttMs ?? 0);
