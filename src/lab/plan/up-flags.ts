/** The flags of `lab up`. */

import { BACKEND_TYPES } from "../../backend/backends.ts";
import type { FlagTable, ParsedFlags } from "../../config/flags.ts";
import { DEFAULT_LAB } from "./topology.ts";

export const UP_FLAGS = {
  name: { kind: "string", value: "name", default: DEFAULT_LAB, help: "name of the lab" },
  hosts: { kind: "int", value: "number", default: 3, help: "how many hosts" },
  subnets: {
    kind: "int",
    value: "number",
    default: 1,
    help: "how many links the hosts take turns at, with a router between",
  },
  backend: {
    kind: "string",
    value: "type",
    default: "vxlan",
    help: `the network config's backend: ${BACKEND_TYPES.join(", ")}`,
  },
  "direct-routing": { kind: "bool", help: "vxlan, ipip: no tunnel between hosts on one link" },
  network: { kind: "string", value: "prefix", default: "10.5.0.0/16", help: "the network config's network" },
  "dual-stack": { kind: "bool", help: "IPv4 and IPv6" },
  "ipv6-only": { kind: "bool", help: "IPv6 instead of IPv4" },
  "ipv6-network": {
    kind: "string",
    value: "prefix",
    default: "fd00:5::/48",
    help: "the network config's IPv6 network",
  },
  nftables: { kind: "bool", help: "firewall rules by nftables instead of iptables" },
  config: {
    kind: "string",
    value: "file",
    help: "the whole network config (JSON), instead of the flags from --backend to --nftables",
  },
  underlay: {
    kind: "string",
    value: "prefix",
    default: "192.168.64.0/24",
    help: "the network that the hosts are in; further --subnets take the next ones",
  },
  "underlay-ipv6": {
    kind: "string",
    value: "prefix",
    default: "fd00:64::/64",
    help: "their IPv6 network, if the network config has IPv6",
  },
  etcd: { kind: "bool", help: "a real etcd as datastore, instead of the embedded store" },
  kube: {
    kind: "bool",
    help: "a Kubernetes API server as datastore, and containers joined by CNI plugins as pods are",
  },
  "network-policy": {
    kind: "bool",
    help: "with --kube: flanneld enforces network policies, and pods wait for theirs",
  },
  flanneld: {
    kind: "string",
    value: "file",
    help: "flanneld to run, by default the one beside this program",
  },
  keep: { kind: "bool", help: "leave everything as it is if something fails" },
  hints: { kind: "bool", default: true, help: "say at the end what to try next" },
} as const satisfies FlagTable;

export type UpFlags = ParsedFlags<typeof UP_FLAGS>;
