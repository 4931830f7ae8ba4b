/**
 * Whole agents on a real kernel, without processes and datastore of their own: each runs in this process against a
 * namespace, all share one datastore in memory.
 *
 *      link 0: 192.168.7.0/24, fd00:7::/64        link 1: 192.168.8.0/24, fd00:8::/64
 *        eth0 .1      eth0 .2    …   .254 router .254   …      eth0 .3
 *         h1           h2                                       h3
 *      cni0 10.5.a.1, fc00:0:0:a::1
 *         └ container .2, ::2
 */

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatIp } from "../../src/address/ip.ts";
import { runAgent } from "../../src/agent/agent.ts";
import { DriftLedger } from "../../src/agent/drift.ts";
import { Readiness } from "../../src/agent/readiness.ts";
import { systemTimers, type Timers } from "../../src/base/timers.ts";
import { createWireguardSystem } from "../../src/cmd/wireguard-system.ts";
import { parseFlags } from "../../src/config/flags.ts";
import { readOptions } from "../../src/config/options.ts";
import { FLANNELD_FLAGS } from "../../src/config/options-table.ts";
import { type ParsedSubnetEnv, parseSubnetEnv } from "../../src/config/subnet-env.ts";
import { ExtensionProvider } from "../../src/extension/extension-provider.ts";
import { ConnectionProvider } from "../../src/ipsec/connection-provider.ts";
import { PolicyProvider } from "../../src/ipsec/policy-provider.ts";
import type { Tunnel } from "../../src/ipsec/tunnel.ts";
import { DescriptorStore } from "../../src/linux/descriptor-store.ts";
import { createDeviceSettings } from "../../src/linux/device-settings.ts";
import { ExecError, exec } from "../../src/linux/exec.ts";
import { openGenericNetlink, openRtnetlink, openXfrmNetlink } from "../../src/linux/netlink-socket.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { NetworkClaims } from "../../src/linux/network-claims.ts";
import {
  openNftNotifications,
  openNotifications,
  openXfrmNotifications,
} from "../../src/linux/notifications.ts";
import { createShell } from "../../src/linux/shell-runner.ts";
import { makePersistentTun } from "../../src/linux/tun.ts";
import { WireguardKeys } from "../../src/linux/wireguard-keys.ts";
import { digestXtables } from "../../src/linux/xtables.ts";
import { NetlinkProvider } from "../../src/state/netlink-provider.ts";
import { createMemoryLeaseStore, MemoryDatastore } from "../../src/testing/memory-lease-store.ts";
import { HandshakeWatch } from "../../src/wireguard/handshake-watch.ts";
import { KernelDevices } from "../../src/wireguard/kernel-devices.ts";
import { WireguardProvider } from "../../src/wireguard/provider.ts";
import { UserspaceDevices } from "../../src/wireguard/userspace-devices.ts";
import { makeCharon } from "./charon.ts";
import { freshNetns, type TestNetns, waitFor } from "./support.ts";

