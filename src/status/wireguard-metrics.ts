/** The counters of WireGuard devices as metrics: totals per device, so that their number does not grow with the cluster. */

import type { Metric } from "./metrics-text.ts";

/** What the peers of a device have moved since startup, peers that have left included. */
export interface DeviceTraffic {
  readonly device: string;
  readonly peers: number;
  /** Peers that packets are sent to without a handshake. */
  readonly silentPeers: number;
  readonly handshakes: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** The metrics of these devices, with the device as their label. */
export function wireguardMetrics(devices: readonly DeviceTraffic[]): Metric[] {
  const metric = (
    type: "counter" | "gauge",
    name: string,
    help: string,
    read: (traffic: DeviceTraffic) => number,
  ): Metric => ({
    ...{ name: `flannel_wireguard_${name}`, type, help },
    samples: devices.map((traffic) => ({ labels: { device: traffic.device }, value: read(traffic) })),
  });
  return [
    metric("gauge", "peers", "Peers of the WireGuard device.", ({ peers }) => peers),
    metric(
      "gauge",
      "silent_peers",
      "Peers of the WireGuard device that packets are sent to without a handshake.",
      ({ silentPeers }) => silentPeers,
    ),
    metric("counter", "handshakes_total", "Handshakes of the WireGuard device.", (each) => each.handshakes),
    metric(
      "counter",
      "sent_bytes_total",
      "Bytes that the WireGuard device sent to its peers, tunnel headers included.",
      ({ sentBytes }) => sentBytes,
    ),
    metric(
      "counter",
      "received_bytes_total",
      "Bytes that the WireGuard device received from its peers, tunnel headers included.",
      ({ receivedBytes }) => receivedBytes,
    ),
  ];
}
