/** Made-up peers, all different: subnets of 10.0.0.0/8, public addresses of 172.16.0.0/12, locally administered MACs. */

import type { LeaseAttributes, SubnetPair } from "../../src/lease/lease.ts";
import { encodeLeaseKey, encodeLeaseValue } from "../../src/lease/lease-codec.ts";

/** The network config under which they are valid. */
export const NETWORK_CONFIG = '{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"vxlan","VNI":1}}';
/** The device of that config. */
export const DEVICE = "flannel.1";
export const SUBNET_LENGTH = 24;

/** 10.0.0.0/16 stays free: hosts under test take their subnets from its start. */
const FIRST_SUBNET = 256;

export interface Peer {
  /** "10.1.0.0/24". */
  readonly subnet: string;
  /** "10.1.0.0": the address of its VXLAN device, through which the route leads. */
  readonly vtep: string;
  readonly publicIp: string;
  readonly mac: string;
  /** As a node: what flannel annotates it with. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Its lease as Go flannel writes it: the key below `subnets/`, and the value. */
  readonly key: string;
  readonly value: string;
}

/** Peer number `index` (0…60,000). `generation` (0…255) gives it another public IP and MAC, as a reinstalled host has. */
export function peerAt(index: number, generation = 0): Peer {
  const base = ((10 << 24) | ((FIRST_SUBNET + index) << 8)) >>> 0;
  const publicIp = (((172 << 24) | (16 << 16)) >>> 0) + (index + 1) * 16 + (generation % 16);
  const mac = [2, generation, index >>> 24, index >>> 16, index >>> 8, index]
    .map((byte) => (byte & 255).toString(16).padStart(2, "0"))
    .join(":");
  const subnets: SubnetPair = {
    ipv4: { family: 4, base: BigInt(base), length: SUBNET_LENGTH },
    ipv6: undefined,
  };
  const attributes: LeaseAttributes = {
    publicIp: { family: 4, value: BigInt(publicIp) },
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: mac },
    backendV6Data: undefined,
  };
  const vtep = dotted(base);
  return {
    subnet: `${vtep}/${SUBNET_LENGTH}`,
    vtep,
    publicIp: dotted(publicIp),
    mac,
    annotations: {
      "flannel.alpha.coreos.com/backend-data": JSON.stringify(attributes.backendData),
      "flannel.alpha.coreos.com/backend-type": "vxlan",
      "flannel.alpha.coreos.com/kube-subnet-manager": "true",
      "flannel.alpha.coreos.com/public-ip": dotted(publicIp),
    },
    key: encodeLeaseKey(subnets),
    value: encodeLeaseValue(attributes),
  };
}

/** Its name as a node. */
export const peerName = (index: number): string => `peer-${String(index).padStart(5, "0")}`;

const dotted = (address: number): string =>
  [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
