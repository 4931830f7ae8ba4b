/**
 * The wireguard backend: traffic between hosts is encrypted by WireGuard (wireguard.com/papers/wireguard.pdf). One device
 * carries both families, or each family has its own (Mode "separate"). A peer is known by its public key; its subnets are
 * the addresses that the key may use. Lease data as Go flannel's: `{"PublicKey":"…=","Port":51820}` per family.
 */

import { bitsOf, type Family, formatIp, type Ip, isPrivateIp } from "../address/ip.ts";
import { baseOf, formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { type Members, readMember } from "../config/json-members.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { Lease } from "../lease/lease.ts";
import { WIREGUARD_ALIAS } from "../state/kinds/links/tun.ts";
import { keyOf, RTPROT_FLANNEL, type StateObject } from "../state/objects.ts";
import type { Backend, BackendContext, BackendModule, Host, Plan, PlanInput } from "./backend.ts";
import { type FamilyFields, familiesOf } from "./families.ts";
import { integerMember, textMember } from "./members.ts";
import { createPeerPlanner, type PeerAddresses, type Reach } from "./plan-peers.ts";

const TYPE = "wireguard";
const DEVICE = "flannel-wg";
const DEVICE_V6 = "flannel-wg-v6";
/** IPv6 header 40, UDP 8, type 4, key index 4, counter 8, tag 16 (WireGuard's paper, §5.4.6); Go flannel has the same for IPv4. */
const OVERHEAD_BYTES = 80;
/** Minimum MTU of IP (RFC 791; RFC 8200 §5: with less the kernel has no IPv6 on the device). */
const MINIMUM_MTU_BYTES = { 4: 68, 6: 1280 } as const;
const DEFAULT_PORT = 51820;
const DEFAULT_PORT_V6 = 51821;

const IMPLEMENTATIONS = ["auto", "kernel", "userspace"] as const;
const MODES = ["separate", "auto", "ipv4", "ipv6"] as const;

/** The members of `Backend` in the network config, checked. */
export interface WireguardConfig {
  readonly type: typeof TYPE;
  /** UDP port of the device, or of the one for IPv4, 1…65535. */
  readonly listenPort: number;
  /** UDP port of the device for IPv6 in mode separate, 1…65535. */
  readonly listenPortV6: number;
  /**
   * A device for each family (separate), or one for both, which reaches peers over IPv4, over IPv6, or over what most
   * probably works (auto).
   */
  readonly mode: (typeof MODES)[number];
  /** Who speaks the protocol: the kernel, flanneld itself, or the kernel if it can (auto). */
  readonly implementation: (typeof IMPLEMENTATIONS)[number];
  /** Preshared key in base64, a secret; undefined = none. */
  readonly presharedKey: string | undefined;
  /** Seconds between packets that keep NAT mappings alive; 0 = none. */
  readonly keepaliveSeconds: number;
  /** Takes the place of the external interface's MTU where that is larger; 0 = take the interface's. */
  readonly mtuBytes: number;
}

/**
 * The module of the type `wireguard`: the devices flannel-wg and, in mode separate, flannel-wg-v6. `parse` throws
 * ConfigError.
 */
export const wireguard: BackendModule<WireguardConfig> = {
  type: TYPE,
  // wireguard-go, which Go flannel's users run on kernels without WireGuard, makes a tun.
  devices: [{ name: /^flannel-wg(?:-v6)?$/, kinds: ["wireguard", "tun"] }],
  parse: parseWireguardConfig,
  deviceNames: (config, network) => [...new Set(tunnelsOf(config, network).map(({ device }) => device))],
  create: createWireguardBackend,
};

function parseWireguardConfig(members: Members, families: readonly Family[]): WireguardConfig {
  const port = (name: string, fallback: number) =>
    integerMember(members, name, { minimum: 1, maximum: 65535, fallback });
  const mode = choiceMember(members, "Mode", MODES);
  const config: WireguardConfig = {
    type: TYPE,
    listenPort: port("ListenPort", DEFAULT_PORT),
    listenPortV6: port("ListenPortV6", DEFAULT_PORT_V6),
    mode,
    presharedKey: readPresharedKey(members),
    implementation: choiceMember(members, "Implementation", IMPLEMENTATIONS),
    keepaliveSeconds: integerMember(members, "PersistentKeepaliveInterval", {
      ...{ minimum: 0, maximum: 65535, fallback: 0 },
    }),
    mtuBytes: integerMember(members, "MTU", { minimum: 0, maximum: 65535, fallback: 0 }),
  };
  if (mode === "separate" && families.length > 1 && config.listenPort === config.listenPortV6)
    throw new ConfigError(
      `network config: Backend.ListenPort and Backend.ListenPortV6 are both ${config.listenPort}: give each device a port of its own, or use Mode "auto"`,
    );
  return config;
}

/** Throws ConfigError, without the key in its message. */
function readPresharedKey(members: Members): string | undefined {
  const text = textMember(members, "PSK", "").trim();
  if (text === "" || /^[A-Za-z0-9+/]{43}=$/.test(text)) return text || undefined;
  throw new ConfigError(
    "network config: Backend.PSK is not a preshared key: 32 bytes in base64, as 'wg genpsk' prints them",
  );
}

/** One of several words; the first one is the default. */
function choiceMember<T extends string>(members: Members, name: string, choices: readonly T[]): T {
  const text = textMember(members, name, choices[0]!);
  const choice = choices.find((each) => each === text);
  if (choice !== undefined) return choice;
  throw new ConfigError(
    `network config: Backend.${name} must be one of ${choices.join(", ")}, but is ${JSON.stringify(text).slice(0, 40)}`,
  );
}

/** What carries one family. */
interface Tunnel extends FamilyFields {
  readonly device: string;
  readonly listenPort: number;
}

const tunnelsOf = (
  { mode, listenPort, listenPortV6 }: WireguardConfig,
  network: NetworkFamilies,
): readonly Tunnel[] =>
  familiesOf(network).map((fields) =>
    mode === "separate" && fields.family === 6
      ? { ...fields, device: DEVICE_V6, listenPort: listenPortV6 }
      : { ...fields, device: DEVICE, listenPort },
  );

function createWireguardBackend(config: WireguardConfig, context: BackendContext): Backend {
  const { keys, network } = context;
  if (keys === undefined)
    throw new ConfigError("the wireguard backend needs a key file, which is not available here");
  const tunnels = tunnelsOf(config, network);
  const devices = new Map(tunnels.map((tunnel) => [tunnel.device, tunnel.listenPort]));
  const isUserspace =
    config.implementation === "userspace" ||
    (config.implementation === "auto" && context.hasKernelWireguard === false);
  const publicKey = keys.publicKey();
  const presharedKeyId =
    config.presharedKey === undefined ? "" : keys.registerPresharedKey(config.presharedKey);
  const planPeers = createPeerPlanner({ type: TYPE, families: tunnels, reach, addressOf });
  const dataOf = (family: Family) => {
    const tunnel = tunnels.find((each) => each.family === family);
    return tunnel && { PublicKey: publicKey, Port: tunnel.listenPort };
  };

  return {
    type: TYPE,
    implementation: isUserspace ? "userspace" : "kernel",
    published: { backendType: TYPE, backendData: dataOf(4), backendV6Data: dataOf(6) },
    notes: isUserspace
      ? [
          config.implementation === "userspace"
            ? 'WireGuard runs in flanneld itself, as Backend.Implementation "userspace" says'
            : "WireGuard runs in flanneld itself, because this kernel has no WireGuard",
        ]
      : [],
    fixedMembers: { Mode: config.mode, Implementation: config.implementation },
    asksForNextHops: false,
    checkHost(host) {
      mtuBytes(host);
      const needed = config.mode === "ipv4" || config.mode === "ipv6" ? config.mode : undefined;
      if (needed !== undefined && host[needed] === undefined)
        throw new ConfigError(
          `Backend.Mode "${needed}" needs an ${needed === "ipv4" ? "IPv4" : "IPv6"} address on ${host.interfaceName}: add one, or use Mode "auto"`,
        );
    },
    mtuBytes,
    listeners: ({ ipv4, ipv6 }) =>
      tunnels.flatMap(({ family, listenPort }) => {
        const outer =
          config.mode === "ipv4" ? ipv4 : config.mode === "ipv6" ? ipv6 : family === 4 ? ipv4 : ipv6;
        return outer === undefined ? [] : [{ protocol: "udp", port: listenPort, address: outer }];
      }),
    ownership: (families) => ({
      devices: new Set(devices.keys()),
      networks: familiesOf(families).flatMap(({ name }) => families[name]?.network ?? []),
    }),
    plan,
  };

  function plan(input: PlanInput): Plan {
    const state = new Map<string, StateObject>();
    const add = (object: StateObject) => state.set(keyOf(object), object);
    for (const [device, listenPort] of devices) {
      add({
        kind: "link",
        name: device,
        ...(isUserspace ? { type: "tun", alias: WIREGUARD_ALIAS } : { type: "wireguard" }),
        mtuBytes: mtuBytes(input.host),
        up: true,
      });
      add({ kind: "wireguard", device, publicKey, listenPort });
    }
    for (const { family, name, device } of tunnels) {
      const subnet = input.own?.[name];
      if (subnet === undefined) continue;
      add({ kind: "address", device, address: `${formatIp(baseOf(subnet))}/${bitsOf(family)}` });
      // Which peer a packet goes to is up to the device's allowed IPs.
      const destination = formatPrefix(input.network[name]!.network);
      add({ kind: "route", destination, device, via: undefined, onlink: false, protocol: RTPROT_FLANNEL });
    }
    const identities = [...devices.keys()].map((device) => identityOf(publicKey, device));
    return { state, problems: planPeers(input, state, identities) };
  }

  function mtuBytes({ interfaceMtuBytes, interfaceName }: Host): number {
    const outer = Math.min(config.mtuBytes || interfaceMtuBytes, interfaceMtuBytes);
    const inner = outer - OVERHEAD_BYTES;
    const minimum = Math.max(...tunnels.map(({ family }) => MINIMUM_MTU_BYTES[family]));
    if (inner >= minimum) return inner;
    throw new ConfigError(
      `an MTU of ${outer} bytes leaves ${inner} inside WireGuard, less than IP's ${minimum}: ` +
        `raise Backend.MTU in the network config or the MTU of ${interfaceName}`,
    );
  }

  function reach({ subnet, publicIp, data }: PeerAddresses, { device, listenPort }: Tunnel): Reach | string {
    const peer = parseLeaseData(data);
    if (typeof peer === "string") return peer;
    const address = formatIp(publicIp);
    const endpoint = `${publicIp.family === 6 ? `[${address}]` : address}:${peer.port ?? listenPort}`;
    const { keepaliveSeconds } = config;
    return {
      identity: identityOf(peer.publicKey, device),
      objects: [
        {
          kind: "wireguard-peer",
          device,
          publicKey: peer.publicKey,
          endpoint,
          keepaliveSeconds,
          presharedKeyId,
        },
        { kind: "allowed-ip", device, prefix: formatPrefix(subnet), publicKey: peer.publicKey },
      ],
    };
  }

  /** The address at which a peer is reached; undefined = it has none that this host can use. */
  function addressOf({ attributes }: Lease, { publicName }: Tunnel, { host }: PlanInput): Ip | undefined {
    const { publicIp, publicIpv6 } = attributes;
    if (config.mode === "separate") return attributes[publicName];
    if (config.mode === "ipv4") return publicIp;
    if (config.mode === "ipv6") return publicIpv6;
    const [ipv4, ipv6] = [host.ipv4 && publicIp, host.ipv6 && publicIpv6];
    if (ipv4 === undefined || ipv6 === undefined) return ipv4 ?? ipv6;
    const reachesPublicIpv6 = !isPrivateIp(ipv6) && !isPrivateIp(host.ipv6!);
    return isPrivateIp(ipv4) && reachesPublicIpv6 ? ipv6 : ipv4;
  }
}

/** As it reads after "its". */
const identityOf = (publicKey: string, device: string): string => `PublicKey ${publicKey} on ${device}`;

/** Reads a peer's data of one family; text = what is wrong with it. Old peers name no port. */
function parseLeaseData(
  data: unknown,
): { readonly publicKey: string; readonly port: number | undefined } | string {
  const isMembers = typeof data === "object" && data !== null;
  const publicKey = isMembers ? readMember(data as Members, "PublicKey") : undefined;
  if (publicKey === undefined) return "it has no PublicKey in its BackendData";
  const port = readMember(data as Members, "Port");
  if (typeof publicKey !== "string" || !/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(publicKey))
    return `its PublicKey ${JSON.stringify(publicKey)?.slice(0, 60)} is not a key of 32 bytes in base64`;
  // Go reads a port that is left out as 0, and 0 as one that is left out.
  if (port === undefined || port === null || port === 0) return { publicKey, port: undefined };
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65535)
    return `its Port ${JSON.stringify(port)?.slice(0, 20)} is not a UDP port`;
  return { publicKey, port };
}
