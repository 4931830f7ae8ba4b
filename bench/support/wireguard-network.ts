/** A network with userspace WireGuard whose peers' keys are made up: peer number `index` of peers.ts has that number's key. */

import { createHash } from "node:crypto";
import { parseIp } from "../../src/address/ip.ts";
import { encodeLeaseValue } from "../../src/lease/lease-codec.ts";
import { publicKeyOf } from "../../src/linux/wireguard-keys.ts";
import { base64Of } from "../../src/wireguard/base64.ts";
import type { NetworkKind } from "./etcd.ts";
import { type Peer, peerAt } from "./peers.ts";

export const LISTEN_PORT = 51820;

export const privateKeyOf = (index: number): Uint8Array =>
  new Uint8Array(createHash("sha256").update(`WireGuard peer ${index}`).digest());

/** With the keys of so many peers. */
export function wireguardNetwork(count: number): NetworkKind {
  const indices = new Map(Array.from({ length: count }, (_, index) => [peerAt(index).publicIp, index]));
  return {
    name: "wireguard-handshakes",
    config:
      '{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"wireguard","Implementation":"userspace"}}',
    leaseOf: ({ publicIp }: Peer) =>
      encodeLeaseValue({
        publicIp: parseIp(publicIp),
        publicIpv6: undefined,
        backendType: "wireguard",
        backendData: {
          PublicKey: base64Of(publicKeyOf(privateKeyOf(indices.get(publicIp)!))),
          Port: LISTEN_PORT,
        },
        backendV6Data: undefined,
      }),
  };
}
