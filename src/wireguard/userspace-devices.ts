/**
 * WireGuard devices that this process implements: a thread for each moves the packets of its TUN device (datapath/loop.ts).
 * What was set is kept here, so that observing needs no thread; a thread that ended leaves no device to observe.
 */

import { FlannelError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { base64Of } from "./base64.ts";
import type { DeviceOrder, DeviceReport, PeerStatus, WireguardDescriptors } from "./datapath/orders.ts";
import type { DeviceChange, ObservedDevice, WireguardDevices } from "./devices.ts";
import { parseSocketAddress } from "./socket-address.ts";
import { answerUapi } from "./uapi.ts";

interface DeviceThread {
  post(order: DeviceOrder): void;
  /** Resolves when it has ended, with the error that ended it. */
  readonly ended: Promise<Error | undefined>;
}

/** What userspace devices need of the system. Opening throws FlannelError. */
export interface UserspaceSystem {
  /** Opens the device and its sockets; or gives what is open already, from before a restart too. */
  open(device: string, listenPort: number): WireguardDescriptors;
  /** Closes what belongs to the device, for this process and the next one. */
  close(device: string): void;
  /** Closes a descriptor that is not kept. */
  closeWake(fd: number): void;
  wake(fd: number): void;
  indexOf(device: string): number | undefined;
  /** 0 = there is no such device. */
  mtuBytesOf(device: string): number;
  publicKeyOf(privateKey: Uint8Array): Uint8Array;
  startThread(onReport: (report: DeviceReport) => void): DeviceThread;
  /** Serves the UAPI socket of a device; the returned function ends that. */
  serveUapi(device: string, answer: (request: string) => Promise<string>): () => void;
}

export interface UserspaceDevicesOptions {
  readonly system: UserspaceSystem;
  /** The private key that belongs to a public key (base64), for the UAPI socket. */
  readonly privateKeyOf: (publicKey: string) => Uint8Array | undefined;
  readonly logger: Logger;
}

type ObservedPeer = ObservedDevice["peers"][number];
type SetPeer = Omit<ObservedPeer, "lastHandshakeSeconds" | "receivedBytes" | "sentBytes">;

interface Running {
  readonly listenPort: number;
  readonly publicKey: Uint8Array;
  readonly index: number | undefined;
  readonly descriptors: WireguardDescriptors;
  readonly thread: DeviceThread;
  readonly endUapi: () => void;
  /** Called at the next report. */
  readonly waiters: Set<() => void>;
  readonly peers: Map<string, SetPeer>;
  /** What the thread said last, by public key in base64. */
  status: ReadonlyMap<string, PeerStatus>;
  mtuBytes: number;
  isStopping: boolean;
}

export class UserspaceDevices implements WireguardDevices, AsyncDisposable {
  readonly #system: UserspaceSystem;
  readonly #logger: Logger;
  readonly #privateKeyOf: UserspaceDevicesOptions["privateKeyOf"];
  readonly #running = new Map<string, Running>();
  /** Threads that were ordered to stop: their descriptors must not be opened again before. */
  readonly #ending = new Set<Promise<unknown>>();

  constructor({ system, privateKeyOf, logger }: UserspaceDevicesOptions) {
    this.#system = system;
    this.#privateKeyOf = privateKeyOf;
    this.#logger = logger;
  }

  observe(device: string): ObservedDevice | undefined {
    const running = this.#running.get(device);
    if (running === undefined || running.index !== this.#system.indexOf(device)) return undefined;
    const mtuBytes = this.#system.mtuBytesOf(device);
    if (mtuBytes !== running.mtuBytes && mtuBytes > 0) {
      running.mtuBytes = mtuBytes;
      this.#post(running, { type: "mtu", mtuBytes });
    }
    // For the next observation.
    this.#post(running, { type: "status" });
    const { publicKey, listenPort, peers } = running;
    return { publicKey, listenPort, peers: [...peers.values()].map((peer) => withStatus(peer, running)) };
  }

  apply(changes: readonly DeviceChange[]): (FlannelError | undefined)[] {
    const results = changes.map((change) => {
      try {
        this.#apply(change);
        return undefined;
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        return error;
      }
    });
    for (const { type, device } of changes.slice(-1)) {
      const running = this.#running.get(device);
      if (type !== "identity" && running !== undefined) this.#post(running, { type: "open" });
    }
    return results;
  }

  /** Orders all threads to stop, without waiting for them. */
  halt(): void {
    for (const device of [...this.#running.keys()]) this.#stop(device);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.halt();
    await Promise.all(this.#ending);
  }

  #apply(change: DeviceChange): void {
    if (change.type === "identity") {
      this.#setIdentity(change.device, change.privateKey, change.listenPort);
      return;
    }
    const running = this.#running.get(change.device);
    if (running === undefined) {
      if (change.type === "remove peer") return;
      throw new FlannelError("ENODEV", `the WireGuard device ${change.device} has no key yet`);
    }
    if (change.type === "remove peer") {
      running.peers.delete(base64Of(change.publicKey));
      this.#post(running, { type: "remove peer", publicKey: change.publicKey });
      return;
    }
    const { publicKey, presharedKey, endpoint, keepaliveSeconds, allowedIps } = change.peer;
    const address = endpoint === undefined ? undefined : parseSocketAddress(endpoint);
    if (endpoint !== undefined && address === undefined)
      throw new FlannelError("EINVAL", `not an endpoint: ${endpoint}`);
    const before = running.peers.get(base64Of(publicKey));
    for (const [key, peer] of running.peers) {
      if (peer === before || !peer.allowedIps.some((prefix) => allowedIps.includes(prefix))) continue;
      const rest = peer.allowedIps.filter((prefix) => !allowedIps.includes(prefix));
      running.peers.set(key, { ...peer, allowedIps: rest });
    }
    running.peers.set(base64Of(publicKey), {
      ...{ publicKey, presharedKey, endpoint: endpoint ?? before?.endpoint, keepaliveSeconds },
      allowedIps,
    });
    this.#post(running, {
      type: "peer",
      peer: { publicKey, presharedKey, endpoint: address, keepaliveSeconds, allowedIps },
    });
  }

  #setIdentity(device: string, privateKey: Uint8Array, listenPort: number): void {
    const running = this.#running.get(device);
    const publicKey = this.#system.publicKeyOf(privateKey);
    const index = this.#system.indexOf(device);
    if (running !== undefined) {
      const isSame = base64Of(running.publicKey) === base64Of(publicKey);
      if (isSame && running.listenPort === listenPort && running.index === index) return;
      this.#stop(device);
      this.#system.close(device);
    }
    if (index === undefined) throw new FlannelError("ENODEV", `there is no device ${device}`);
    const descriptors = this.#system.open(device, listenPort);
    const thread = this.#system.startThread((report) => this.#takeReport(device, report));
    const mtuBytes = this.#system.mtuBytesOf(device);
    const peers = new Map<string, SetPeer>();
    const endUapi = this.#system.serveUapi(device, (request) => this.#answerUapi(device, request));
    const started = {
      listenPort,
      publicKey,
      index,
      descriptors,
      thread,
      peers,
      mtuBytes,
      isStopping: false,
      status: new Map<string, PeerStatus>(),
      endUapi,
      waiters: new Set<() => void>(),
    };
    this.#running.set(device, started);
    thread.post({ type: "start", descriptors });
    this.#post(started, { type: "mtu", mtuBytes });
    this.#post(started, { type: "key", privateKey: Uint8Array.from(privateKey) });
    this.#logger.info(`WireGuard on ${device} by flanneld itself, UDP port ${listenPort}`);
    const ended = thread.ended.then((error) => this.#takeEnd(device, started, error));
    this.#ending.add(ended);
    void ended.finally(() => this.#ending.delete(ended));
  }

  async #answerUapi(device: string, request: string): Promise<string> {
    const running = this.#running.get(device);
    if (running === undefined) throw new FlannelError("ENODEV", `there is no device ${device}`);
    await new Promise<void>((resolve) => {
      running.waiters.add(resolve);
      this.#post(running, { type: "status" });
    });
    const { publicKey, listenPort, peers } = running;
    const observed = [...peers.values()].map((peer) => withStatus(peer, running));
    const privateKey = this.#privateKeyOf(base64Of(publicKey));
    return answerUapi(request, { publicKey, listenPort, peers: observed }, privateKey);
  }

  #takeReport(device: string, report: DeviceReport): void {
    if (report.type !== "status") return;
    const running = this.#running.get(device);
    if (running === undefined) return;
    running.status = new Map(report.peers.map((peer) => [base64Of(peer.publicKey), peer]));
    for (const resolve of running.waiters) resolve();
    running.waiters.clear();
  }

  #takeEnd(device: string, running: Running, error: Error | undefined): void {
    this.#system.closeWake(running.descriptors.wakeFd);
    running.endUapi();
    for (const resolve of running.waiters) resolve();
    if (this.#running.get(device) === running) this.#running.delete(device);
    if (running.isStopping) return;
    this.#system.close(device);
    if (error !== undefined)
      this.#logger.error(`WireGuard on ${device} has failed; restarting it: ${error.message}`);
  }

  #stop(device: string): void {
    const running = this.#running.get(device);
    if (running === undefined) return;
    running.isStopping = true;
    this.#running.delete(device);
    this.#post(running, { type: "stop" });
  }

  #post(running: Running, order: DeviceOrder): void {
    running.thread.post(order);
    this.#system.wake(running.descriptors.wakeFd);
  }
}

function withStatus(peer: SetPeer, { status }: Running): ObservedPeer {
  const known = status.get(base64Of(peer.publicKey));
  return {
    ...peer,
    endpoint: known?.endpoint ?? peer.endpoint,
    lastHandshakeSeconds: (known?.lastHandshakeMs ?? 0) / 1000,
    receivedBytes: BigInt(known?.receivedBytes ?? 0),
    sentBytes: BigInt(known?.sentBytes ?? 0),
  };
}
