/** The options of flanneld: flags and environment, checked, typed, in units that the code uses. */

import type { Ip } from "../address/ip.ts";
import { ConfigError } from "../base/error.ts";
import { type ParsedFlags, parseBool } from "./flags.ts";
import { describeFlags } from "./flags-text.ts";
import { type DatastoreOptions, readDatastoreOptions } from "./options-datastore.ts";
import { FlagReader } from "./options-reader.ts";
import { FLANNELD_FLAGS, type FlanneldFlags } from "./options-table.ts";

/** How to choose the external interface, and what to tell peers. */
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

export interface KubeOptions {
  readonly enabled: boolean;
  readonly apiUrl: string | undefined;
  readonly kubeconfigFile: string | undefined;
  readonly annotationPrefix: string;
  readonly netConfigPath: string;
  readonly setNodeNetworkUnavailable: boolean;
  /** NODE_NAME, POD_NAME, POD_NAMESPACE. */
  readonly nodeName: string | undefined;
  readonly podName: string | undefined;
  readonly podNamespace: string | undefined;
  /** EVENT_QUEUE_DEPTH: how many node events may wait. */
  readonly eventQueueDepth: number;
  /** CONT_WHEN_CACHE_NOT_READY: start although the first listing of nodes is not complete. */
  readonly continueWhenCacheNotReady: boolean;
}

export interface FlanneldOptions {
  readonly datastore: DatastoreOptions;
  readonly interface: InterfaceOptions;
  readonly firewall: FirewallOptions;
  readonly kube: KubeOptions;
  readonly subnetFile: string;
  /** How long before its expiry a lease is renewed. */
  readonly renewMarginMs: number;
  readonly blackholeRoute: boolean;
  /** Whether the udp backend uses what the kernel can do for it (`--udp-offloads`). */
  readonly udpOffloads: boolean;
  /** Undefined = no health server. */
  readonly healthz: { readonly ip: Ip; readonly port: number } | undefined;
  readonly verbosity: number;
  /** WIREGUARD_KEY_FILE: where the private key is kept, instead of beside subnet.env. */
  readonly wireguardKeyFile: string | undefined;
  /** ACCESS_KEY_ID and ACCESS_KEY_SECRET of a cloud. */
  readonly cloudKeyId: string | undefined;
  readonly cloudKeySecret: string | undefined;
  /** NOTIFY_SOCKET: where systemd wants to hear READY=1. */
  readonly notifySocket: string | undefined;
  /** The flags as given; use {@link describeOptions} to show them. */
  readonly flags: ParsedFlags<FlanneldFlags>;
}

/** A process environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Checks parsed flags (with their FLANNELD_ variables) and the other variables. Throws ConfigError for the first fault. */
export function readOptions(flags: ParsedFlags<FlanneldFlags>, environment: Environment): FlanneldOptions {
  refuseArguments(flags);
  const { values } = flags;
  const read = new FlagReader(flags);
  const healthzPort = read.int("healthz-port", 0, 65535);
  const healthzIp = read.ip("healthz-ip") ?? ANY_IPV4;
  return {
    datastore: readDatastoreOptions(read),
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
    kube: readKube(read, environment),
    subnetFile: read.required("subnet-file"),
    renewMarginMs: read.int("subnet-lease-renew-margin", 1, 1439) * 60_000,
    blackholeRoute: values["ip-blackhole-route"],
    udpOffloads: values["udp-offloads"],
    healthz: healthzPort === 0 ? undefined : { ip: healthzIp, port: healthzPort },
    verbosity: read.int("v", 0, 100),
    wireguardKeyFile: environment.WIREGUARD_KEY_FILE || undefined,
    cloudKeyId: environment.ACCESS_KEY_ID || undefined,
    cloudKeySecret: environment.ACCESS_KEY_SECRET || undefined,
    notifySocket: environment.NOTIFY_SOCKET || undefined,
    flags,
  };
}

/** What was given, in one line, without secrets (W11). */
export const describeOptions = (options: FlanneldOptions): string =>
  describeFlags(FLANNELD_FLAGS, options.flags);

/** Flags whose feature this version does not have. A feature that lands takes its line away here. */
const NOT_YET: readonly (readonly [
  flag: keyof FlanneldFlags,
  isUsed: (options: FlanneldOptions) => boolean,
])[] = [
  ["kube-subnet-mgr", (options) => options.kube.enabled],
  ["kube-api-url", (options) => options.kube.apiUrl !== undefined],
  ["kubeconfig-file", (options) => options.kube.kubeconfigFile !== undefined],
];

/** One message for each option in use that this version cannot honour; flanneld must not start if there is any. */
export const notYetSupported = (options: FlanneldOptions): string[] =>
  NOT_YET.filter(([, isUsed]) => isUsed(options)).map(
    ([flag]) =>
      `${options.flags.sources[flag] ?? `--${flag}`} is not supported by this version yet: remove it`,
  );

const ANY_IPV4: Ip = { family: 4, value: 0n };
const EVENT_QUEUE_DEPTH = 5000;

function refuseArguments(flags: ParsedFlags<FlanneldFlags>): void {
  const argument = [...flags.positional, ...flags.rest][0];
  if (argument === undefined) return;
  // It may be the second half of a password with a blank in it.
  const isPerhapsSecret = flags.sources["etcd-password"]?.startsWith("--") ?? false;
  const name = isPerhapsSecret ? "an argument" : `argument ${JSON.stringify(argument)}`;
  throw new ConfigError(
    `${name} belongs to no flag: remove it, quote values that hold blanks, and write a bool's value after "=" (--ip-masq=true)`,
  );
}

function readKube(read: FlagReader<FlanneldFlags>, environment: Environment): KubeOptions {
  return {
    enabled: read.flags.values["kube-subnet-mgr"],
    apiUrl: read.text("kube-api-url"),
    kubeconfigFile: read.text("kubeconfig-file"),
    annotationPrefix: read.required("kube-annotation-prefix"),
    netConfigPath: read.required("net-config-path"),
    setNodeNetworkUnavailable: read.flags.values["set-node-network-unavailable"],
    nodeName: environment.NODE_NAME || undefined,
    podName: environment.POD_NAME || undefined,
    podNamespace: environment.POD_NAMESPACE || undefined,
    eventQueueDepth: readQueueDepth(environment.EVENT_QUEUE_DEPTH),
    continueWhenCacheNotReady: readSwitch("CONT_WHEN_CACHE_NOT_READY", environment.CONT_WHEN_CACHE_NOT_READY),
  };
}

function readQueueDepth(text: string | undefined): number {
  if (text === undefined || text === "") return EVENT_QUEUE_DEPTH;
  const depth = /^\d+$/.test(text) ? Number(text) : 0;
  if (depth >= 1 && depth <= 1_000_000) return depth;
  throw new ConfigError(`EVENT_QUEUE_DEPTH: ${JSON.stringify(text)} is not a whole number within 1…1000000`);
}

function readSwitch(variable: string, text: string | undefined): boolean {
  if (text === undefined || text === "") return false;
  const value = parseBool(text);
  if (value === undefined)
    throw new ConfigError(`${variable}: ${JSON.stringify(text)} is neither true nor false`);
  return value;
}
