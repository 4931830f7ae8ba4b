/** Peers of our WireGuard devices. Which addresses are theirs are objects of their own (allowed-ip.ts). */

import type { ObjectKind } from "../object-kind.ts";

/** A peer of a WireGuard device. */
export interface WireguardPeerEntry {
  readonly kind: "wireguard-peer";
  readonly device: string;
  /** In base64. */
  readonly publicKey: string;
  /** "192.168.7.2:51820" as it was set; where the peer roams to is up to the device, and no drift. */
  readonly endpoint: string;
  /** 0 = off. */
  readonly keepaliveSeconds: number;
  /** Fingerprint of the preshared key; "" = none. */
  readonly presharedKeyId: string;
}

/** Key: device and public key. The wireguard provider holds it. */
export const wireguardPeer: ObjectKind<WireguardPeerEntry> = {
  kind: "wireguard-peer",
  key: ({ device, publicKey }) => `wireguard-peer ${device} ${publicKey}`,
  device: ({ device }) => device,
  describe: ({ device, publicKey, endpoint, keepaliveSeconds, presharedKeyId }) =>
    [
      `wireguard peer ${publicKey} endpoint ${endpoint || "unknown"} dev ${device}`,
      keepaliveSeconds === 0 ? "" : `persistent-keepalive ${keepaliveSeconds}`,
      presharedKeyId === "" ? "" : `preshared key ${presharedKeyId}`,
    ]
      .filter((text) => text !== "")
      .join(" "),
};
