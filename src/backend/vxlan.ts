/**
 * The vxlan backend: per family one VXLAN device (RFC 7348), and per peer a route, a static neighbour and an FDB entry,
 * so that the kernel never has to ask or learn. With DirectRouting a peer on the same link gets a plain route instead.
 * Lease data as Go flannel's: `{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`, in BackendV6Data for the device of IPv6.
 */

import { type Family, formatIp } from "../address/ip.ts";
import { isUnicastMac, localMac, parseMac } from "../address/mac.ts";
import { baseOf, formatPrefix, type Prefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { type Members, readMember } from "../config/json-members.ts";
import type { Lease } from "../lease/lease.ts";
import {
  keyOf,
  RTPROT_FLANNEL,
  type SettingName,
  type StateObject,
  type VxlanLink,
} from "../state/objects.ts";
import type {
  Backend,
  BackendContext,
  BackendModule,
  Host,
  PeerProblem,
  Plan,
  PlanInput,
} from "./backend.ts";
import { directRoute } from "./direct-route.ts";
import { type FamilyNames, familiesOf, labelled } from "./families.ts";
import { booleanMember, integerMember, optionalBooleanMember } from "./members.ts";
import { peersOfType, publicIpProblem, subnetProblem } from "./peers.ts";
import { rememberByPeer } from "./remember.ts";
import { createSubnetClaims } from "./subnet-claims.ts";

const TYPE = "vxlan";
/** Outer Ethernet 14 + IP + UDP 8 + VXLAN 8 (RFC 7348 §5); IPv4 has 20, IPv6 40 (W25). */
const OVERHEAD_BYTES = { 4: 50, 6: 70 } as const;
/** The least MTU that IP allows (RFC 791; RFC 8200 §5: with less the kernel has no IPv6 on the device). */
const MINIMUM_MTU_BYTES = { 4: 68, 6: 1280 } as const;
/** Addresses of one VTEP. */
const HOST_LENGTH = { 4: 32, 6: 128 } as const;
/** What the kernel uses when no port is given (drivers/net/vxlan: vxlan_port); IANA's is 4789. */
const DEFAULT_PORT = 8472;

export interface VxlanConfig {
  readonly type: typeof TYPE;
  /** VXLAN network identifier (RFC 7348 §5), 1…2^24-1. */
  readonly vni: number;
  /** UDP port, 1…65535. */
  readonly port: number;
  /** Group Based Policy (IFLA_VXLAN_GBP). */
  readonly gbp: boolean;
  /** Learning of addresses from traffic (IFLA_VXLAN_LEARNING). */
  readonly learning: boolean;
  /** Plain routes to peers on a link of this host. */
  readonly directRouting: boolean;
  /** Undefined = whatever the kernel or an operator has set. */
  readonly disableTxChecksum: boolean | undefined;
  /** Takes the place of the external interface's MTU where that is larger; 0 = take the interface's. */
  readonly mtuBytes: number;
}

export const vxlan: BackendModule<VxlanConfig> = {
  type: TYPE,
  parse: parseVxlanConfig,
  deviceNames: ({ vni }, network) => familiesOf(network).map(({ family }) => deviceName(family, vni)),
  create: createVxlanBackend,
};

const deviceName = (family: Family, vni: number): string =>
  family === 4 ? `flannel.${vni}` : `flannel-v6.${vni}`;

function parseVxlanConfig(members: Members): VxlanConfig {
  return {
    type: TYPE,
    vni: integerMember(members, "VNI", { minimum: 1, maximum: 2 ** 24 - 1, fallback: 1 }),
    port: integerMember(members, "Port", { minimum: 0, maximum: 65535, fallback: 0 }) || DEFAULT_PORT,
    gbp: booleanMember(members, "GBP"),
    learning: booleanMember(members, "Learning"),
    directRouting: booleanMember(members, "DirectRouting"),
    disableTxChecksum: optionalBooleanMember(members, "DisableTxChecksum"),
    mtuBytes: integerMember(members, "MTU", { minimum: 0, maximum: 65535, fallback: 0 }),
  };
}

/** The device of one family. */
interface Tunnel extends FamilyNames {
  readonly device: string;
  readonly mac: string;
}

function createVxlanBackend(config: VxlanConfig, context: BackendContext): Backend {
  const tunnels = familiesOf(context.network).map((family): Tunnel => {
    const device = deviceName(family.family, config.vni);
    return { ...family, device, mac: vtepMac(context, device, family.dataName) };
  });
  const devices = new Set(tunnels.map(({ device }) => device));
  const outcomes = rememberByPeer((peer, input) => tunnels.map((tunnel) => outcomeOf(peer, tunnel, input)));
  const dataOf = (family: 4 | 6) => {
    const tunnel = tunnels.find((each) => each.family === family);
    return tunnel && { VNI: config.vni, VtepMAC: tunnel.mac };
  };

  return {
    type: TYPE,
    published: { backendType: TYPE, backendData: dataOf(4), backendV6Data: dataOf(6) },
    notes: [],
    fixedMembers: { VNI: config.vni },
    asksForNextHops: config.directRouting,
    checkHost: (host) => void mtuBytes(host),
    mtuBytes,
    ownership: (network) => ({
      devices,
      networks: familiesOf(network).flatMap(({ name }) => network[name]?.network ?? []),
    }),
    plan,
  };

  function plan(input: PlanInput): Plan {
    const state = new Map<string, StateObject>();
    const add = (object: StateObject) => state.set(keyOf(object), object);
    const problems: PeerProblem[] = [];
    /** MACs of each tunnel: the FDB entries of two stations with one MAC would take each other's place. */
    const stations = new Map<string, string>();
    for (const tunnel of tunnels) {
      const { family, name, device, mac } = tunnel;
      add(linkOf(tunnel, input.host));
      for (const [setting, on] of settingsOf(tunnel)) add({ kind: "setting", device, name: setting, on });
      const subnet = input.own?.[name];
      if (subnet === undefined) continue;
      add({ kind: "address", device, address: `${formatIp(baseOf(subnet))}/${HOST_LENGTH[family]}` });
      stations.set(stationOf(tunnel, mac), "this host");
    }
    if (input.own === undefined) return { state, problems };
    const outcomesOfPeer = outcomes(input);
    const subnets = new Map(tunnels.map((tunnel) => [tunnel, createSubnetClaims()]));
    const claim = (key: string, { tunnel, subnet, station }: Reached): string | undefined => {
      const twin = station && stations.get(station);
      if (twin !== undefined) return `its VtepMAC ${station} is already that of ${twin}`;
      const overlap = subnets.get(tunnel)!(key, subnet);
      if (overlap === undefined && station !== undefined) stations.set(station, key);
      return overlap;
    };
    for (const peer of peersOfType(input, TYPE)) {
      for (const outcome of outcomesOfPeer(peer)) {
        const { tunnel } = outcome;
        const message = "problem" in outcome ? outcome.problem : claim(peer.key, outcome);
        if (message !== undefined)
          problems.push({ key: peer.key, message: labelled(tunnels, tunnel.family, message) });
        else if ("entries" in outcome) for (const [key, object] of outcome.entries) state.set(key, object);
      }
    }
    return { state, problems };
  }

  /** What is left of the external interface's MTU inside the tunnel. */
  function tunnelMtuBytes({ family }: Tunnel, host: Host): number {
    // The kernel refuses more than the lower device can carry (drivers/net/vxlan: vxlan_change_mtu).
    const outer = Math.min(config.mtuBytes || host.interfaceMtuBytes, host.interfaceMtuBytes);
    const inner = outer - OVERHEAD_BYTES[family];
    if (inner >= MINIMUM_MTU_BYTES[family]) return inner;
    throw new ConfigError(
      `an MTU of ${outer} bytes leaves ${inner} inside VXLAN over IPv${family}, less than IPv${family}'s ${MINIMUM_MTU_BYTES[family]}: ` +
        `raise Backend.MTU in the network config or the MTU of ${host.interfaceName}`,
    );
  }

  /** A container has one MTU: the smaller one. */
  function mtuBytes(host: Host): number {
    return Math.min(...tunnels.map((tunnel) => tunnelMtuBytes(tunnel, host)));
  }

  function linkOf(tunnel: Tunnel, host: Host): VxlanLink {
    const local = host[tunnel.name];
    if (local === undefined)
      throw new ConfigError(`interface ${host.interfaceName} has no IPv${tunnel.family} address`);
    return {
      kind: "link",
      name: tunnel.device,
      type: "vxlan",
      vni: config.vni,
      lower: host.interfaceName,
      local: formatIp(local),
      port: config.port,
      learning: config.learning,
      gbp: config.gbp,
      mtuBytes: tunnelMtuBytes(tunnel, host),
      mac: tunnel.mac,
      up: true,
    };
  }

  function settingsOf({ family }: Tunnel): (readonly [SettingName, boolean])[] {
    const { disableTxChecksum } = config;
    return [
      ["accept_ra", false],
      ...(family === 6 ? ([["disable_ipv6", false]] as const) : []),
      ...(disableTxChecksum === undefined ? [] : ([["tx-checksum-ip-generic", !disableTxChecksum]] as const)),
    ];
  }

  function outcomeOf(peer: Lease, tunnel: Tunnel, input: PlanInput): Outcome {
    const { family, name, publicName, dataName, device } = tunnel;
    const subnet = peer.subnets[name];
    const publicIp = peer.attributes[publicName];
    if (subnet === undefined) return { tunnel, problem: `it has no IPv${family} subnet` };
    const data = parseLeaseData(peer.attributes[dataName], dataName);
    const problem =
      subnetProblem(subnet, input.network[name]!, input.own?.[name]) ??
      publicIpProblem(publicIp, input.host[publicName]) ??
      (typeof data === "string" ? data : undefined) ??
      (typeof data === "object" && data.vni !== undefined && data.vni !== config.vni
        ? `its VNI is ${data.vni}, this host's ${config.vni}`
        : undefined);
    if (problem !== undefined || typeof data === "string") return { tunnel, problem: problem ?? "" };
    const hop = config.directRouting ? input.nextHop(publicIp!) : undefined;
    if (hop !== undefined && hop.via === undefined && !devices.has(hop.device))
      return reached(tunnel, subnet, undefined, [directRoute(subnet, publicIp!, hop.device)]);
    const { mac } = data;
    const vtep = formatIp(baseOf(subnet));
    const destination = formatPrefix(subnet);
    return reached(tunnel, subnet, stationOf(tunnel, mac), [
      { kind: "fdb", device, mac, destination: formatIp(publicIp!) },
      { kind: "neighbour", device, address: vtep, mac },
      { kind: "route", destination, device, via: vtep, onlink: true, protocol: RTPROT_FLANNEL },
    ]);
  }
}

type Entry = readonly [key: string, object: StateObject];

/** What one peer comes to in one family: how it is reached, or why it cannot be. */
type Outcome = Reached | { readonly tunnel: Tunnel; readonly problem: string };

interface Reached {
  readonly tunnel: Tunnel;
  readonly subnet: Prefix;
  /** Undefined = it is reached without the tunnel. */
  readonly station: string | undefined;
  /** What the kernel should hold for it. */
  readonly entries: readonly Entry[];
}

const reached = (
  tunnel: Tunnel,
  subnet: Prefix,
  station: string | undefined,
  objects: readonly StateObject[],
): Outcome => ({
  ...{ tunnel, subnet, station },
  entries: objects.map((object) => [keyOf(object), object] as const),
});

/** "0a:00:00:00:01:02 on flannel.1". */
const stationOf = ({ device }: Tunnel, mac: string): string => `${mac} on ${device}`;

/** Reads a peer's data of one family; text = what is wrong with it. */
function parseLeaseData(
  data: unknown,
  name: string,
): { readonly vni: number | undefined; readonly mac: string } | string {
  if (typeof data !== "object" || data === null)
    return `it has no ${name === "backendData" ? "BackendData" : "BackendV6Data"}`;
  const vni = readMember(data as Members, "VNI");
  const text = readMember(data as Members, "VtepMAC");
  const mac = typeof text === "string" ? parseMac(text) : undefined;
  if (mac === undefined) return `its VtepMAC ${JSON.stringify(text)?.slice(0, 40)} is not a MAC address`;
  if (!isUnicastMac(mac)) return `its VtepMAC ${mac} is not the address of one station`;
  return { vni: typeof vni === "number" ? vni : undefined, mac };
}

/** The MAC of the device that is there, else the one published before: peers need not learn a new one. Else a random one. */
function vtepMac(
  { existing, published, randomBytes }: BackendContext,
  device: string,
  dataName: FamilyNames["dataName"],
): string {
  for (const object of existing) {
    if (object.kind === "link" && object.type === "vxlan" && object.name === device) return object.mac;
  }
  const before = published?.backendType === TYPE ? parseLeaseData(published[dataName], dataName) : undefined;
  return typeof before === "object" ? before.mac : localMac(randomBytes(6));
}
