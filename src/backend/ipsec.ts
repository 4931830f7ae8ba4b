/**
 * The ipsec backend: strongSwan's charon agrees on keys with each peer by IKEv2 and a preshared key, and the kernel encrypts
 * the packets between the two subnets in ESP tunnels (RFC 4303). IPv4 only. Leases say `"BackendType":"ipsec"` and hold no
 * data, as Go flannel's.
 */

import { type Family, formatIp } from "../address/ip.ts";
import { formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Members } from "../config/json-members.ts";
import type { StateObject } from "../state/objects.ts";
import type { Backend, BackendContext, BackendModule, Host, Plan, PlanInput } from "./backend.ts";
import { type FamilyFields, familiesOf } from "./families.ts";
import { booleanMember, textMember } from "./members.ts";
import { createPeerPlanner, type PeerAddresses, type Reach } from "./plan-peers.ts";

const TYPE = "ipsec";
/** Outer IPv4 20, ESP 8, IV 16, padding up to 15, trailer 2, ICV 16: what Go flannel subtracts, whatever the proposal. */
const OVERHEAD_BYTES = 77;
const UDP_OVERHEAD_BYTES = 8;
/** Minimum MTU of IPv4 (RFC 791). */
const MINIMUM_MTU_BYTES = 68;
/** Shortest preshared key in characters, as in Go flannel. */
const MINIMUM_PSK_LENGTH = 96;
const DEFAULT_ESP_PROPOSAL = "aes128gcm16-sha256-prfsha256-ecp256";

/** The members of `Backend` with their defaults. */
export interface IpsecConfig {
  readonly type: typeof TYPE;
  /** ESP in UDP also where no NAT is detected. */
  readonly udpEncap: boolean;
  /** In strongSwan's words. */
  readonly espProposal: string;
  /** A secret. */
  readonly presharedKey: string;
}

/** The module of the type `ipsec`: no devices. `parse` throws ConfigError for IPv6 and for a short or missing key. */
export const ipsec: BackendModule<IpsecConfig> = {
  type: TYPE,
  devices: [],
  parse: parseIpsecConfig,
  deviceNames: () => [],
  create: createIpsecBackend,
};

function parseIpsecConfig(members: Members, families: readonly Family[]): IpsecConfig {
  if (families.some((family) => family !== 4)) {
    throw new ConfigError(
      "network config: the ipsec backend carries IPv4 only: leave EnableIPv6 out and EnableIPv4 true, or use wireguard",
    );
  }
  const presharedKey = textMember(members, "PSK", "");
  if (presharedKey.length < MINIMUM_PSK_LENGTH) {
    throw new ConfigError(
      `network config: Backend.PSK has ${presharedKey.length} characters, and the ipsec backend needs at least ${MINIMUM_PSK_LENGTH}: make one with 'openssl rand -hex 48'`,
    );
  }
  const espProposal = textMember(members, "ESPProposal", "") || DEFAULT_ESP_PROPOSAL;
  if (!/^[a-z0-9_]+(?:-[a-z0-9_]+)*$/.test(espProposal)) {
    throw new ConfigError(
      `network config: Backend.ESPProposal must be algorithms of strongSwan like ${DEFAULT_ESP_PROPOSAL}, not ${JSON.stringify(espProposal).slice(0, 60)}`,
    );
  }
  return { type: TYPE, udpEncap: booleanMember(members, "UDPEncap"), espProposal, presharedKey };
}

function createIpsecBackend(
  { udpEncap, espProposal, presharedKey }: IpsecConfig,
  { network, keys }: BackendContext,
): Backend {
  if (keys === undefined)
    throw new ConfigError("the ipsec backend needs a preshared key, which is not available here");
  const presharedKeyId = keys.registerSecret(presharedKey);
  const families = familiesOf(network);
  const planPeers = createPeerPlanner({ type: TYPE, families, reach });
  return {
    type: TYPE,
    published: { backendType: TYPE, backendData: undefined, backendV6Data: undefined },
    notes: [],
    fixedMembers: {},
    asksForNextHops: false,
    listeners: ({ ipv4 }) =>
      ipv4 === undefined ? [] : [500, 4500].map((port) => ({ protocol: "udp", port, address: ipv4 })),
    checkHost: (host) => void mtuBytes(host),
    mtuBytes,
    ownership: ({ ipv4 }) => ({ devices: new Set(), networks: ipv4 === undefined ? [] : [ipv4.network] }),
    plan(input: PlanInput): Plan {
      const state = new Map<string, StateObject>();
      return { state, problems: planPeers(input, state) };
    },
  };

  function mtuBytes({ interfaceMtuBytes, interfaceName }: Host): number {
    const inner = interfaceMtuBytes - OVERHEAD_BYTES - (udpEncap ? UDP_OVERHEAD_BYTES : 0);
    if (inner >= MINIMUM_MTU_BYTES) return inner;
    throw new ConfigError(
      `the MTU of ${interfaceName}, ${interfaceMtuBytes} bytes, leaves ${inner} inside IPsec, less than IPv4's ${MINIMUM_MTU_BYTES}: raise it`,
    );
  }

  function reach(
    { subnet, publicIp }: PeerAddresses,
    _family: FamilyFields,
    input: PlanInput,
  ): Reach | string {
    const { host, own } = input;
    if (host.publicIp === undefined || own?.ipv4 === undefined) return "this host has no public IPv4 address";
    const [local, remote] = [formatIp(host.publicIp), formatIp(publicIp)];
    const [localSubnet, remoteSubnet] = [formatPrefix(own.ipv4), formatPrefix(subnet)];
    const incoming = {
      kind: "xfrm-policy",
      source: remoteSubnet,
      destination: localSubnet,
      tunnelSource: remote,
      tunnelDestination: local,
    } as const;
    return {
      objects: [
        {
          kind: "xfrm-policy",
          direction: "out",
          source: localSubnet,
          destination: remoteSubnet,
          tunnelSource: local,
          tunnelDestination: remote,
        },
        { ...incoming, direction: "in" },
        { ...incoming, direction: "fwd" },
        {
          kind: "ipsec-connection",
          ...{ local, remote, localSubnet, remoteSubnet, udpEncap, espProposal, presharedKeyId },
        },
      ],
    };
  }
}
