/**
 * The flags of flanneld: names, defaults and help as in Go's flanneld, so that existing unit files continue to work.
 * Those of the datastore and of Kubernetes are flannelctl's too; the first four of them are ours.
 */

import type { FlagTable } from "./flags.ts";
import type { FlagGroup } from "./flags-text.ts";
import { CONFIG_FILE_FLAG, LOG_FLAGS, PROGRAM_FLAGS } from "./options-program-table.ts";

/** Prefix of the environment variables: `--etcd-endpoints` is also FLANNELD_ETCD_ENDPOINTS. */
export const ENVIRONMENT_PREFIX = "FLANNELD_";

export const DATASTORE_FLAGS = {
  datastore: {
    kind: "string",
    value: "kind",
    default: "etcd3",
    choices: ["etcd3", "etcd2", "embedded"],
    help: "etcd3, etcd2 (old clusters), or embedded: flanneld itself serves the store, for small clusters",
  },
  "embedded-listen": {
    kind: "list",
    value: "addresses",
    default: ["127.0.0.1:2379"],
    help: "comma-separated addresses and ports on which the embedded store serves",
  },
  "embedded-data-dir": {
    kind: "string",
    value: "dir",
    default: "/var/lib/flannel/store",
    help: "where the embedded store keeps its data",
  },
  network: {
    kind: "string",
    value: "cidr",
    help: "with the embedded store: write a network config for this network if there is none",
  },
  "etcd-endpoints": {
    kind: "list",
    value: "urls",
    default: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
    help: "comma-separated list of etcd endpoints",
  },
  "etcd-prefix": {
    kind: "string",
    value: "path",
    default: "/coreos.com/network",
    help: "prefix of all keys in etcd",
  },
  "etcd-keyfile": { kind: "string", value: "file", help: "client key for etcd (PEM)" },
  "etcd-certfile": { kind: "string", value: "file", help: "client certificate for etcd (PEM)" },
  "etcd-cafile": {
    kind: "string",
    value: "file",
    help: "certificate authority that verifies etcd (PEM)",
  },
  "etcd-username": { kind: "string", value: "name", verbatim: true, help: "user name for etcd" },
  "etcd-password": { kind: "string", value: "password", secret: true, help: "password for etcd" },
} as const satisfies FlagTable;

const KUBE_FLAGS = {
  "kube-subnet-mgr": { kind: "bool", help: "use the Kubernetes API instead of etcd" },
  "kube-api-url": {
    kind: "string",
    value: "url",
    help: "Kubernetes API server, instead of the in-cluster one",
  },
  "kubeconfig-file": {
    kind: "string",
    value: "file",
    help: "kubeconfig, instead of the in-cluster configuration",
  },
  "kube-annotation-prefix": {
    kind: "string",
    value: "prefix",
    default: "flannel.alpha.coreos.com",
    help: "prefix of flannel's annotations on Kubernetes nodes",
  },
  "net-config-path": {
    kind: "string",
    value: "file",
    default: "/etc/kube-flannel/net-conf.json",
    help: "network config when --kube-subnet-mgr is on",
  },
} as const satisfies FlagTable;

/** The flags that flanneld and flannelctl share. */
export const STORE_FLAGS = { ...DATASTORE_FLAGS, ...KUBE_FLAGS } as const satisfies FlagTable;

const INTERFACE_FLAGS = {
  iface: {
    kind: "repeatable",
    value: "interface",
    help: "external interface, by name or by one of its addresses; the first match wins",
  },
  "iface-regex": {
    kind: "repeatable",
    value: "regex",
    help: "external interface by regular expression, on addresses, then on names; tried after --iface",
  },
  "iface-can-reach": {
    kind: "string",
    value: "ip",
    help: "use the interface through which the kernel reaches this address",
  },
  "public-ip": {
    kind: "string",
    value: "ip",
    help: "IPv4 address published to peers instead of the interface's own",
  },
  "public-ipv6": {
    kind: "string",
    value: "ip",
    help: "IPv6 address published to peers instead of the interface's own",
  },
} as const satisfies FlagTable;

