/** What a bug report contains: for each file where its text is from. */

import type { Rtnetlink } from "../../netlink/rtnetlink.ts";

/** A program and its arguments; not in the report where it is not installed or fails. */
interface ProgramSource {
  readonly path: string;
  readonly what: string;
  readonly program: readonly [command: string, ...args: string[]];
}

const run = (path: string, what: string, ...program: [string, ...string[]]): ProgramSource => ({
  ...{ path, what, program },
});

/** States of IPsec are left out: `ip xfrm state` prints keys. */
export const PROGRAM_SOURCES: readonly ProgramSource[] = [
  run("versions/nft.txt", "version of nft", "nft", "--version"),
  run("versions/iptables.txt", "version of iptables", "iptables", "--version"),
  run("versions/ip.txt", "version of ip", "ip", "-V"),
  run("kernel/ip-address.txt", "devices with all settings", "ip", "-details", "address"),
  run("kernel/ip-rule.txt", "rules of policy routing", "ip", "rule"),
  run("kernel/ip-rule-6.txt", "rules of policy routing, IPv6", "ip", "-6", "rule"),
  run("kernel/ip-xfrm-policy.txt", "policies of IPsec", "ip", "xfrm", "policy"),
  run("kernel/bridge-fdb.txt", "forwarding entries", "bridge", "fdb"),
  run("kernel/wg.txt", "WireGuard without keys that are secret", "wg", "show", "all"),
  run("rules/nft.txt", "rules of nftables", "nft", "list", "ruleset"),
  run("rules/iptables.txt", "rules of iptables", "iptables-save"),
  run("rules/ip6tables.txt", "rules of ip6tables", "ip6tables-save"),
  run("rules/iptables-legacy.txt", "rules of iptables-legacy", "iptables-legacy-save"),
  run(
    "logs/journal.txt",
    "log of flanneld's unit",
    ...journal("_COMM=flanneld", "+", "UNIT=flanneld.service"),
  ),
  run("logs/journal-unit.txt", "log of flanneld's unit", ...journal("-u", "flanneld")),
  run("logs/dmesg.txt", "log of the kernel", "dmesg"),
];

function journal(...match: string[]): [string, ...string[]] {
  return ["journalctl", "--no-pager", "-q", "-n", "5000", ...match];
}

/** Files of the host. */
export const FILE_SOURCES: readonly {
  readonly path: string;
  readonly what: string;
  readonly file: string;
}[] = [
  { path: "versions/kernel.txt", what: "version of the kernel", file: "/proc/version" },
  { path: "versions/os-release.txt", what: "distribution", file: "/etc/os-release" },
  { path: "kernel/netstat.txt", what: "counters (rp_filter, TCP)", file: "/proc/net/netstat" },
  { path: "kernel/snmp.txt", what: "counters of IP, ICMP, UDP", file: "/proc/net/snmp" },
  { path: "kernel/dev.txt", what: "counters of devices", file: "/proc/net/dev" },
  { path: "kernel/ip_forward.txt", what: "net.ipv4.ip_forward", file: "/proc/sys/net/ipv4/ip_forward" },
  {
    path: "kernel/rp_filter.txt",
    what: "net.ipv4.conf.all.rp_filter",
    file: "/proc/sys/net/ipv4/conf/all/rp_filter",
  },
  { path: "kernel/modules.txt", what: "modules of the kernel", file: "/proc/modules" },
  { path: "logs/net-conf.json", what: "network config of the pod", file: "/etc/kube-flannel/net-conf.json" },
];

/** What the running flanneld answers. */
export const API_SOURCES: readonly {
  readonly path: string;
  readonly what: string;
  readonly request: string;
}[] = [
  { path: "flanneld/status.json", what: "state of this host", request: "/v1/status" },
  { path: "flanneld/lease.json", what: "this host's lease", request: "/v1/lease" },
  { path: "flanneld/routes.json", what: "routes to peers", request: "/v1/routes" },
  { path: "flanneld/peers.json", what: "peers", request: "/v1/peers" },
  { path: "flanneld/plan.json", what: "what flanneld would change now", request: "/v1/plan" },
  { path: "flanneld/drift.json", what: "repairs", request: "/v1/drift" },
  { path: "flanneld/metrics.txt", what: "metrics", request: "/metrics" },
  { path: "flanneld/events.txt", what: "latest events", request: "/v1/events?follow=false" },
];

/** What this kernel answers by netlink, also where no tool is installed. */
export const KERNEL_SOURCES: readonly {
  readonly path: string;
  readonly what: string;
  readonly read: (rtnetlink: Rtnetlink) => unknown;
}[] = [
  { path: "kernel/links.json", what: "devices", read: (rtnetlink) => rtnetlink.links() },
  { path: "kernel/addresses.json", what: "addresses", read: (rtnetlink) => rtnetlink.addresses() },
  { path: "kernel/routes.json", what: "routes of all tables", read: (rtnetlink) => rtnetlink.routes() },
  { path: "kernel/neighbours.json", what: "neighbours", read: (rtnetlink) => rtnetlink.neighbours() },
  {
    path: "kernel/fdb.json",
    what: "forwarding entries of VXLAN devices",
    read: (rtnetlink) =>
      rtnetlink
        .links()
        .filter(({ vxlan }) => vxlan !== undefined)
        .flatMap(({ index }) => rtnetlink.fdb({ ifindex: index })),
  },
];
