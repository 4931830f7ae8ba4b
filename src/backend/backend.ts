/**
 * A backend decides how packets reach the peers. It is a pure function from host, network and leases to the desired state
 * of this host, plus the data that it publishes for its peers. It does no I/O and keeps no state that it could not derive.
 */

import type { Family, Ip } from "../address/ip.ts";
import type { Members } from "../config/json-members.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { Lease, SubnetPair } from "../lease/lease.ts";
import type { State, StateObject } from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";

/** The host as a backend sees it. */
export interface Host {
  /** External interface: carries the traffic between hosts. */
  readonly interfaceName: string;
  readonly interfaceMtuBytes: number;
  /** Its own addresses, the source of tunnel packets. */
  readonly ipv4: Ip | undefined;
  readonly ipv6: Ip | undefined;
  /** The addresses at which peers reach it; behind NAT they are not its own. */
  readonly publicIp: Ip | undefined;
  readonly publicIpv6: Ip | undefined;
  /** All addresses of this host but those of loopback and link scope: no peer is at one. Undefined = unknown. */
  readonly localAddresses?: readonly LocalAddress[] | undefined;
}

/** An address of this host, and how many leading bits of it name its link. */
export interface LocalAddress {
  readonly ip: Ip;
  readonly prefixLength: number;
}

/** A port or protocol at which a tunnel receives packets. */
interface Listener {
  readonly protocol: "udp" | "ipip";
  /** UDP port. */
  readonly port?: number;
  /** This host's own address. */
  readonly address: Ip;
}

/** What a backend publishes in the lease. */
export interface PublishedData {
  readonly backendType: string;
  readonly backendData: unknown;
  readonly backendV6Data: unknown;
}

/** How packets to an address leave this host. */
export interface NextHop {
  readonly device: string;
  /** The gateway; undefined = the address is on the device's link. */
  readonly via: string | undefined;
}

/** Looks up the next hop to an address; undefined = no route. The same function gives the same answers. */
export type NextHopLookup = (ip: Ip) => NextHop | undefined;

/** Everything that a plan may depend on. */
export interface PlanInput {
  readonly host: Host;
  readonly network: NetworkFamilies;
  /** Own subnets; undefined before the lease is acquired: then only the devices are planned. */
  readonly own: SubnetPair | undefined;
  /** Undefined = not known yet. */
  readonly peers: Iterable<Lease> | undefined;
  /** Asked only by a backend that says so ({@link Backend.asksForNextHops}). */
  readonly nextHop: NextHopLookup;
}

/** Why a peer cannot be reached, or perhaps not. */
export interface PeerProblem {
  /** The key of its lease. */
  readonly key: string;
  readonly message: string;
  /** Whether the peer is programmed nevertheless. */
  readonly isProgrammed?: true;
}

/** The desired state, and what could not become part of it. */
export interface Plan {
  readonly state: State;
  readonly problems: readonly PeerProblem[];
}

/** A backend bound to its part of the network config and to this host's identity. */
export interface Backend {
  readonly type: string;
  readonly published: PublishedData;
  /** What carries the packets, where a backend has a choice. */
  readonly implementation?: "kernel" | "userspace";
  /** Notes for the operator about this config, to be logged once. */
  readonly notes: readonly string[];
  /** Members of `Backend` that cannot change while hosts run, with their values in effect: all peers have to agree on them. */
  readonly fixedMembers: Readonly<Record<string, number | string>>;
  /** Whether plans depend on the routes to the peers' public addresses. */
  readonly asksForNextHops: boolean;
  /** Throws ConfigError if the backend cannot work on this host. */
  checkHost(host: Host): void;
  /** MTU for containers, in bytes (FLANNEL_MTU). Throws ConfigError if the interface's is too small. */
  mtuBytes(host: Host): number;
  /** Where it receives the packets of its peers; none without a tunnel. */
  listeners(host: Host): readonly Listener[];
  ownership(network: NetworkFamilies): Ownership;
  plan(input: PlanInput): Plan;
}

/** What a backend is created from, besides its config. */
export interface BackendContext {
  readonly network: NetworkFamilies;
  /** Devices with one of the backend's names, as observed or as planned last: their MACs are kept. */
  readonly existing: readonly StateObject[];
  /** What an earlier run published, where the datastore keeps it: the MACs of missing devices are kept, too. */
  readonly published?: PublishedData | undefined;
  /** `count` random bytes. */
  readonly randomBytes: (count: number) => Uint8Array;
  /** Undefined where there are none: then a backend that needs keys is not created (ConfigError). */
  readonly keys?: HostKeys | undefined;
  /** What the {@link BackendModule.startupCommand} printed; undefined = it was not run. */
  readonly startupOutput?: string | undefined;
  /** Whether this kernel has WireGuard; undefined = unknown, and then it is taken for granted. */
  readonly hasKernelWireguard?: boolean | undefined;
}

/** Secrets of this host, which never enter a plan: it names them by what may be shown. */
export interface HostKeys {
  /** The public key (base64) of this host's WireGuard key, which is made if there is none. Throws ConfigError. */
  publicKey(): string;
  /** Keeps a preshared key (base64) and returns its fingerprint. Throws ConfigError if it is not a key. */
  registerPresharedKey(text: string): string;
  /** Keeps any secret text and returns its fingerprint. */
  registerSecret(text: string): string;
}

/** In place of this host's keys where nothing is programmed, only the config examined. */
export const NO_KEYS: HostKeys = {
  publicKey: () => "",
  registerPresharedKey: () => "",
  registerSecret: () => "",
};

/** How devices of a backend are recognized, whether this flannel or Go's created them. */
export interface DevicePattern {
  readonly name: RegExp;
  /** The kernel's name for the types of device with such a name (IFLA_INFO_KIND). */
  readonly kinds: readonly string[];
}

/** One kind of backend. `Config` is what it reads from `Backend`: plain data, so that configs compare by value. */
export interface BackendModule<Config extends { readonly type: string }> {
  /** `Backend.Type` in the network config, in lower case. */
  readonly type: Config["type"];
  /** All devices that it creates, with any config; may be empty. */
  readonly devices: readonly DevicePattern[];
  /**
   * Reads the members of `Backend`, with all defaults filled in, for the enabled families (at least one). Throws
   * ConfigError that names the malformed member.
   */
  parse(members: Members, families: readonly Family[]): Config;
  /** Names of the devices that this config creates on a host, to be looked up before {@link create}. */
  deviceNames(config: Config, network: NetworkFamilies): readonly string[];
  /** A command for `sh -c` that runs before {@link create}, which needs its output; undefined = none. */
  startupCommand?(config: Config): string | undefined;
  create(config: Config, context: BackendContext): Backend;
}
