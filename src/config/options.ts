/** The options of flanneld: flags and environment, checked, typed, in units that the code uses. */

import type { Ip } from "../address/ip.ts";
import { ConfigError } from "../base/error.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import type { Environment, ParsedFlags } from "./flags.ts";
import { describeFlags } from "./flags-text.ts";
import { type DatastoreOptions, readDatastore } from "./options-datastore.ts";
import { type LogOptions, readLogOptions } from "./options-log.ts";
import { FlagReader } from "./options-reader.ts";
import { readStatusOptions, type StatusOptions } from "./options-status.ts";
import { FLANNELD_FLAGS, type FlanneldFlags } from "./options-table.ts";

/** How to choose the external interface, and which addresses to publish. */
export interface InterfaceOptions {
  /** Names or addresses, in order of preference. */
  readonly iface: readonly string[];
  readonly ifaceRegex: readonly RegExp[];
  readonly ifaceCanReach: Ip | undefined;
  readonly publicIp: Ip | undefined;
  readonly publicIpv6: Ip | undefined;
}

export interface FirewallOptions {
  readonly ipMasq: boolean;
  /** Ask for fully random ports when masquerading. */
  readonly randomFully: boolean;
  readonly forwardRules: boolean;
  readonly resyncMs: number;
}

interface NetworkPolicyOptions {
  /** Nothing else is done: another flanneld makes the network. */
  readonly isAlone: boolean;
  /** Denied packets are logged to this group of nfnetlink_log; undefined = not. */
  readonly logGroup?: number;
}

export interface FlanneldOptions {
  readonly datastore: DatastoreOptions;
  /** `--set-node-network-unavailable`; without effect outside Kubernetes. */
  readonly setNodeNetworkUnavailable: boolean;
  readonly interface: InterfaceOptions;
  readonly firewall: FirewallOptions;
  /** Undefined = network policies are not enforced. */
  readonly networkPolicy: NetworkPolicyOptions | undefined;
  readonly subnetFile: string;
  /** How long before its expiry a lease is renewed. */
  readonly renewMarginMs: number;
  readonly blackholeRoute: boolean;
  /** `--remove-stale-bridge`. */
  readonly removeStaleBridge: boolean;
  /** Whether the udp backend uses the kernel's offloads (`--udp-offloads`). */
  readonly udpOffloads: boolean;
  /** How often the routes of a cloud are listed at least. */
  readonly cloudResyncMs: number;
  /** Undefined = no health server. */
  readonly healthz: { readonly ip: Ip; readonly port: number } | undefined;
  readonly status: StatusOptions;
  /** Shortest time between two probes of a peer; undefined = no probes. */
  readonly probeIntervalMs: number | undefined;
  readonly log: LogOptions;
  /** WIREGUARD_KEY_FILE: the file with this host's private WireGuard key; by default /run/flannel/wgkey. */
  readonly wireguardKeyFile: string;
  /** CHARON_VICI_SOCKET: the socket of strongSwan's charon; by default /var/run/charon.vici. */
  readonly charonSocket: string;
  /** NOTIFY_SOCKET: where systemd receives READY=1. */
  readonly notifySocket: string | undefined;
  /** The network config that the configuration file proposes; undefined = none, or `--network` replaces it. */
  readonly declaredNetwork: DeclaredNetwork | undefined;
  /** The flags as given; use {@link describeOptions} to show them. */
  readonly flags: ParsedFlags<FlanneldFlags>;
}

/**
 * Checks parsed flags (with their FLANNELD_ variables) and the other variables. `declared`: from the configuration file.
 * Throws ConfigError for the first fault.
 */
