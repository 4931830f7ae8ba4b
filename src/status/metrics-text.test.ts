import assert from "node:assert/strict";
import { test } from "node:test";
import { formatMetrics, Histogram } from "./metrics-text.ts";
import { processMetrics } from "./process-metrics.ts";
import { udpMetrics } from "./udp-metrics.ts";

test("labels and help are escaped, and metrics without samples left out", () => {
  const metric = { name: "a_total", type: "counter", help: "one\\two\nthree" } as const;
  const text = formatMetrics([
    { ...metric, samples: [{ labels: { peer: 'x"y\\z\n' }, value: 1.5 }] },
    { ...metric, name: "b_total", samples: [] },
  ]);
  assert.equal(
    text,
    '# HELP a_total one\\\\two\\nthree\n# TYPE a_total counter\na_total{peer="x\\"y\\\\z\\n"} 1.5\n',
  );
});

test("a histogram counts into all buckets above", () => {
  const histogram = new Histogram([0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) histogram.observe(value);
  const help = "Time.";
  assert.deepEqual(
    formatMetrics([{ name: "t_seconds", type: "histogram", help, samples: histogram.samples }])
      .split("\n")
      .slice(2, -1),
    [
      't_seconds_bucket{le="0.1"} 2',
      't_seconds_bucket{le="1"} 3',
      't_seconds_bucket{le="+Inf"} 4',
      "t_seconds_sum 7.65",
      "t_seconds_count 4",
    ],
  );
});

test("process metrics are those of this process", () => {
  const value = (name: string) => processMetrics().find((metric) => metric.name === name)!.samples[0]!.value;
  assert.ok(Math.abs(value("process_start_time_seconds") - Date.now() / 1000 + process.uptime()) < 1);
  assert.ok(value("process_resident_memory_bytes") > 1e7);
  assert.ok(value("process_open_fds") >= 3);
  assert.ok(value("process_cpu_seconds_total") > 0);
});

test("drops of the udp backend by reason", () => {
  const text = formatMetrics(udpMetrics({ sentPackets: 3, droppedNoRoute: 2, droppedTtl: 1 }));
  assert.match(text, /^flannel_udp_packets_total\{direction="sent"\} 3$/m);
  assert.match(text, /^flannel_udp_dropped_packets_total\{reason="no_route"\} 2$/m);
  assert.match(text, /^flannel_udp_dropped_packets_total\{reason="ttl"\} 1$/m);
});
