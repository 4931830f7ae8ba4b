/** Which peer of a WireGuard device has which addresses: where packets to them go, and whose packets may come from them. */

import type { ObjectKind } from "../object-kind.ts";

/** An entry in the allowed IPs of a WireGuard device: it belongs to one peer. */
export interface AllowedIp {
  readonly kind: "allowed-ip";
  readonly device: string;
  /** "10.5.2.0/24". */
  readonly prefix: string;
  /** The peer's, in base64. */
  readonly publicKey: string;
}

/** Key: device and prefix, because WireGuard gives a prefix to one peer of a device only. The wireguard provider holds it. */
export const allowedIp: ObjectKind<AllowedIp> = {
  kind: "allowed-ip",
  key: ({ device, prefix }) => `allowed-ip ${device} ${prefix}`,
  device: ({ device }) => device,
  describe: ({ device, prefix, publicKey }) =>
    `allowed-ip ${prefix} of wireguard peer ${publicKey} dev ${device}`,
};
