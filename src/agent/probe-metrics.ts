/** What the probes found, as metrics. Totals for all peers, and only the worst peers by name, so that the number stays bounded. */

import type { ProbeReport } from "../status/api.ts";
import { type Metric, type Sample, single } from "../status/metrics-text.ts";

/** Peers that have metrics of their own. */
export const WORST_PEERS = 25;

export interface ProbeNumbers {
  /** Probes sent since startup. */
  readonly sent: number;
  /** Targets by verdict. */
  readonly verdicts: Readonly<Record<string, number>>;
  /** The worst, most severe first. */
  readonly worst: readonly { readonly peer: string; readonly probe: ProbeReport }[];
}

/** Undefined = probes are off: no metrics. */
export function probeMetrics(numbers: ProbeNumbers | undefined): Metric[] {
  if (numbers === undefined) return [];
  const { sent, verdicts, worst } = numbers;
  const rtts: Sample[] = [];
  const losses: Sample[] = [];
  const faults: Sample[] = [];
  for (const { peer, probe } of worst) {
    const name = { peer, family: probe.family };
    if (probe.advice !== undefined) faults.push({ labels: { ...name, verdict: probe.verdict }, value: 1 });
    for (const path of ["underlay", "overlay"] as const) {
      const { rttMs, lossRatio } = probe[path];
      const labels = { ...name, path };
      if (lossRatio !== undefined) losses.push({ labels, value: lossRatio });
      if (rttMs === undefined) continue;
      for (const statistic of ["min", "mean", "p99"] as const)
        rtts.push({ labels: { ...labels, statistic }, value: rttMs[statistic] / 1_000 });
    }
  }
  return [
    single("counter", "flannel_probe_packets_total", "Echo requests that were sent to peers.", sent),
    {
      ...{ name: "flannel_probe_peers", type: "gauge" },
      help: "Peers by verdict; one in two families counts twice.",
      samples: Object.entries(verdicts).map(([verdict, value]) => ({ labels: { verdict }, value })),
    },
    {
      ...{ name: "flannel_probe_unreachable", type: "gauge" },
      help: `1 for each peer that is unreachable; at most ${WORST_PEERS}.`,
      samples: faults,
    },
    {
      ...{ name: "flannel_probe_rtt_seconds", type: "gauge" },
      help: `Round-trip times of the latest 32 answers, of the ${WORST_PEERS} worst peers.`,
      samples: rtts,
    },
    {
      ...{ name: "flannel_probe_loss_ratio", type: "gauge" },
      help: `Share of the latest 32 probes that were lost, of the ${WORST_PEERS} worst peers.`,
      samples: losses,
    },
  ];
}
