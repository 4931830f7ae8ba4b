/** Faults of the external interface: down, unplugged, deleted, renamed, its address and MTU changed, virtual addresses. */

import { type Fault, ipLines, NOTHING, type Target } from "./fault.ts";

const GATEWAY = "192.168.64.1";
const defaultRoute = `route replace default via ${GATEWAY} dev eth0`;

/** Brings eth0 back with everything that going down has deleted. */
const up = (target: Target) => ipLines(target, "link set eth0 up", defaultRoute);

export const INTERFACE_FAULTS: readonly Fault[] = [
  {
    name: "eth0 down, up",
    async inject(target) {
      await ipLines(target, "link set eth0 down");
      return () => up(target);
    },
    allowed: { withinMs: 1_500 },
  },
  {
    name: "eth0 loses its carrier",
    async inject({ bed, host }) {
      await bed.hub.run("ip", ["link", "set", host.name, "down"]);
      return async () => void (await bed.hub.run("ip", ["link", "set", host.name, "up"]));
    },
    allowed: { withinMs: 1_500 },
  },
  {
    name: "eth0 renamed, named back",
    async inject(target) {
      await ipLines(target, "link set eth0 down", "link set eth0 name lan9", "link set lan9 up");
      return async () => {
        await ipLines(target, "link set lan9 down", "link set lan9 name eth0");
        await up(target);
      };
    },
    allowed: { withinMs: 2_500 },
  },
  {
    name: "eth0 deleted, made again",
    async inject(target) {
      const { bed, host } = target;
      await ipLines(target, "link del eth0");
      return async () => {
        await bed.hub.run("ip", [
          ...["link", "add", host.name, "type", "veth", "peer", "name", "eth0"],
          ...["netns", host.netns.split("/").at(-1)!],
        ]);
        await bed.hub.run("ip", ["link", "set", host.name, "master", "underlay1", "up"]);
        await ipLines(target, `address add ${host.address}/24 dev eth0`);
        await up(target);
      };
    },
    allowed: { withinMs: 2_500 },
  },
  {
    name: "eth0's address deleted, added",
    async inject(target) {
      const { address } = target.host;
      await ipLines(target, `address del ${address}/24 dev eth0`);
      return () => ipLines(target, `address add ${address}/24 dev eth0`, defaultRoute);
    },
    allowed: { withinMs: 1_500 },
  },
  {
    name: "virtual address comes and goes",
    async inject(target) {
      await ipLines(target, "address add 192.168.64.100/32 dev eth0");
      return () => ipLines(target, "address del 192.168.64.100/32 dev eth0");
    },
    allowed: NOTHING,
  },
  {
    name: "default route deleted, added",
    async inject(target) {
      await ipLines(target, "route del default");
      return () => ipLines(target, defaultRoute);
    },
    allowed: NOTHING,
  },
  {
    name: "eth0's MTU changed",
    async inject(target) {
      await ipLines(target, "link set eth0 mtu 1400");
      return () => ipLines(target, "link set eth0 mtu 1500");
    },
    allowed: { packets: 2 },
  },
  {
    name: "eth0's MAC changed",
    async inject(target) {
      await ipLines(target, `link set eth0 address 02:00:00:00:00:${target.chance.below(90) + 10}`);
      return undefined;
    },
    // Until the neighbours of the LAN have asked again: the kernel announces nothing unless arp_notify is set.
    allowed: { withinMs: 12_000 },
  },
  {
    name: "unrelated interface comes and goes",
    async inject(target) {
      await ipLines(
        target,
        "link add other0 type bridge",
        "address add 10.99.0.1/24 dev other0",
        "link set other0 up",
      );
      return () => ipLines(target, "link del other0");
    },
    allowed: NOTHING,
  },
];
