/** Faults of what flanneld has programmed: routes, neighbours, FDB entries, addresses, firewall, its device. */

import { A_REPAIR, type Fault, ipLines, NOTHING, type Target } from "./fault.ts";

const VXLAN = ["vxlan"] as const;
const DEVICE = ["vxlan", "udp"] as const;
const ROUTES = ["vxlan", "host-gw"] as const;

/** Lines of ip(8) with DEV, PEER (its subnet) in them. */
const lines =
  (...text: readonly string[]) =>
  async (target: Target): Promise<undefined> => {
    const { bed, peer } = target;
    await ipLines(
      target,
      ...text.map((line) => line.replace("DEV", bed.device ?? "").replace("PEER", peer.subnet)),
    );
  };

export const KERNEL_FAULTS: readonly Fault[] = [
  { name: "route to a peer deleted", backends: ROUTES, inject: lines("route del PEER"), allowed: A_REPAIR },
  { name: "routes flushed", backends: ROUTES, inject: lines("route flush proto 70"), allowed: A_REPAIR },
  {
    name: "route of the network deleted",
    backends: ["udp"],
    inject: lines("route del 10.5.0.0/16 dev DEV"),
    allowed: A_REPAIR,
  },
  {
    name: "neighbours flushed",
    backends: VXLAN,
    inject: lines("neigh flush dev DEV nud permanent"),
    allowed: A_REPAIR,
  },
  {
    name: "neighbours of eth0 flushed",
    inject: lines("neigh flush dev eth0"),
    // The kernel keeps packets while it asks for the address (unres_qlen_bytes).
    allowed: NOTHING,
  },
  {
    name: "FDB flushed",
    backends: VXLAN,
    async inject({ host, bed }) {
      await host.run("bridge", ["fdb", "flush", "dev", bed.device!]);
      return undefined;
    },
    allowed: A_REPAIR,
  },
  {
    name: "addresses of the device flushed",
    backends: DEVICE,
    inject: lines("address flush dev DEV"),
    allowed: A_REPAIR,
  },
  { name: "device deleted", backends: DEVICE, inject: lines("link del DEV"), allowed: { withinMs: 500 } },
  {
    name: "device down",
    backends: DEVICE,
    inject: lines("link set DEV down"),
    allowed: { withinMs: 500 },
  },
  {
    name: "device renamed, the new name deleted",
    backends: VXLAN,
    async inject(target) {
      const { device } = target.bed;
      await ipLines(target, `link set ${device} down`, `link set ${device} name renamed0`);
      return () => ipLines(target, "link del renamed0");
    },
    // Under the new name it is a foreign device, which keeps VNI and port.
    reported: /renamed0/,
    allowed: { withinMs: 1_500 },
  },
  {
    name: "device's MTU changed",
    backends: DEVICE,
    inject: lines("link set DEV mtu 600"),
    allowed: A_REPAIR,
  },
  {
    name: "device's MAC changed",
    backends: VXLAN,
    inject: lines("link set DEV address 0a:00:00:00:00:99"),
    allowed: { withinMs: 500 },
  },
  {
    name: "foreign device of flannel's name",
    backends: VXLAN,
    async inject(target) {
      const { host, bed } = target;
      await host.daemon.hold("SIGKILL");
      await ipLines(target, `link del ${bed.device}`, `link add ${bed.device} type bridge`);
      host.daemon.start();
      return () => ipLines(target, `link del ${bed.device}`);
    },
    reported: /flannel\.1/,
    standsMs: 1_500,
    allowed: { withinMs: 1_500 },
  },
  {
    name: "blackhole route replaces ours",
    backends: ROUTES,
    inject: lines("route replace blackhole PEER"),
    allowed: A_REPAIR,
  },
  {
    name: "route over a bridge replaces ours",
    backends: ROUTES,
    async inject(target) {
      await ipLines(
        target,
        "link add foreign0 type bridge",
        "link set foreign0 up",
        `route replace ${target.peer.subnet} dev foreign0`,
      );
      return () => ipLines(target, "link del foreign0");
    },
    allowed: A_REPAIR,
  },
  {
    name: "foreign route shadows a part of a peer's subnet",
    async inject(target) {
      const part = target.peer.subnet.replace(/\/24$/, "/25");
      await ipLines(target, `route add blackhole ${part}`);
      return () => ipLines(target, `route del blackhole ${part}`);
    },
    reported: /Foreign route blackhole 10\.5\.\d+\.0\/25 captures traffic to peer subnet/,
    standsMs: 1_000,
    // The longer prefix wins, and it is not flanneld's to delete.
    allowed: { withinMs: 100 },
  },
  {
    name: "foreign route to a peer's subnet",
    backends: ["udp"], // which has one route for the whole network
    async inject(target) {
      await ipLines(target, `route add blackhole ${target.peer.subnet}`);
      return () => ipLines(target, `route del blackhole ${target.peer.subnet}`);
    },
    reported: /Foreign route blackhole \S+ captures traffic to peer subnet/,
    standsMs: 1_000,
    allowed: { withinMs: 100 },
  },
  {
    name: "nft flush ruleset, iptables -F",
    async inject({ host }) {
      await host.run("nft", ["flush", "ruleset"]);
      for (const table of ["filter", "nat"]) await host.run("iptables", ["-t", table, "-F"]);
      return undefined;
    },
    allowed: NOTHING,
  },
  {
    name: "FORWARD policy DROP, rules flushed",
    async inject({ host }) {
      await host.run("iptables", ["-P", "FORWARD", "DROP"]);
      await host.run("iptables", ["-F", "FORWARD"]);
      return async () => void (await host.run("iptables", ["-P", "FORWARD", "ACCEPT"]));
    },
    allowed: { packets: 10 },
  },
  {
    name: "conntrack -F",
    async inject({ host }) {
      await host.run("conntrack", ["-F"]);
      return undefined;
    },
    allowed: NOTHING,
  },
  {
    name: "ip_forward switched off",
    async inject({ host }) {
      await host.run("sysctl", ["-qw", "net.ipv4.ip_forward=0"]);
      return async () => void (await host.run("sysctl", ["-qw", "net.ipv4.ip_forward=1"]));
    },
    allowed: { withinMs: 100 },
  },
  {
    name: "rp_filter and arp sysctls changed",
    async inject({ host }) {
      const keys = ["rp_filter", "arp_filter", "accept_redirects", "send_redirects"];
      for (const key of keys) await host.run("sysctl", ["-qw", `net.ipv4.conf.all.${key}=1`]);
      return async () => {
        for (const key of keys) await host.run("sysctl", ["-qw", `net.ipv4.conf.all.${key}=0`]);
      };
    },
    allowed: NOTHING,
  },
];
