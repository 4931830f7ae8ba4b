/** flanneld: reads the options, opens the system's side of every port, and runs the agent. */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { runAgent } from "../agent/agent.ts";
import { AgentStatus } from "../agent/agent-status.ts";
import { DriftLedger } from "../agent/drift.ts";
import { recordAgent } from "../agent/flight-recorder.ts";
import { createStartLimit } from "../agent/memory-keeper.ts";
import { Readiness } from "../agent/readiness.ts";
import { ServiceReport } from "../agent/service-report.ts";
import { countRequests } from "../agent/store-requests.ts";
import { ConfigError, FlannelError } from "../base/error.ts";
import { Klog } from "../base/klog.ts";
import { systemTimers } from "../base/timers.ts";
import { describeOptions, type FlanneldOptions } from "../config/options.ts";
import { TunnelDriver } from "../datapath/tunnel-driver.ts";
import { TunnelProvider } from "../datapath/tunnel-provider.ts";
import { ExtensionProvider } from "../extension/extension-provider.ts";
import { CAP_NET_ADMIN, hasCapability } from "../linux/capabilities.ts";
import { DescriptorStore } from "../linux/descriptor-store.ts";
import { createDeviceSettings } from "../linux/device-settings.ts";
import { runCommand } from "../linux/exec.ts";
import { writeFileAtomic } from "../linux/files.ts";
import { hostAnswers } from "../linux/host-probe.ts";
import { openIcmp } from "../linux/icmp-socket.ts";
import { openGenericNetlink, openRtnetlink } from "../linux/netlink-socket.ts";
import { NetworkClaims } from "../linux/network-claims.ts";
import { openNftNotifications, openNotifications } from "../linux/notifications.ts";
import { setProcessName } from "../linux/process-name.ts";
import { netlinkSocketOwner } from "../linux/processes.ts";
import { releaseMemory, trimMemory, unmapIdle, unmapProgram } from "../linux/release-memory.ts";
import { sdNotify, takeListenFds, watchdogPeriodMs } from "../linux/sd-notify.ts";
import { createShell } from "../linux/shell-runner.ts";
import { answersTcp } from "../linux/tcp-probe.ts";
import { makePersistentTun } from "../linux/tun.ts";
import { WireguardKeys } from "../linux/wireguard-keys.ts";
import { digestXtables } from "../linux/xtables.ts";
import { Recorder } from "../recorder/recorder.ts";
import { NetlinkProvider } from "../state/netlink-provider.ts";
import { HealthServer } from "../status/health.ts";
import { Outages } from "../status/outages.ts";
import { HandshakeWatch } from "../wireguard/handshake-watch.ts";
import { KernelDevices } from "../wireguard/kernel-devices.ts";
import { WireguardProvider } from "../wireguard/provider.ts";
import { TrafficTotals } from "../wireguard/traffic-totals.ts";
import { UserspaceDevices } from "../wireguard/userspace-devices.ts";
import { createCloudProvider } from "./cloud-provider.ts";
import { createIpsecProviders } from "./ipsec-providers.ts";
import { openLogOutput } from "./log-output.ts";
import { openLeaseStore } from "./open-store.ts";
import { readCommandLine } from "./read-command-line.ts";
import { recordingNow, saveRecordingAtExit } from "./save-recording.ts";
import { serveStatus } from "./serve-status.ts";
import { createTunnelSystem } from "./tunnel-system.ts";
import { REVISION, VERSION } from "./version.ts";
import { createWireguardSystem } from "./wireguard-system.ts";

const EXIT_FAILURE = 1;
/** Longest time between the signal to stop and the exit; no work in progress has to be completed. */
const GRACE_MS = 800;

