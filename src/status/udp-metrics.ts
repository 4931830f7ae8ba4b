/** The counters of the udp backend's data path as metrics. */

import type { Metric } from "./metrics-text.ts";

/** `counters` by the names of datapath/counters.ts. */
export function udpMetrics(counters: Readonly<Record<string, number>>): Metric[] {
  const value = (name: string): number => counters[name] ?? 0;
  const byDirection = (unit: string) => [
    { labels: { direction: "sent" }, value: value(`sent${unit}`) },
    { labels: { direction: "received" }, value: value(`received${unit}`) },
  ];
  const drops = Object.entries(counters).filter(([name]) => name.startsWith("dropped"));
  return [
    {
      ...{ name: "flannel_udp_packets_total", type: "counter" },
      help: "Packets that the udp backend moved, by direction seen from this host.",
      samples: byDirection("Packets"),
    },
    {
      ...{ name: "flannel_udp_bytes_total", type: "counter" },
      help: "Bytes of packets that the udp backend moved, without the tunnel's headers.",
      samples: byDirection("Bytes"),
    },
    {
      ...{ name: "flannel_udp_dropped_packets_total", type: "counter" },
      help: "Packets that the udp backend dropped, by reason.",
      samples: drops.map(([name, count]) => ({ labels: { reason: reasonOf(name) }, value: count })),
    },
    {
      ...{ name: "flannel_udp_icmp_errors_total", type: "counter" },
      help: "ICMP errors to senders of packets that could not be delivered: sent, or withheld by the rate limit.",
      samples: [
        { labels: { result: "sent" }, value: value("icmpErrors") },
        { labels: { result: "withheld" }, value: value("icmpErrorsWithheld") },
      ],
    },
  ];
}

/** "droppedNoRoute" → "no_route". */
const reasonOf = (name: string): string =>
  name
    .replace("dropped", "")
    .replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`)
    .toLowerCase();
