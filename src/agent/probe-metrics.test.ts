import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProbeReport } from "../status/api.ts";
import { formatMetrics } from "../status/metrics-text.ts";
import { probeMetrics } from "./probe-metrics.ts";

test("probes as metrics: totals, and the worst peers by name; a hostile name stays a label", () => {
  const probe: ProbeReport = {
    ...{ family: "ipv4", verdict: "overlay down", advice: "open the port" },
    underlay: { state: "up", lossRatio: 0, rttMs: { min: 1, mean: 2, p99: 3 } },
    overlay: { state: "down", lossRatio: 1 },
  };
  const verdicts = { reachable: 4, "overlay down": 1 };
  const text = formatMetrics(probeMetrics({ sent: 7, verdicts, worst: [{ peer: 'a"}\n1', probe }] }));
  const lines = text.split("\n").filter((line) => !line.startsWith("#") && line !== "");
  const name = 'peer="a\\"}\\n1",family="ipv4"';
  assert.deepEqual(lines, [
    "flannel_probe_packets_total 7",
    'flannel_probe_peers{verdict="reachable"} 4',
    'flannel_probe_peers{verdict="overlay down"} 1',
    `flannel_probe_unreachable{${name},verdict="overlay down"} 1`,
    `flannel_probe_rtt_seconds{${name},path="underlay",statistic="min"} 0.001`,
    `flannel_probe_rtt_seconds{${name},path="underlay",statistic="mean"} 0.002`,
    `flannel_probe_rtt_seconds{${name},path="underlay",statistic="p99"} 0.003`,
    `flannel_probe_loss_ratio{${name},path="underlay"} 0`,
    `flannel_probe_loss_ratio{${name},path="overlay"} 1`,
  ]);
  assert.deepEqual(probeMetrics(undefined), []);
});