async function main(): Promise<number> {
  const options = await readCommandLine(process.argv.slice(2));
  if (typeof options === "number") return options;
  setProcessName("flanneld");
  const write = openLogOutput(options.log);
  if (write === undefined) return EXIT_FAILURE;
  const logger = new Klog({ write, verbosity: options.log.verbosity, pid: process.pid });
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      logger.info(
        `${signal}: stopping; devices, routes and rules stay, except those of the udp backend without a service manager`,
      );
      stop.abort();
      setTimeout(() => process.exit(0), GRACE_MS).unref();
    });
  }
  logger.info(`flanneld ${VERSION} with ${describeOptions(options)}`);
  for (const variable of options.flags.unknownVariables) {
    logger.warn(
      `Environment variable ${variable} has no effect, because no flag has this name; check its spelling`,
    );
  }
  for (const note of [...options.flags.notes, ...options.log.notes]) logger.warn(note);
  try {
    if (!hasCapability(CAP_NET_ADMIN)) {
      throw new ConfigError("flanneld needs root or the capability CAP_NET_ADMIN: start it as root");
    }
    await run(options, logger, stop.signal);
    return 0;
  } catch (error) {
    if (stop.signal.aborted) return 0;
    if (!(error instanceof FlannelError)) throw error;
    logger.fatal(error.message);
    return EXIT_FAILURE;
  }
}