/** Does not delay the exit of the test's process. */
const looseTimers: Timers = {
  nowMs: systemTimers.nowMs,
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

/** The part of node:test's TestContext that is needed. */
interface Scope {
  after(clean: () => void | Promise<void>): void;
}

export interface FabricHost extends TestNetns {
  readonly ipv4: string;
  readonly ipv6: string;
}

/** The hosts, each on the link of that number; their default routes lead to the router. */
export function makeFabric(t: Scope, links: readonly number[]): FabricHost[] {
  const hub = freshNetns(t, "hub");
  const router = freshNetns(t, "rt");
  for (const key of ["ipv4.ip_forward", "ipv6.conf.all.forwarding"])
    router.run("sysctl", "-qw", `net.${key}=1`);
  const connect = (netns: TestNetns, device: string, link: number, number: number) => {
    const port = `${device}-${netns.name.split("-").at(-1)}`.slice(0, 15);
    hub.run(
      ...(["ip", "link", "add", port, "type", "veth", "peer", "name", device, "netns", netns.name] as const),
    );
    hub.run("ip", "link", "set", port, "master", `link${link}`, "up");
    configure(netns, device, link, number);
  };
  for (const link of new Set(links)) {
    hub.run("ip", "link", "add", `link${link}`, "type", "bridge");
    hub.run("ip", "link", "set", `link${link}`, "up");
    connect(router, `leg${link}`, link, 254);
  }
  return links.map((link, index) => {
    const netns = freshNetns(t, `h${index + 1}-`);
    for (const key of ["ipv4.ip_forward", "ipv6.conf.all.forwarding"])
      netns.run("sysctl", "-qw", `net.${key}=1`);
    connect(netns, "eth0", link, index + 1);
    addDefaultRoutes(netns, link);
    return { ...netns, ipv4: `192.168.${7 + link}.${index + 1}`, ipv6: `fd00:${7 + link}::${index + 1}` };
  });
}

/** Addresses and up. */
export function configure(netns: TestNetns, device: string, link: number, number: number): void {
  netns.run("ip", "address", "add", `192.168.${7 + link}.${number}/24`, "dev", device);
  netns.run("ip", "link", "set", device, "up");
  netns.run("ip", "address", "add", `fd00:${7 + link}::${number}/64`, "dev", device, "nodad");
}

export function addDefaultRoutes(netns: TestNetns, link: number): void {
  netns.run("ip", "route", "replace", "default", "via", `192.168.${7 + link}.254`);
  netns.run("ip", "-6", "route", "replace", "default", "via", `fd00:${7 + link}::254`);
}

export interface Agent {
  readonly readiness: Readiness;
  readonly log: string[];
  /** The current subnet.env; undefined = it does not exist yet. */
  env(): ParsedSubnetEnv | undefined;
  /** The ipsec backend's tunnel to a peer's subnet. */
  tunnelTo(subnet: string): Tunnel | undefined;
  /** Process id of its charon. */
  charonPid(): number | undefined;
  ready(): Promise<void>;
  logged(pattern: RegExp): Promise<string>;
  /** Stops it; resolves with the error that it ended with. */
  stop(): Promise<unknown>;
  /** Resolves with that error when it ends without being stopped. */
  readonly ended: Promise<unknown>;
}

export interface Cluster {
  readonly data: MemoryDatastore;
  /** Starts the agent of a host; all are stopped after the test. */
  start(host: TestNetns, ...args: string[]): Agent;
}

/** A datastore with this network config. */
export function makeCluster(t: Scope, config: Readonly<Record<string, unknown>>): Cluster {
  const data = new MemoryDatastore();
  data.setConfig(JSON.stringify(config));
  t.after(() => data[Symbol.dispose]());
  return {
    data,
    start(host, ...args) {
      const agent = startAgent(host, data, args);
      t.after(async () => void (await agent.stop()));
      return agent;
    },
  };
}

/** Where the UAPI sockets of a host are: the devices of all hosts have the same name. */
export const uapiDirectoryOf = (name: string): string => join(tmpdir(), `flannel-uapi-${name}`);

function startAgent({ path: netns, name }: TestNetns, data: MemoryDatastore, args: readonly string[]): Agent {
  const parsed = parseFlags(FLANNELD_FLAGS, { args, environment: { variables: {}, prefix: "FLANNELD_" } });
  if (parsed.type !== "ok") throw new Error(JSON.stringify(parsed));
  // A key file of its own for each host, kept over restarts of its agent.
  const options = readOptions(parsed.flags, { WIREGUARD_KEY_FILE: join(tmpdir(), `flannel-wgkey-${name}`) });
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger = { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") };
  const readiness = new Readiness();
  const stop = new AbortController();
  const store = createMemoryLeaseStore(data, { logger });
  const rtnetlink = openRtnetlink({ netns });
  const claims = new NetworkClaims({ logger, uid: 0, netns });
  const generic = openGenericNetlink({ netns });
  const keys = new WireguardKeys(options.wireguardKeyFile);
  const handshakes = new HandshakeWatch({ logger, nowMs: looseTimers.nowMs });
  readiness.addNotes(() => handshakes.notes);
  const kernelWireguard = new KernelDevices(generic, logger);
  const descriptors = new DescriptorStore({ handedOver: new Map(), notifySocket: undefined, logger });
  const userspaceWireguard = new UserspaceDevices({
    system: createWireguardSystem({
      ...{ rtnetlink, store: descriptors, logger, uapiDirectory: uapiDirectoryOf(name) },
      enter: (inside) => withNetns(netns, inside),
    }),
    privateKeyOf: (publicKey) => keys.privateKeyOf(publicKey),
    logger,
  });
  const wireguard = new WireguardProvider({
    devicesOf: (device) =>
      rtnetlink.link(device)?.kind === "wireguard" ? kernelWireguard : userspaceWireguard,
    ...{ secrets: keys, timers: looseTimers, handshakes },
  });
  const kernel = new NetlinkProvider({
    rtnetlink,
    makeTun: (device) => withNetns(netns, () => makePersistentTun(device)),
    settings: createDeviceSettings({ logger, netns }),
    openNotifications: () => openNotifications({ netns }),
    yieldToOthers: () => new Promise((resolve) => setImmediate(resolve)),
  });
  const shell = createShell({ signal: stop.signal, environment: process.env, netns });
  // Kept over restarts of the host's agent.
  const recordPath = join(tmpdir(), `flannel-extension-${name}`);
  const extension = new ExtensionProvider({
    run: shell,
    readRecord: () => readTextIn(netns, recordPath),
    writeRecord: async (content) => writeFileSync(recordPath, content),
    ...{ logger, timers: looseTimers },
  });
  const { charon, directory } = makeCharon(netns, logger);
  const policies = new PolicyProvider({
    open: () => openXfrmNetlink({ netns }),
    openNotifications: () => openXfrmNotifications({ netns }),
  });
  const connections = new ConnectionProvider({
    ...{ charon, logger, timers: looseTimers, secretOf: (id: string) => keys.secretOf(id) },
    removeAssociations: (local, remote) => policies.removeAssociations(local, remote),
  });
  readiness.addNotes(() => connections.notes);
  let text: string | undefined;
  const ended = runAgent(
    options,
    {
      store,
      configPlace: "the test",
      providers: [kernel, wireguard, extension, policies, connections],
      keys,
      runStartupCommand: (text) => shell({ text, environment: {}, input: "\n" }),
      hasKernelWireguard: kernelWireguard.isAvailable,
      rtnetlink,
      hostAnswers: async () => false,
      openNotifications: () => openNotifications({ netns }),
      firewall: {
        exec: { run: (command, args, input) => runIn(netns, command, args, input) },
        openNftNotifications: () => openNftNotifications({ netns }),
        digestXtables: () => withNetns(netns, digestXtables),
      },
      drift: new DriftLedger({ logger, timers: looseTimers, wallClockMs: Date.now }),
      socketOwner: () => undefined,
      logger,
      timers: systemTimers,
      wallClockMs: Date.now,
      randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
      readFile: (path) => (path === options.subnetFile ? text : readTextIn(netns, path)),
      writeFile: async (_, content) => {
        text = content;
      },
      claims,
      notifyReady: () => {},
      memory: { residentBytes: () => 0, release: () => {}, trim: () => {}, unmap: () => {} },
      limitMemory: () => {},
    },
    readiness,
    stop.signal,
  ).then(
    () => undefined,
    (error: unknown) => error,
  );
  const orLog = async <T>(what: string, condition: () => T | undefined | false): Promise<T> => {
    try {
      return await waitFor(what, condition);
    } catch (error) {
      throw new Error(`${error}\n${readiness.reasons.join("\n")}\n${log.join("\n")}`);
    }
  };
  return {
    readiness,
    log,
    ended,
    env: () => (text === undefined ? undefined : parseSubnetEnv(text)),
    tunnelTo: (subnet) => connections.tunnelTo(subnet),
    charonPid: () => charon.childPid,
    ready: () => orLog("readiness", () => readiness.reasons.length === 0).then(() => {}),
    logged: (pattern) => orLog(`a line like ${pattern}`, () => log.find((line) => pattern.test(line))),
    async stop() {
      stop.abort();
      const error = await ended;
      await store[Symbol.asyncDispose]();
      await userspaceWireguard[Symbol.asyncDispose]();
      for (const device of ["flannel-wg", "flannel-wg-v6"])
        for (const part of ["tun", "udp4", "udp6"]) descriptors.close(`${device}-${part}`);
      rtnetlink.close();
      claims[Symbol.dispose]();
      generic.close();
      policies[Symbol.dispose]();
      charon[Symbol.dispose]();
      rmSync(directory, { recursive: true, force: true });
      return error;
    },
  };
}

function readTextIn(netns: string, path: string): string | undefined {
  try {
    return withNetns(netns, () => readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

async function runIn(netns: string, command: string, args: readonly string[], input: string | undefined) {
  try {
    return { code: 0, ...(await exec(command, args, { netns, ...(input === undefined ? {} : { input }) })) };
  } catch (error) {
    if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
    return { code: error.exitCode, stdout: error.stdout, stderr: error.stderr };
  }
}

export interface Container extends TestNetns {
  readonly ipv4: string;
  readonly ipv6: string;
}

/** A container behind a bridge, as a CNI plugin makes it from subnet.env, in the families that are there. */
export function addContainer(t: Scope, host: TestNetns, agent: Pick<Agent, "env">): Container {
  const { subnets, mtuBytes } = agent.env()!;
  const netns = freshNetns(t, "c");
  const mtu = String(mtuBytes);
  host.run("ip", "link", "add", "cni0", "mtu", mtu, "type", "bridge");
  host.run(
    ...(["ip", "link", "add", "c0", "mtu", mtu, "type", "veth", "peer", "name", "eth0"] as const),
    ...["mtu", mtu, "netns", netns.name],
  );
  host.run("ip", "link", "set", "c0", "master", "cni0", "up");
  host.run("ip", "link", "set", "cni0", "up");
  netns.run("ip", "link", "set", "eth0", "up");
  const at = { ipv4: "", ipv6: "" };
  for (const name of ["ipv4", "ipv6"] as const) {
    const subnet = subnets?.[name];
    if (subnet === undefined) continue;
    const ip = (offset: bigint) => formatIp({ family: subnet.family, value: subnet.base + offset });
    const noDad = name === "ipv6" ? ["nodad"] : [];
    host.run("ip", "address", "add", `${ip(1n)}/${subnet.length}`, "dev", "cni0", ...noDad);
    netns.run("ip", "address", "add", `${ip(2n)}/${subnet.length}`, "dev", "eth0", ...noDad);
    netns.run("ip", name === "ipv6" ? "-6" : "-4", "route", "add", "default", "via", ip(1n));
    at[name] = ip(2n);
  }
  return { ...netns, ...at };
}

/**
 * Whether an answer comes within 300 ms to a ping of that size (ICMP data bytes), unfragmented. Not synchronous: the
 * agents have to work meanwhile.
 */
export async function answers(from: TestNetns, address: string, sizeBytes = 56): Promise<boolean> {
  try {
    await pingOnce(from, address, sizeBytes, 0.3);
    return true;
  } catch {
    return false;
  }
}

/** One such packet and its answer, however busy the machine is. Throws with what ping says if there is none. */
export async function expectAnswer(from: TestNetns, address: string, sizeBytes = 56): Promise<void> {
  await pingOnce(from, address, sizeBytes, 20);
}

async function pingOnce(from: TestNetns, address: string, sizeBytes: number, seconds: number): Promise<void> {
  const args = ["-n", "-c", "1", "-W", String(seconds), "-M", "do", "-s", String(sizeBytes), address];
  await exec("ping", args, { netns: from.path });
}
