/**
 * A bed for tests of the reconciler on a real kernel: a namespace with an external interface, the real netlink kernel
 * port (every operation noted), and an independent look at the result through ip(8) and bridge(8).
 *
 *     namespace:  eth0 192.168.7.1/24 ── far          flannel.1 ─(vxlan 1, udp 8472)─ peers 192.168.7.N
 */

import { parseIp } from "../../src/address/ip.ts";
import { parsePrefix } from "../../src/address/prefix.ts";
import type { Host } from "../../src/backend/backend.ts";
import { createBackend, parseNetwork } from "../../src/backend/backends.ts";
import type { Logger } from "../../src/base/logger.ts";
import { systemTimers } from "../../src/base/timers.ts";
import type { Lease } from "../../src/lease/lease.ts";
import { createDeviceSettings } from "../../src/linux/device-settings.ts";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { type NotificationOptions, openNotifications } from "../../src/linux/notifications.ts";
import { NetlinkProvider } from "../../src/state/netlink-provider.ts";
import { describeObject, type StateOperation } from "../../src/state/objects.ts";
import type { Provider } from "../../src/state/provider.ts";
import { Reconciler } from "../../src/state/reconciler.ts";
import { freshNetns, type TestNetns, waitFor } from "./support.ts";

export const OWN_MAC = "02:00:00:00:00:01";

/** A peer by number: subnet 10.5.N.0/24, public IP 192.168.7.N. */
export interface Peer {
  readonly number: number;
  readonly mac: string;
  readonly publicIp: string;
}

export const peer = (number: number, changes: Partial<Peer> = {}): Peer => ({
  number,
  mac: `02:00:00:00:01:${number.toString(16).padStart(2, "0")}`,
  publicIp: `192.168.7.${number}`,
  ...changes,
});

const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1500,
  ipv4: parseIp("192.168.7.1"),
  ipv6: undefined,
  publicIp: parseIp("192.168.7.1"),
  publicIpv6: undefined,
};

/** One reconciler at work, until disposed. */
export interface Run extends AsyncDisposable {
  readonly reconciler: Reconciler;
  /** All operations that the kernel was asked for, as "action object", in order. */
  readonly operations: string[];
  readonly log: string[];
  /** Sets the target: the plan of the vxlan backend for these peers, or `undefined` = peers not known yet. */
  hold(peers: readonly Peer[] | undefined, backend?: Readonly<Record<string, unknown>>): void;
  converged(): Promise<void>;
}

export interface Bed extends TestNetns {
  start(options?: { readonly notifications?: NotificationOptions }): Run;
  /** What is in the kernel on flannel.1, one line each, sorted. */
  look(device?: string): string[];
  /** Waits until flannel.1 holds what it should for these peers. */
  holds(peers: readonly Peer[], mtuBytes?: number): Promise<void>;
}

/** The namespace, gone after the test. */
export function freshBed(t: Parameters<typeof freshNetns>[0]): Bed {
  const netns = freshNetns(t, "rec");
  netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far");
  netns.run("ip", "address", "add", "192.168.7.1/24", "dev", "eth0");
  for (const device of ["eth0", "far"]) netns.run("ip", "link", "set", device, "up");
  const look = (device = "flannel.1"): string[] => lookAt(netns, device);
  return {
    ...netns,
    look,
    start: (options) => startReconciler(netns, options?.notifications),
    async holds(peers, mtuBytes = 1450) {
      const wanted = expected(peers, mtuBytes);
      let seen: string[] = [];
      try {
        await waitFor("the kernel holds what it should", () => {
          seen = look();
          return seen.join("\n") === wanted.join("\n");
        });
      } catch (error) {
        throw new Error(`${error}\nwanted:\n${wanted.join("\n")}\nfound:\n${seen.join("\n")}`);
      }
    },
  };
}

function startReconciler(netns: TestNetns, notifications: NotificationOptions = {}): Run {
  const rtnetlink = openRtnetlink({ netns: netns.path });
  const operations: string[] = [];
  const log: string[] = [];
  const logger = recordingLogger(log);
  const real = new NetlinkProvider({
    rtnetlink,
    settings: createDeviceSettings({ logger, netns: netns.path }),
    openNotifications: () => openNotifications({ netns: netns.path, ...notifications }),
    yieldToOthers: () => new Promise((resolve) => setImmediate(resolve)),
  });
  const kernel: Provider = {
    name: real.name,
    kinds: real.kinds,
    observe: (ownership, kinds) => real.observe(ownership, kinds),
    apply(batch) {
      operations.push(...batch.map(describeOperation));
      return real.apply(batch);
    },
    watch: (ownership, signal) => real.watch(ownership, signal),
  };
  // Only notices, never the slow timer, may wake it here.
  const reconciler = new Reconciler({
    providers: [kernel],
    logger,
    timers: systemTimers,
    resyncIntervalMs: 3_600_000,
    onRepair() {},
  });
  const stop = new AbortController();
  const running = reconciler.run(stop.signal);
  return {
    reconciler,
    operations,
    log,
    hold(peers, backend = {}) {
      reconciler.setTarget({ ...planFor(peers ?? [], backend), keepOthers: peers === undefined });
    },
    converged: () => waitFor("convergence", () => reconciler.status.converged).then(() => {}),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      rtnetlink.close();
    },
  };
}