async function run(options: FlanneldOptions, logger: Klog, signal: AbortSignal): Promise<void> {
  const readiness = new Readiness();
  const outages = new Outages(systemTimers);
  using drift = new DriftLedger({ logger, timers: systemTimers, wallClockMs: Date.now });
  using rtnetlink = openRtnetlink();
  using claims = new NetworkClaims({ logger, uid: process.geteuid!() });
  using generic = openGenericNetlink();
  const keys = new WireguardKeys(options.wireguardKeyFile);
  const { notifySocket } = options;
  const handedOver = takeListenFds(process.env, process.pid);
  const descriptors = new DescriptorStore({ handedOver, notifySocket, logger });
  await using tunnels = new TunnelDriver({
    system: createTunnelSystem(rtnetlink, descriptors),
    wantOffloads: options.udpOffloads,
    isKept: notifySocket !== undefined,
    logger,
    timers: systemTimers,
  });
  const kernelWireguard = new KernelDevices(generic, logger);
  await using userspaceWireguard = new UserspaceDevices({
    system: createWireguardSystem({
      ...{ rtnetlink, store: descriptors, logger, clockFile: `${options.wireguardKeyFile}.clock` },
    }),
    privateKeyOf: (publicKey) => keys.privateKeyOf(publicKey),
    logger,
  });
  // A thread that blocks in the kernel would delay the exit of the process.
  process.once("exit", () => {
    tunnels.halt();
    userspaceWireguard.halt();
  });
  await using health =
    options.healthz === undefined
      ? undefined
      : await HealthServer.start({
          ...options.healthz,
          notReadyReasons: () => readiness.reasons,
          notes: () => [...outages.lines, ...readiness.notes],
          reports: { "/drift": () => drift, "/data-path": () => tunnels.counters },
        });
  if (health !== undefined) logger.info(`Health server on port ${health.port}`);
  await using datastore = await openLeaseStore(options, {
    logger,
    onOutage: (what, problem) => outages.note(what, problem),
  });
  const { store, configPlace } = datastore;
  using service =
    notifySocket === undefined
      ? undefined
      : new ServiceReport({
          ...{ readiness, timers: systemTimers, notes: () => outages.lines },
          notify: (state) => sdNotify(notifySocket, state, [], { mayWait: false }),
          watchdogMs: watchdogPeriodMs(process.env, process.pid),
        });
  signal.addEventListener("abort", () => service?.stopping(), { once: true });
  const policies =
    options.networkPolicy &&
    (await import("./create-policies.ts")).createPolicies(options, {
      logger,
      readiness,
      outages,
      drift,
      readFile,
    });
  const recorder = new Recorder();
  saveRecordingAtExit(recorder, { subnetFile: options.subnetFile, logger });
  const status = openStatus();
  await using _serving =
    status &&
    serveStatus(status, options.status, {
      ...{ readiness, logger, timers: systemTimers, recording: () => recordingNow(recorder) },
    });
  // Ends requests that wait for an answer of the datastore.
  signal.addEventListener("abort", () => void store[Symbol.asyncDispose](), { once: true });
  if (policies !== undefined && options.networkPolicy?.isAlone) {
    logger.info("Enforcing network policies only: another flanneld makes the network");
    await policies.run(signal);
    return;
  }
  const memory = {
    residentBytes: () => process.memoryUsage.rss(),
    ...{ release: releaseMemory, trim: trimMemory, unmap: unmapIdle },
  };
  const limitMemory = createStartLimit(memory);
  const handshakes = new HandshakeWatch({ logger, nowMs: systemTimers.nowMs });
  const totals = new TrafficTotals();
  readiness.addNotes(() => handshakes.notes);
  const wireguard = new WireguardProvider({
    devicesOf: (device) =>
      rtnetlink.link(device)?.kind === "wireguard" ? kernelWireguard : userspaceWireguard,
    ...{ secrets: keys, timers: systemTimers, handshakes, totals },
  });
  const shell = createShell({ signal, environment: process.env });
  const recordPath = `${options.subnetFile.replace(/\.env$/, "")}-extension.json`;
  const extension = new ExtensionProvider({
    run: shell,
    readRecord: () => readFile(recordPath),
    writeRecord: (text) => writeFileAtomic(recordPath, text, 0o600),
    ...{ logger, timers: systemTimers },
  });
  using ipsec = createIpsecProviders({
    socketPath: options.charonSocket,
    secretOf: (fingerprint) => keys.secretOf(fingerprint),
    logger,
  });
  const { connections, policies: ipsecPolicies } = ipsec;
  readiness.addNotes(() => connections.notes);
  const cloud = createCloudProvider({ keys, readFile, logger, signal, resyncMs: options.cloudResyncMs });
  readiness.addNotes(() => cloud.notes);
  const kernel = new NetlinkProvider({
    rtnetlink,
    makeTun: makePersistentTun,
    settings: createDeviceSettings({ logger }),
    openNotifications,
    yieldToOthers: () => {
      limitMemory();
      return new Promise((resolve) => setImmediate(resolve));
    },
  });
  unmapProgram(); // half of its pages were for starting it
  const enforcing = policies?.run(signal);
  const running = runAgent(
    options,
    {
      store: status === undefined ? store : countRequests(store, status.requests, systemTimers),
      configPlace,
      providers: [
        ...[kernel, new TunnelProvider(tunnels), wireguard, extension, ipsecPolicies, connections],
        cloud,
      ],
      keys,
      runStartupCommand: (text) => shell({ text, environment: {}, input: "\n" }),
      hasKernelWireguard: kernelWireguard.isAvailable,
      rtnetlink,
      hostAnswers: (ip) => hostAnswers(rtnetlink, ip),
      openEcho: openIcmp,
      answersTcp,
      openNotifications,
      firewall: { exec: { run: runCommand }, openNftNotifications, digestXtables },
      drift,
      socketOwner: netlinkSocketOwner,
      logger,
      timers: systemTimers,
      wallClockMs: Date.now,
      randomBytes,
      readFile,
      writeFile: writeFileAtomic,
      memory,
      limitMemory,
      claims,
      notifyReady() {
        descriptors.closeUnclaimed();
        if (notifySocket !== undefined) sdNotify(notifySocket, "READY=1");
      },
    },
    readiness,
    signal,
    (parts) => {
      recordAgent(recorder, parts, {
        ...{ readiness, wallClockMs: Date.now, keys, blackholeRoute: options.blackholeRoute },
      });
      status?.attach(parts);
      service?.attach(parts);
    },
  );
  await Promise.all([running, enforcing]);

  /** Undefined where it is switched off. */
  function openStatus(): AgentStatus | undefined {
    const { listen, socket } = options.status;
    if (listen === undefined && socket === undefined) return undefined;
    return new AgentStatus({
      ...{ version: VERSION, revision: REVISION, hostName: hostname() },
      ...{ configPlace, readiness, outages, drift, policies: policies?.source },
      tunnelTo: (subnet) => connections.tunnelTo(subnet),
      udpCounters: () => tunnels.counters,
      wireguardTraffic: () =>
        totals.devices.map((traffic) => ({
          ...traffic,
          silentPeers: handshakes.silentPeersOf(traffic.device),
        })),
      wallClockMs: Date.now,
    });
  }
}

function readFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

// What is still pending (a response that is no longer read) must not delay the exit.
void main().then((exitCode) => process.exit(exitCode));
