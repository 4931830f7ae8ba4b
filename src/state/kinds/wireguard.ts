/** The identity of one of our WireGuard devices: which key it has, and which UDP port. Held by wireguard/provider.ts. */

import { hasCode } from "../../base/error.ts";
import type { ObjectKind } from "../object-kind.ts";

/** Key and port of a WireGuard device. The private key is known by its public key only. */
export interface WireguardIdentity {
  readonly kind: "wireguard";
  readonly device: string;
  /** In base64. */
  readonly publicKey: string;
  /** UDP port, 1…65535. */
  readonly listenPort: number;
}

/** Key: device. The wireguard provider holds it; EADDRINUSE (the port) gets advice. */
export const wireguard: ObjectKind<WireguardIdentity> = {
  kind: "wireguard",
  key: ({ device }) => `wireguard ${device}`,
  device: ({ device }) => device,
  describe: ({ device, publicKey, listenPort }) =>
    `wireguard ${device} public key ${publicKey} listen port ${listenPort}`,
  // It goes with its device.
  isKeptWhenUndesired: true,
  advise: ({ object: { listenPort } }, error) =>
    hasCode(error, "EADDRINUSE")
      ? `another program has UDP port ${listenPort} open (see 'ss -lunp sport = ${listenPort}'): stop it, or choose another ListenPort in the network config`
      : undefined,
};