const HOST_FLAGS = {
  "subnet-file": {
    kind: "string",
    value: "file",
    default: "/run/flannel/subnet.env",
    help: "file that the subnet, MTU and other results are written to",
  },
  "subnet-lease-renew-margin": {
    kind: "int",
    value: "minutes",
    default: 60,
    help: "renew the lease this many minutes before it expires, 1 to 1439",
  },
  "ip-masq": { kind: "bool", help: "masquerade traffic that leaves the flannel network" },
  "ip-masq-fully-random-disable": {
    kind: "bool",
    help: "do not ask for fully random ports when masquerading",
  },
  "ip-blackhole-route": {
    kind: "bool",
    help: "blackhole route for the own subnet, for when no bridge owns it",
  },
  "remove-stale-bridge": {
    kind: "bool",
    help: "delete a container bridge that has the address of another subnet and no port",
  },
  "iptables-forward-rules": {
    kind: "bool",
    default: true,
    help: "accept traffic of the flannel network in the FORWARD chain",
  },
  "iptables-resync": {
    kind: "int",
    value: "seconds",
    default: 5,
    help: "time between two checks of the firewall",
  },
  "cloud-resync": {
    kind: "int",
    value: "seconds",
    default: 60,
    help: "cloud backends: time between two listings of the cloud's routes",
  },
  "udp-offloads": {
    kind: "bool",
    default: true,
    help: "udp backend: let the kernel segment and coalesce packets; off = one packet at a time",
  },
} as const satisfies FlagTable;

const NODE_FLAGS = {
  "set-node-network-unavailable": {
    kind: "bool",
    default: true,
    help: "set NodeNetworkUnavailable to false on the Kubernetes node when flannel is up",
  },
  "network-policy": {
    kind: "bool",
    help: "enforce the cluster's network policies on this node's pods (Kubernetes; nftables)",
  },
  "network-policy-only": {
    kind: "bool",
    help: "enforce network policies and do nothing else: beside Go's flanneld",
  },
  "network-policy-log-group": {
    kind: "int",
    value: "group",
    default: -1,
    help: "log packets that network policies deny to this group of nfnetlink_log, ten a second; -1 = none",
  },
} as const satisfies FlagTable;

const STATUS_FLAGS = {
  "healthz-ip": { kind: "string", value: "ip", default: "0.0.0.0", help: "address of the health server" },
  "healthz-port": { kind: "int", value: "port", default: 0, help: "TCP port of the health server, 0 = off" },
  "status-listen": {
    kind: "string",
    value: "address",
    default: "127.0.0.1:7000",
    help: "address and port of the status server (routing information, metrics); empty or off = none",
  },
  "status-socket": {
    kind: "string",
    value: "file",
    help: "unix socket of the status server, for root; by default beside the subnet file (/run/flannel/flanneld.sock); off = none",
  },
  "status-token-file": {
    kind: "string",
    value: "file",
    help: "file with a token that clients of --status-listen have to send; not readable by every user",
  },
  "status-tls-cert-file": {
    kind: "string",
    value: "file",
    help: "certificate of the status server (PEM): --status-listen serves HTTPS",
  },
  "status-tls-key-file": { kind: "string", value: "file", help: "its private key (PEM), unencrypted" },
  "status-tls-client-ca-file": {
    kind: "string",
    value: "file",
    help: "serve only clients with a certificate of this authority (PEM)",
  },
  "probe-interval": {
    kind: "string",
    value: "seconds",
    default: "1",
    help: "shortest time between two probes of a peer; a large cluster is probed less often; 0 or off = no probes",
  },
} as const satisfies FlagTable;

/** All flags of flanneld, in the order of the usage. */
export const FLANNELD_FLAGS = {
  ...DATASTORE_FLAGS,
  ...INTERFACE_FLAGS,
  ...HOST_FLAGS,
  ...KUBE_FLAGS,
  ...NODE_FLAGS,
  ...STATUS_FLAGS,
  ...LOG_FLAGS,
  ...PROGRAM_FLAGS,
} as const satisfies FlagTable;

export type DatastoreFlags = typeof DATASTORE_FLAGS;
export type StoreFlags = typeof STORE_FLAGS;
export type FlanneldFlags = typeof FLANNELD_FLAGS;

const group = (title: string, table: FlagTable): FlagGroup => ({ title, names: Object.keys(table) });

/** The flags of {@link STORE_FLAGS} by what they concern. */
export const STORE_GROUPS: readonly FlagGroup[] = [
  group("Datastore", DATASTORE_FLAGS),
  group("Kubernetes", KUBE_FLAGS),
  group("Program", CONFIG_FILE_FLAG),
];

/** The flags of flanneld by what they concern. */
export const FLANNELD_GROUPS: readonly FlagGroup[] = [
  group("Datastore", DATASTORE_FLAGS),
  group("External interface", INTERFACE_FLAGS),
  group("What flanneld writes and sets", HOST_FLAGS),
  group("Kubernetes", { ...KUBE_FLAGS, ...NODE_FLAGS }),
  group("Health, status and probes", STATUS_FLAGS),
  group("Log", LOG_FLAGS),
  group("Program", PROGRAM_FLAGS),
];
