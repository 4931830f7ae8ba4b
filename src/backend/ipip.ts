/**
 * The ipip backend: one IPIP device (RFC 2003), and per peer a route whose gateway is the peer's public IP, which the device
 * takes as the outer destination. With DirectRouting a peer on the same link gets a plain route instead. IPv4 only. Its
 * leases say `"BackendType":"ipip"` and hold no data of their own, as Go flannel's.
 */

import { type Family, formatIp } from "../address/ip.ts";
import { baseOf, formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Members } from "../config/json-members.ts";
import { keyOf, RTPROT_FLANNEL, type StateObject } from "../state/objects.ts";
import type { Backend, BackendContext, BackendModule, Host, Plan, PlanInput } from "./backend.ts";
import { directRoute } from "./direct-route.ts";
import { type FamilyFields, familiesOf } from "./families.ts";
import { booleanMember, integerMember } from "./members.ts";
import { createPeerPlanner, type PeerAddresses, type Reach } from "./plan-peers.ts";

const TYPE = "ipip";
const DEVICE = "flannel.ipip";
/** Outer IPv4 header (RFC 2003 §3). */
const OVERHEAD_BYTES = 20;
/** Minimum MTU of IPv4 (RFC 791). */
const MINIMUM_MTU_BYTES = 68;

/** The members of `Backend` in the network config, checked. */
export interface IpipConfig {
  readonly type: typeof TYPE;
  /** Plain routes to peers on a link of this host. */
  readonly directRouting: boolean;
  /** Takes the place of the external interface's MTU where that is larger; 0 = take the interface's. */
  readonly mtuBytes: number;
}

/** The module of the type `ipip`: the device flannel.ipip. `parse` throws ConfigError if the network has IPv6. */
export const ipip: BackendModule<IpipConfig> = {
  type: TYPE,
  devices: [{ name: /^flannel\.ipip$/, kinds: ["ipip"] }],
  parse: parseIpipConfig,
  deviceNames: () => [DEVICE],
  create: createIpipBackend,
};

function parseIpipConfig(members: Members, families: readonly Family[]): IpipConfig {
  if (families.some((family) => family !== 4)) {
    throw new ConfigError(
      "network config: the ipip backend carries IPv4 only: leave EnableIPv6 out and EnableIPv4 true, or use vxlan",
    );
  }
  return {
    type: TYPE,
    directRouting: booleanMember(members, "DirectRouting"),
    mtuBytes: integerMember(members, "MTU", { minimum: 0, maximum: 65535, fallback: 0 }),
  };
}

function createIpipBackend(
  { directRouting, mtuBytes: configuredMtuBytes }: IpipConfig,
  { network }: BackendContext,
): Backend {
  const families = familiesOf(network);
  const planPeers = createPeerPlanner({ type: TYPE, families, reach });
  return {
    type: TYPE,
    published: { backendType: TYPE, backendData: undefined, backendV6Data: undefined },
    notes: [],
    fixedMembers: {},
    asksForNextHops: directRouting,
    checkHost: (host) => void mtuBytes(host),
    mtuBytes,
    listeners: ({ ipv4 }) => (ipv4 === undefined ? [] : [{ protocol: "ipip", address: ipv4 }]),
    ownership: ({ ipv4 }) => ({
      devices: new Set([DEVICE]),
      networks: ipv4 === undefined ? [] : [ipv4.network],
    }),
    plan,
  };

  function plan(input: PlanInput): Plan {
    const state = new Map<string, StateObject>();
    const add = (object: StateObject) => state.set(keyOf(object), object);
    const { ipv4: local, interfaceName } = input.host;
    if (local === undefined) throw new ConfigError(`interface ${interfaceName} has no IPv4 address`);
    add({
      kind: "link",
      name: DEVICE,
      type: "ipip",
      local: formatIp(local),
      mtuBytes: mtuBytes(input.host),
      up: true,
    });
    const subnet = input.own?.ipv4;
    if (subnet !== undefined)
      add({ kind: "address", device: DEVICE, address: `${formatIp(baseOf(subnet))}/32` });
    return { state, problems: planPeers(input, state) };
  }

  function mtuBytes({ interfaceMtuBytes, interfaceName }: Host): number {
    const outer = Math.min(configuredMtuBytes || interfaceMtuBytes, interfaceMtuBytes);
    const inner = outer - OVERHEAD_BYTES;
    if (inner >= MINIMUM_MTU_BYTES) return inner;
    throw new ConfigError(
      `an MTU of ${outer} bytes leaves ${inner} inside IPIP, less than IPv4's ${MINIMUM_MTU_BYTES}: ` +
        `raise Backend.MTU in the network config or the MTU of ${interfaceName}`,
    );
  }

  function reach({ subnet, publicIp }: PeerAddresses, _family: FamilyFields, input: PlanInput): Reach {
    const hop = directRouting ? input.nextHop(publicIp) : undefined;
    if (hop !== undefined && hop.via === undefined && hop.device !== DEVICE)
      return { objects: [directRoute(subnet, publicIp, hop.device)] };
    const destination = formatPrefix(subnet);
    const via = formatIp(publicIp);
    return {
      objects: [{ kind: "route", destination, device: DEVICE, via, onlink: true, protocol: RTPROT_FLANNEL }],
    };
  }
}
