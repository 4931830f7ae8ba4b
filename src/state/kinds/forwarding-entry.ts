/** Entries of the udp backend's forwarding table: which peer a tunnel (tunnel.ts) sends packets for a subnet to. */

import type { ObjectKind } from "../object-kind.ts";

/** One entry of the forwarding table. */
export interface ForwardingEntry {
  readonly kind: "forwarding";
  readonly device: string;
  /** "10.5.2.0/24". */
  readonly destination: string;
  /** Public IP of the peer. */
  readonly peer: string;
}

/** Key: device and destination. The tunnel provider holds it. */
export const forwardingEntry: ObjectKind<ForwardingEntry> = {
  kind: "forwarding",
  key: ({ device, destination }) => `forwarding ${device} ${destination}`,
  device: ({ device }) => device,
  describe: ({ device, destination, peer }) => `forwarding ${destination} to ${peer} dev ${device}`,
};
