/**
 * The backends by the `Type` of the network config, and the network config with that of its backend. A new backend is one
 * file and one line here.
 */

import { ConfigError } from "../base/error.ts";
import {
  checkNetworkConfig,
  type DefaultBackend,
  type NetworkConfig,
  type NetworkFamilies,
} from "../config/network-config.ts";
import type { Lease } from "../lease/lease.ts";
import { aliVpc } from "./ali-vpc.ts";
import { alloc } from "./alloc.ts";
import { awsVpc } from "./aws-vpc.ts";
import type { Backend, BackendContext, BackendModule, DevicePattern } from "./backend.ts";
import { defaultBackend } from "./backend-types.ts";
import { extension } from "./extension.ts";
import { gce } from "./gce.ts";
import { hostGw } from "./host-gw.ts";
import { ipip } from "./ipip.ts";
import { ipsec } from "./ipsec.ts";
import { tencentVpc } from "./tencent-vpc.ts";
import { udp } from "./udp.ts";
import { vxlan } from "./vxlan.ts";
import { wireguard } from "./wireguard.ts";

const BACKENDS = [
  ...([vxlan, hostGw, udp, wireguard, ipip, alloc, extension, ipsec] as const),
  ...([awsVpc, gce, aliVpc, tencentVpc] as const),
] as const;

/** The types of the backends. The lists of the Helm chart and of `flannelctl lab up` are these. */
export const BACKEND_TYPES: readonly string[] = BACKENDS.map(({ type }) => type);

/** All devices that Go's flannel and this one create, with any backend. */
export const FLANNEL_DEVICES: readonly DevicePattern[] = BACKENDS.flatMap(
  ({ devices }): readonly DevicePattern[] => devices,
);

/** The config of one backend, distinguished by its `type`. */
export type BackendConfig = ReturnType<(typeof BACKENDS)[number]["parse"]>;

/** The network config with everything read and every default filled in: plain data that compares by value. */
export interface Network extends NetworkFamilies {
  readonly enableNftables: boolean;
  readonly backend: BackendConfig;
  /** Why it is this backend, if the config names none. */
  readonly defaultBackend?: DefaultBackend;
  /** For the operator (e.g. "network config has no Backend: …"), to be logged once by the caller. */
  readonly notes: readonly string[];
}

/** A network config, or what is wrong with it. */
export interface CheckedNetwork {
  /** Undefined if there is any fault. */
  readonly network: Network | undefined;
  /** The same with the members of `Backend` as they were written. */
  readonly config: NetworkConfig | undefined;
  /** Every fault of the networks, and the first of the backend's; empty if there is a network. */
  readonly faults: readonly ConfigError[];
}

/**
 * Parses the text of a network config; `ifNone` is the backend if it names none. Throws {@link ConfigError} for the first
 * fault.
 */
export function parseNetwork(json: string, ifNone?: DefaultBackend): Network {
  const { network, faults } = checkNetwork(json, ifNone);
  if (network === undefined) throw faults[0]!;
  return network;
}

/** As {@link parseNetwork}, with all faults at once. Never throws. */
export function checkNetwork(json: string, ifNone?: DefaultBackend): CheckedNetwork {
  const { config, backend: section, families, faults } = checkNetworkConfig(json, ifNone);
  try {
    const backend = section && findBackend(section.type).parse(section.members, families);
    const inferred = section?.isDefault && ifNone ? { defaultBackend: ifNone } : {};
    const network = config && backend && { ...config, ...inferred, backend };
    return { network, config: network && config, faults };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { network: undefined, config: undefined, faults: [...faults, error] };
  }
}

/** Whether a valid network config leaves the backend to the leases that exist. */
export function leavesBackendToLeases(json: string): boolean {
  const { config } = checkNetworkConfig(json);
  return config?.backend.isDefault === true;
}

/** The backend of a config that names none, where these leases exist; see backend-types.ts. Never throws. */
export function chooseBackend(json: string, leases: Iterable<Lease>): DefaultBackend {
  const { families } = checkNetworkConfig(json);
  const usable = BACKENDS.filter((backend) => {
    try {
      backend.parse({}, families);
      return true;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return false;
    }
  });
  return defaultBackend(
    leases,
    usable.map(({ type }) => type),
  );
}

/** The backend of this type (any case). Throws ConfigError that names the supported ones. */
export function findBackend(type: string): BackendModule<BackendConfig> {
  const lower = type.toLowerCase();
  const found = BACKENDS.find((candidate) => candidate.type === lower);
  if (found !== undefined) return found;
  const available = BACKEND_TYPES.join(", ");
  throw new ConfigError(
    `network config: Backend.Type "${type.slice(0, 40)}" is not known; use one of: ${available}`,
  );
}

/** Names of the devices that this network's backend creates on a host, to be looked up before {@link createBackend}. */
export const deviceNamesOf = (network: Pick<Network, keyof NetworkFamilies | "backend">): readonly string[] =>
  findBackend(network.backend.type).deviceNames(network.backend, network);

/** The command whose output {@link createBackend} needs as `startupOutput`; undefined = none. */
export const startupCommandOf = (network: Pick<Network, "backend">): string | undefined =>
  findBackend(network.backend.type).startupCommand?.(network.backend);

/** Creates the backend of a network. Throws ConfigError. */
export const createBackend = (network: Network, context: Omit<BackendContext, "network">): Backend =>
  findBackend(network.backend.type).create(network.backend, { ...context, network });
