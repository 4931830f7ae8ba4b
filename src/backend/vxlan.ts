/**
 * The vxlan backend: one VXLAN device (RFC 7348), and per peer a route, a static neighbour and an FDB entry, so that
 * the kernel never has to ask or learn. Lease data as Go flannel's: `{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`.
 */

import { formatIp } from "../address/ip.ts";
import { isUnicastMac, localMac, parseMac } from "../address/mac.ts";
import { baseOf, formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import type { Lease } from "../lease/lease.ts";
import { keyOf, RTPROT_FLANNEL, type StateObject, type VxlanLink } from "../state/objects.ts";
import type {
  Backend,
  BackendContext,
  BackendFactory,
  Host,
  PeerProblem,
  Plan,
  PlanInput,
} from "./backend.ts";
import { booleanMember, integerMember } from "./members.ts";
import { peersOfType, publicIpProblem, subnetProblem } from "./peers.ts";

/** Outer Ethernet 14 + IPv4 20 + UDP 8 + VXLAN 8 (RFC 7348 §5). */
const OVERHEAD_IPV4_BYTES = 50;
/** What the kernel uses when no port is given (drivers/net/vxlan: vxlan_port); IANA's is 4789. */
const DEFAULT_PORT = 8472;
/** The least MTU that IPv4 allows (RFC 791). */
const MINIMUM_MTU_BYTES = 68;

interface VxlanConfig {
  readonly vni: number;
  readonly port: number;
  readonly gbp: boolean;
  readonly learning: boolean;
  readonly directRouting: boolean;
  /** Takes the place of the external interface's MTU where that is larger; 0 = take the interface's. */
  readonly mtuBytes: number;
}

export const vxlan: BackendFactory = {
  type: "vxlan",
  deviceNames: (network) => [deviceName(parseVxlanConfig(network).vni)],
  create: createVxlanBackend,
};

const deviceName = (vni: number): string => `flannel.${vni}`;

function parseVxlanConfig(network: NetworkConfig): VxlanConfig {
  const { backend } = network;
  if (network.ipv4 === undefined || network.ipv6 !== undefined) {
    throw new ConfigError(
      "network config: the vxlan backend of this version carries IPv4 only: leave EnableIPv6 out and EnableIPv4 true",
    );
  }
  return {
    vni: integerMember(backend, "VNI", { minimum: 1, maximum: 2 ** 24 - 1, fallback: 1 }),
    port: integerMember(backend, "Port", { minimum: 0, maximum: 65535, fallback: 0 }) || DEFAULT_PORT,
    gbp: booleanMember(backend, "GBP"),
    learning: booleanMember(backend, "Learning"),
    directRouting: booleanMember(backend, "DirectRouting"),
    mtuBytes: integerMember(backend, "MTU", { minimum: 0, maximum: 65535, fallback: 0 }),
  };
}

function createVxlanBackend(context: BackendContext): Backend {
  const config = parseVxlanConfig(context.network);
  const device = deviceName(config.vni);
  const mac = vtepMac(context, device);
  const mtuBytes = (host: Host): number => {
    // The kernel refuses more than the lower device can carry (drivers/net/vxlan: vxlan_change_mtu).
    const mtu =
      Math.min(config.mtuBytes || host.interfaceMtuBytes, host.interfaceMtuBytes) - OVERHEAD_IPV4_BYTES;
    if (mtu >= MINIMUM_MTU_BYTES) return mtu;
    throw new ConfigError(
      `an MTU of ${mtu + OVERHEAD_IPV4_BYTES} bytes leaves ${mtu} inside VXLAN, less than IPv4's ${MINIMUM_MTU_BYTES}: ` +
        `raise Backend.MTU in the network config or the MTU of ${host.interfaceName}`,
    );
  };
  const outcomes = rememberOutcomes((peer, input) => outcomeOf(peer, input));

  return {
    type: "vxlan",
    published: {
      backendType: "vxlan",
      backendData: { VNI: config.vni, VtepMAC: mac },
      backendV6Data: undefined,
    },
    notes: config.directRouting
      ? [
          "Backend.DirectRouting is not supported by this version yet: all peers are reached through the tunnel",
        ]
      : [],
    mtuBytes,
    ownership: (network) => ({
      devices: new Set([device]),
      networks: network.ipv4 === undefined ? [] : [network.ipv4.network],
    }),
    plan: (input) => plan(input),
  };

  function plan(input: PlanInput): Plan {
    const { host, own } = input;
    const local = host.ipv4;
    if (local === undefined) throw new ConfigError(`interface ${host.interfaceName} has no IPv4 address`);
    const state = new Map<string, StateObject>();
    const add = (object: StateObject) => state.set(keyOf(object), object);
    const problems: PeerProblem[] = [];
    add(linkOf(host, formatIp(local)));
    if (own?.ipv4 === undefined) return { state, problems };
    add({ kind: "address", device, address: `${formatIp(baseOf(own.ipv4))}/32` });
    const outcomeOfPeer = outcomes(input);
    const holders = new Map([[macClaim(mac), "this host"]]);
    for (const peer of peersOfType(input, "vxlan")) {
      const outcome = outcomeOfPeer(peer);
      const taken = outcome.claims.find((claim) => holders.has(claim));
      const message = outcome.problem ?? (taken && `its ${taken} is already that of ${holders.get(taken)}`);
      if (message !== undefined) {
        problems.push({ key: peer.key, message });
        continue;
      }
      for (const claim of outcome.claims) holders.set(claim, peer.key);
      for (const [key, object] of outcome.entries) state.set(key, object);
    }
    return { state, problems };
  }

  function linkOf(host: Host, local: string): VxlanLink {
    return {
      kind: "link",
      name: device,
      type: "vxlan",
      vni: config.vni,
      lower: host.interfaceName,
      local,
      port: config.port,
      learning: config.learning,
      gbp: config.gbp,
      mtuBytes: mtuBytes(host),
      mac,
      up: true,
    };
  }

  function outcomeOf(peer: Lease, input: PlanInput): Outcome {
    const subnet = peer.subnets.ipv4;
    if (subnet === undefined) return refused("it has no IPv4 subnet");
    const data = parseLeaseData(peer.attributes.backendData);
    const problem =
      subnetProblem(subnet, input.network.ipv4, input.own?.ipv4) ??
      publicIpProblem(peer.attributes.publicIp, input.host.publicIp) ??
      (typeof data === "string" ? data : undefined) ??
      (typeof data === "object" && data.vni !== undefined && data.vni !== config.vni
        ? `its VNI is ${data.vni}, this host's ${config.vni}`
        : undefined);
    if (problem !== undefined || typeof data === "string") return refused(problem ?? "");
    const vtep = formatIp(baseOf(subnet));
    const objects: StateObject[] = [
      { kind: "fdb", device, mac: data.mac, destination: formatIp(peer.attributes.publicIp!) },
      { kind: "neighbour", device, address: vtep, mac: data.mac },
      {
        kind: "route",
        destination: formatPrefix(subnet),
        device,
        via: vtep,
        onlink: true,
        protocol: RTPROT_FLANNEL,
      },
    ];
    return {
      problem: undefined,
      claims: [macClaim(data.mac), `VTEP address ${vtep}`],
      entries: objects.map((object) => [keyOf(object), object] as const),
    };
  }
}

/** What one peer comes to: what the kernel should hold for it, or why it cannot be reached. */
interface Outcome {
  readonly problem: string | undefined;
  /** What only one peer may have: the kernel's entries for it would take each other's place. */
  readonly claims: readonly string[];
  readonly entries: readonly (readonly [string, StateObject])[];
}

const refused = (problem: string): Outcome => ({ problem, claims: [], entries: [] });

const macClaim = (mac: string): string => `VtepMAC ${mac}`;

/**
 * Works out each lease once for the same host, network and own subnets: a lease never changes (a new one takes its
 * place), so that planning for 5,000 peers after one change is 5,000 look-ups.
 */
function rememberOutcomes(work: (peer: Lease, input: PlanInput) => Outcome) {
  let basis: PlanInput | undefined;
  let known = new WeakMap<Lease, Outcome>();
  return (input: PlanInput) => {
    if (basis?.host !== input.host || basis.network !== input.network || basis.own !== input.own) {
      known = new WeakMap();
      basis = { ...input, peers: [] };
    }
    return (peer: Lease): Outcome => {
      let outcome = known.get(peer);
      if (outcome === undefined) {
        outcome = work(peer, input);
        known.set(peer, outcome);
      }
      return outcome;
    };
  };
}

/** Reads a peer's BackendData; text = what is wrong with it. */
function parseLeaseData(data: unknown): { readonly vni: number | undefined; readonly mac: string } | string {
  if (typeof data !== "object" || data === null) return "it has no BackendData";
  const { VNI: vni, VtepMAC: text } = data as Record<string, unknown>;
  const mac = typeof text === "string" ? parseMac(text) : undefined;
  if (mac === undefined) return `its VtepMAC ${JSON.stringify(text)?.slice(0, 40)} is not a MAC address`;
  if (!isUnicastMac(mac)) return `its VtepMAC ${mac} is not the address of one station`;
  return { vni: typeof vni === "number" ? vni : undefined, mac };
}

/** The MAC of the device that is there, so that peers need not learn a new one after a restart; else a random one. */
function vtepMac(context: BackendContext, device: string): string {
  for (const object of context.existing) {
    if (object.kind === "link" && object.type === "vxlan" && object.name === device) return object.mac;
  }
  return localMac(context.randomBytes(6));
}
