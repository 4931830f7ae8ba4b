/**
 * The vxlan backend: per family one VXLAN device (RFC 7348), and per peer a route, a static neighbour and an FDB entry,
 * so that the kernel needs neither ARP nor learning. With DirectRouting a peer on the same link gets a plain route instead.
 * Lease data as Go flannel's: `{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`, in BackendV6Data for the device of IPv6.
 */

import { bitsOf, type Family, formatIp } from "../address/ip.ts";
import { isUnicastMac, localMac, parseMac } from "../address/mac.ts";
import { baseOf, formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { type Members, readMember } from "../config/json-members.ts";
import type { SettingName } from "../state/device-settings.ts";
import { keyOf, RTPROT_FLANNEL, type StateObject, type VxlanLink } from "../state/objects.ts";
import type { Backend, BackendContext, BackendModule, Host, Plan, PlanInput } from "./backend.ts";
import { directRoute } from "./direct-route.ts";
import { type FamilyFields, familiesOf } from "./families.ts";
import { booleanMember, integerMember, optionalBooleanMember } from "./members.ts";
import { createPeerPlanner, type PeerAddresses, type Reach } from "./plan-peers.ts";

const TYPE = "vxlan";
/** Outer Ethernet 14 + IP + UDP 8 + VXLAN 8 (RFC 7348 §5); IPv4 has 20, IPv6 40 (W25). */
const OVERHEAD_BYTES = { 4: 50, 6: 70 } as const;
/** Minimum MTU of IP (RFC 791; RFC 8200 §5: with less the kernel has no IPv6 on the device). */
const MINIMUM_MTU_BYTES = { 4: 68, 6: 1280 } as const;
/** The kernel's default (drivers/net/vxlan: vxlan_port); IANA's is 4789. */
const DEFAULT_PORT = 8472;

/** The members of `Backend` in the network config, checked. */
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
  /** Undefined = keep what the kernel or an operator has set. */
  readonly disableTxChecksum: boolean | undefined;
  /** Replaces the external interface's MTU if that is larger; 0 = use the interface's. */
  readonly mtuBytes: number;
}

/** The module of the type `vxlan`: the devices flannel.VNI (IPv4) and flannel-v6.VNI. `parse` throws ConfigError. */
export const vxlan: BackendModule<VxlanConfig> = {
  type: TYPE,
  devices: [{ name: /^flannel(?:-v6)?\.\d+$/, kinds: ["vxlan"] }],
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

/** The VXLAN tunnel endpoint (RFC 7348 §1) of one family: a device. */
interface Vtep extends FamilyFields {
  readonly device: string;
  readonly mac: string;
}

function createVxlanBackend(config: VxlanConfig, context: BackendContext): Backend {
  const vteps = familiesOf(context.network).map((family): Vtep => {
    const device = deviceName(family.family, config.vni);
    return { ...family, device, mac: vtepMac(context, device, family.dataName) };
  });
  const devices = new Set(vteps.map(({ device }) => device));
  const planPeers = createPeerPlanner({ type: TYPE, families: vteps, reach });
  const dataOf = (family: Family) => {
    const vtep = vteps.find((each) => each.family === family);
    return vtep && { VNI: config.vni, VtepMAC: vtep.mac };
  };

  return {
    type: TYPE,
    published: { backendType: TYPE, backendData: dataOf(4), backendV6Data: dataOf(6) },
    notes: [],
    fixedMembers: { VNI: config.vni },
    asksForNextHops: config.directRouting,
    checkHost: (host) => void mtuBytes(host),
    mtuBytes,
    listeners: ({ ipv4, ipv6 }) =>
      vteps.flatMap(({ family }) => {
        const address = family === 4 ? ipv4 : ipv6;
        return address === undefined ? [] : [{ protocol: "udp", port: config.port, address }];
      }),
    ownership: (network) => ({
      devices,
      networks: familiesOf(network).flatMap(({ name }) => network[name]?.network ?? []),
    }),
    plan,
  };

  function plan(input: PlanInput): Plan {
    const state = new Map<string, StateObject>();
    const add = (object: StateObject) => state.set(keyOf(object), object);
    for (const vtep of vteps) {
      const { family, name, device } = vtep;
      add(linkOf(vtep, input.host));
      for (const [setting, on] of settingsOf(vtep)) add({ kind: "setting", device, name: setting, on });
      const subnet = input.own?.[name];
      if (subnet === undefined) continue;
      add({ kind: "address", device, address: `${formatIp(baseOf(subnet))}/${bitsOf(family)}` });
    }
    const problems = planPeers(
      input,
      state,
      vteps.map((vtep) => identityOf(vtep, vtep.mac)),
    );
    return { state, problems };
  }

  /** What is left of the external interface's MTU inside the vtep. */
  function vtepMtuBytes({ family }: Vtep, host: Host): number {
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
    return Math.min(...vteps.map((vtep) => vtepMtuBytes(vtep, host)));
  }

  function linkOf(vtep: Vtep, host: Host): VxlanLink {
    const local = host[vtep.name];
    if (local === undefined)
      throw new ConfigError(`interface ${host.interfaceName} has no IPv${vtep.family} address`);
    return {
      kind: "link",
      name: vtep.device,
      type: "vxlan",
      vni: config.vni,
      lower: host.interfaceName,
      local: formatIp(local),
      port: config.port,
      learning: config.learning,
      gbp: config.gbp,
      mtuBytes: vtepMtuBytes(vtep, host),
      mac: vtep.mac,
      up: true,
    };
  }

  function settingsOf({ family }: Vtep): (readonly [SettingName, boolean])[] {
    const { disableTxChecksum } = config;
    return [
      ["accept_ra", false],
      ...(family === 6 ? ([["disable_ipv6", false]] as const) : []),
      ...(disableTxChecksum === undefined ? [] : ([["tx-checksum-ip-generic", !disableTxChecksum]] as const)),
    ];
  }

  /** An FDB entry, a neighbour and a route; with DirectRouting and on the same link the route alone. */
  function reach(
    { subnet, publicIp, data }: PeerAddresses,
    vtep: Vtep,
    { nextHop }: PlanInput,
  ): Reach | string {
    const lease = parseLeaseData(data, vtep.dataName);
    if (typeof lease === "string") return lease;
    const { mac, vni } = lease;
    if (vni !== undefined && vni !== config.vni) return `its VNI is ${vni}, this host's ${config.vni}`;
    const hop = config.directRouting ? nextHop(publicIp) : undefined;
    if (hop !== undefined && hop.via === undefined && !devices.has(hop.device))
      return { objects: [directRoute(subnet, publicIp, hop.device)] };
    const { device } = vtep;
    const via = formatIp(baseOf(subnet));
    const destination = formatPrefix(subnet);
    return {
      identity: identityOf(vtep, mac),
      objects: [
        { kind: "fdb", device, mac, destination: formatIp(publicIp) },
        { kind: "neighbour", device, address: via, mac },
        { kind: "route", destination, device, via, onlink: true, protocol: RTPROT_FLANNEL },
      ],
    };
  }
}

/** The FDB entries of two VTEPs with one MAC would replace each other. */
const identityOf = ({ device }: Vtep, mac: string): string => `VtepMAC ${mac} on ${device}`;

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
  dataName: FamilyFields["dataName"],
): string {
  for (const object of existing) {
    if (object.kind === "link" && object.type === "vxlan" && object.name === device) return object.mac;
  }
  const before = published?.backendType === TYPE ? parseLeaseData(published[dataName], dataName) : undefined;
  return typeof before === "object" ? before.mac : localMac(randomBytes(6));
}