const describeOperation = ({ action, object }: StateOperation): string =>
  `${action} ${describeObject(object)}`;

function recordingLogger(log: string[]): Logger {
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  return { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") };
}

function planFor(peers: readonly Peer[], backendMembers: Readonly<Record<string, unknown>>) {
  const network = parseNetwork(
    JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "vxlan", ...backendMembers } }),
  );
  const macBytes = Uint8Array.from(OWN_MAC.split(":"), (text) => Number.parseInt(text, 16));
  const backend = createBackend(network, { existing: [], randomBytes: () => macBytes });
  const { state, problems } = backend.plan({
    host: HOST,
    network,
    own: { ipv4: parsePrefix("10.5.1.0/24"), ipv6: undefined },
    peers: peers.map(leaseOf),
    nextHop: () => undefined,
  });
  if (problems.length > 0) throw new Error(`the test's own peers: ${JSON.stringify(problems)}`);
  return { state, ownership: backend.ownership(network) };
}

const leaseOf = ({ number, mac, publicIp }: Peer): Lease => ({
  key: `10.5.${number}.0-24`,
  subnets: { ipv4: parsePrefix(`10.5.${number}.0/24`), ipv6: undefined },
  attributes: {
    publicIp: parseIp(publicIp),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: mac },
    backendV6Data: undefined,
  },
});

/** What `look` finds when all is well. */
function expected(peers: readonly Peer[], mtuBytes: number): string[] {
  return [
    `link vxlan id 1 dev eth0 local 192.168.7.1 port 8472 learning false mtu ${mtuBytes} mac ${OWN_MAC} up true`,
    "address 10.5.1.0/32",
    ...peers.flatMap(({ number, mac, publicIp }) => [
      `fdb ${mac} dst ${publicIp} permanent`,
      `neighbour 10.5.${number}.0 lladdr ${mac} PERMANENT`,
      `route 10.5.${number}.0/24 via 10.5.${number}.0 onlink protocol 70`,
    ]),
  ].sort();
}

// biome-ignore lint/suspicious/noExplicitAny: the shape is ip's
type Json = any;

/** What is in the kernel on a device, one line each, sorted. */
export function lookAt(netns: TestNetns, device: string): string[] {
  const link: Json = netns
    .json("ip", "-json", "-d", "address", "show")
    .find((each: Json) => each.ifname === device);
  if (link === undefined) return [];
  const data = link.linkinfo?.info_data ?? {};
  return [
    `link ${link.linkinfo?.info_kind} id ${data.id} dev ${data.link} local ${data.local} port ${data.port} learning ${data.learning} mtu ${link.mtu} mac ${link.address} up ${link.flags.includes("UP")}`,
    ...link.addr_info
      .filter(({ scope }: Json) => scope !== "link")
      .map(({ local, prefixlen }: Json) => `address ${local}/${prefixlen}`),
    ...netns
      .json("bridge", "-json", "fdb", "show", "dev", device)
      .filter(({ mac }: Json) => !/^(?:33:33|01:00:5e)/.test(mac))
      .map(
        ({ mac, dst, port, state }: Json) =>
          `fdb ${mac} dst ${dst}${port === undefined ? "" : ` port ${port}`} ${state}`,
      ),
    ...netns
      .json("ip", "-json", "-4", "neigh", "show", "dev", device)
      .map(({ dst, lladdr, state }: Json) => `neighbour ${dst} lladdr ${lladdr} ${state}`),
    ...netns.json("ip", "-json", "-N", "-4", "route", "show", "dev", device).map(describeRoute),
  ].sort();
}

function describeRoute({ dst, gateway, flags, protocol, metric }: Json): string {
  const via = gateway === undefined ? "" : ` via ${gateway}`;
  const words = [...flags, ...(metric === undefined ? [] : [`metric ${metric}`])].join(" ");
  return `route ${dst}${via} ${words}${words === "" ? "" : " "}protocol ${protocol}`;
}
