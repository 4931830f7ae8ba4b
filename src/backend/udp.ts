/**
 * The udp backend: packets of a TUN device go to the peers in UDP, one IPv4 packet in one datagram and nothing else, as
 * Go flannel's udp backend sends them. Its leases name no type and have no data.
 */

import { type Family, formatIp } from "../address/ip.ts";
import { baseOf, formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Members } from "../config/json-members.ts";
import { keyOf, RTPROT_FLANNEL, type StateObject } from "../state/objects.ts";
import type { Backend, BackendContext, BackendModule, Host, Plan, PlanInput } from "./backend.ts";
import { familiesOf } from "./families.ts";
import { integerMember, optionalBooleanMember } from "./members.ts";
import { createPeerPlanner, type PeerAddresses, type Reach } from "./plan-peers.ts";

const TYPE = "udp";
const DEVICE = "flannel0";
const DEFAULT_PORT = 8285;
/** Outer IPv4 20 + UDP 8. */
const OVERHEAD_BYTES = 28;
/** RFC 791. */
const MINIMUM_MTU_BYTES = 68;

/** The members of `Backend` in the network config, checked. */
export interface UdpConfig {
  readonly type: typeof TYPE;
  /** UDP port, 1…65535, the same on all hosts. */
  readonly port: number;
  /** Refuse packets whose source is not in the sending peer's subnet. Off for peers behind NAT. */
  readonly strictSource: boolean;
}

/** The module of the type `udp`: the device flannel0. `parse` throws ConfigError if the network has IPv6. */
export const udp: BackendModule<UdpConfig> = {
  type: TYPE,
  // Go flannel uses the first free number.
  devices: [{ name: /^flannel\d+$/, kinds: ["tun"] }],
  parse: parseUdpConfig,
  deviceNames: () => [DEVICE],
  create: createUdpBackend,
};

function parseUdpConfig(members: Members, families: readonly Family[]): UdpConfig {
  if (families.some((family) => family !== 4)) {
    throw new ConfigError(
      "network config: the udp backend carries IPv4 only: leave EnableIPv6 out and EnableIPv4 true, or use vxlan",
    );
  }
  return {
    type: TYPE,
    port: integerMember(members, "Port", { minimum: 1, maximum: 65535, fallback: DEFAULT_PORT }),
    strictSource: optionalBooleanMember(members, "StrictSource") ?? true,
  };
}

/** The network has IPv4: {@link parseUdpConfig}. */
function createUdpBackend(config: UdpConfig, context: BackendContext): Backend {
  const { network } = context.network.ipv4!;
  // Such leases name no type (see lease.ts).
  const planPeers = createPeerPlanner({ type: "", families: familiesOf(context.network), reach });
  return {
    type: TYPE,
    published: { backendType: "", backendData: undefined, backendV6Data: undefined },
    notes: [],
    fixedMembers: { Port: config.port },
    asksForNextHops: false,
    checkHost: (host) => void mtuBytes(host),
    mtuBytes,
    listeners: ({ ipv4 }) =>
      ipv4 === undefined ? [] : [{ protocol: "udp", port: config.port, address: ipv4 }],
    ownership: () => ({ devices: new Set([DEVICE]), networks: [network] }),
    plan,
  };

  function plan(input: PlanInput): Plan {
    const state = new Map<string, StateObject>();
    const add = (object: StateObject) => state.set(keyOf(object), object);
    add({ kind: "link", name: DEVICE, type: "tun", mtuBytes: mtuBytes(input.host), up: true });
    const subnet = input.own?.ipv4;
    const local = input.host.ipv4;
    if (local === undefined) return { state, problems: [] };
    add({
      kind: "tunnel",
      device: DEVICE,
      local: formatIp(local),
      port: config.port,
      subnet: subnet === undefined || input.peers === undefined ? undefined : formatPrefix(subnet),
      strictSource: config.strictSource,
    });
    if (subnet === undefined) return { state, problems: [] };
    add({ kind: "setting", device: DEVICE, name: "disable_ipv6", on: true });
    add({ kind: "address", device: DEVICE, address: `${formatIp(baseOf(subnet))}/32` });
    const problems = planPeers(input, state);
    add({
      kind: "route",
      destination: formatPrefix(network),
      device: DEVICE,
      via: undefined,
      onlink: false,
      protocol: RTPROT_FLANNEL,
    });
    return { state, problems };
  }
}

function mtuBytes({ interfaceMtuBytes, interfaceName }: Host): number {
  const inner = interfaceMtuBytes - OVERHEAD_BYTES;
  if (inner >= MINIMUM_MTU_BYTES) return inner;
  throw new ConfigError(
    `the MTU of ${interfaceName}, ${interfaceMtuBytes} bytes, leaves ${inner} inside UDP, less than IPv4's ${MINIMUM_MTU_BYTES}: raise it`,
  );
}

/** One entry of the forwarding table: packets for the subnet go to the peer's public IP. */
function reach({ subnet, publicIp }: PeerAddresses): Reach {
  const destination = formatPrefix(subnet);
  return { objects: [{ kind: "forwarding", device: DEVICE, destination, peer: formatIp(publicIp) }] };
}