export function readOptions(
  flags: ParsedFlags<FlanneldFlags>,
  environment: Environment,
  declared?: DeclaredNetwork,
): FlanneldOptions {
  refuseArguments(flags);
  const { values } = flags;
  const read = new FlagReader(flags);
  const healthzPort = read.int("healthz-port", 0, 65535);
  const healthzIp = read.ip("healthz-ip") ?? ANY_IPV4;
  return {
    datastore: readDatastore(read, environment),
    setNodeNetworkUnavailable: values["set-node-network-unavailable"],
    interface: {
      iface: read.texts("iface"),
      ifaceRegex: read.regExps("iface-regex"),
      ifaceCanReach: read.ip("iface-can-reach"),
      publicIp: read.ip("public-ip", 4),
      publicIpv6: read.ip("public-ipv6", 6),
    },
    firewall: {
      ipMasq: values["ip-masq"],
      randomFully: !values["ip-masq-fully-random-disable"],
      forwardRules: values["iptables-forward-rules"],
      resyncMs: read.int("iptables-resync", 1, 86_400) * 1000,
    },
    networkPolicy: readNetworkPolicy(read),
    subnetFile: read.required("subnet-file"),
    renewMarginMs: read.int("subnet-lease-renew-margin", 1, 1439) * 60_000,
    blackholeRoute: values["ip-blackhole-route"],
    removeStaleBridge: values["remove-stale-bridge"],
    udpOffloads: values["udp-offloads"],
    cloudResyncMs: read.int("cloud-resync", 1, 86_400) * 1000,
    healthz: healthzPort === 0 ? undefined : { ip: healthzIp, port: healthzPort },
    status: readStatusOptions(read),
    probeIntervalMs: readProbeInterval(read),
    log: readLogOptions(read),
    wireguardKeyFile: wireguardKeyFileOf(environment),
    charonSocket: environment.CHARON_VICI_SOCKET || "/var/run/charon.vici",
    notifySocket: environment.NOTIFY_SOCKET || undefined,
    declaredNetwork: flags.sources.network === undefined ? declared : undefined,
    flags,
  };
}

function readNetworkPolicy(read: FlagReader<FlanneldFlags>): NetworkPolicyOptions | undefined {
  const { values, sources } = read.flags;
  const isAlone = values["network-policy-only"];
  if (!values["network-policy"] && !isAlone) return undefined;
  const logGroup = values["network-policy-log-group"];
  if (logGroup < -1 || logGroup > 65_535)
    throw read.fault(
      "network-policy-log-group",
      `${logGroup} is no group of nfnetlink_log: give 0 to 65535, or -1`,
    );
  if (values["kube-subnet-mgr"]) return { isAlone, ...(logGroup >= 0 && { logGroup }) };
  throw read.fault(
    sources["network-policy"] === undefined ? "network-policy-only" : "network-policy",
    "network policies, pods and namespaces are in the Kubernetes API: give --kube-subnet-mgr too, or leave this out",
  );
}

/** Path of the file with this host's private WireGuard key, as in Go flannel. */
export const wireguardKeyFileOf = (environment: Environment): string =>
  environment.WIREGUARD_KEY_FILE || "/run/flannel/wgkey";

/** Seconds, with or without the unit that Go writes ("5s"). */
function readProbeInterval(read: FlagReader<FlanneldFlags>): number | undefined {
  const text = read.text("probe-interval") ?? "off";
  if (text === "off") return undefined;
  const seconds = /^\d{1,6}(\.\d{1,3})?s?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (seconds === 0) return undefined;
  if (seconds >= 0.1 && seconds <= 3_600) return seconds * 1_000;
  throw read.fault(
    "probe-interval",
    `${JSON.stringify(text)} is no number of seconds within 0.1…3600, nor 0 or "off"`,
  );
}

/** The given options in one line, without secrets (W11). */
export const describeOptions = (options: FlanneldOptions): string =>
  describeFlags(FLANNELD_FLAGS, options.flags);

const ANY_IPV4: Ip = { family: 4, value: 0n };

function refuseArguments(flags: ParsedFlags<FlanneldFlags>): void {
  const argument = [...flags.positional, ...flags.rest][0];
  if (argument === undefined) return;
  // It may be the second half of a password that contains a space.
  const isPerhapsSecret = flags.sources["etcd-password"]?.startsWith("--") ?? false;
  const name = isPerhapsSecret ? "an argument" : `argument ${JSON.stringify(argument)}`;
  throw new ConfigError(
    `${name} belongs to no flag: remove it, quote values that contain spaces, and write a bool's value after "=" (--ip-masq=true)`,
  );
}
