/**
 * The main thread's side of the tunnel: opens the descriptors, starts and stops the thread, and passes it each new
 * forwarding table. Neither thread waits for the other while packets flow. Until the peers are known, packets wait in
 * device and socket.
 */

import { type Ip, parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { FlannelError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import { buildForwardingTable } from "../packet/forwarding-table.ts";
import { type ForwardingEntry, keyOf, type StateOperation, type UdpTunnel } from "../state/objects.ts";
import { type CounterValues, createCounters, readCounters } from "./counters.ts";
import type { OpenTun, OpenUdp, TunnelDescriptors } from "./descriptors.ts";
import { reportDrops } from "./drop-report.ts";
import { type Forwarding, NO_FORWARDING } from "./forwarding.ts";
import type { Order, Report } from "./messages.ts";

/** The thread that moves the packets. */
interface TunnelThread {
  /** Queues an order; the caller wakes the thread if it has been started. */
  post(order: Order): void;
  /** Resolves when it has ended, with the error that ended it. */
  readonly ended: Promise<Error | undefined>;
}

/** What the tunnel needs of the system. Opening throws FlannelError. */
export interface TunnelSystem {
  /** Opens the device for packets, or returns the open descriptor of an earlier tunnel or the previous process. */
  openTun(device: string, wantOffloads: boolean): OpenTun;
  openUdp(local: Ip, port: number, wantOffloads: boolean): OpenUdp;
  /** Closes what these two have opened. Until then it stays open, also for the next process. */
  closeTunnel(): void;
  /** A raw IPv4 socket; -1 if that is not permitted. */
  openRaw(): number;
  /** An eventfd. */
  openWake(): number;
  wake(fd: number): void;
  close(fd: number): void;
  /** The current index of the device; undefined if there is none. */
  indexOf(device: string): number | undefined;
  /** Deletes the device with this index, if it still exists. Throws FlannelError. */
  removeDevice(index: number): void;
  /** Loads the thread, which reports when it is ready for the start order. */
  startThread(onReport: (report: Report) => void): TunnelThread;
}

export interface TunnelDriverOptions {
  readonly system: TunnelSystem;
  /** Off = one packet per system call, even if the kernel supports more. */
  readonly wantOffloads: boolean;
  /**
   * Whether a service manager keeps the descriptors for the next process. If not, nothing reads the device after
   * this process, so it is removed then: Go's flanneld would create another one and route past it.
   */
  readonly isKept: boolean;
  readonly logger: Logger;
  readonly timers: Timers;
}

interface Running {
  tunnel: UdpTunnel;
  readonly descriptors: TunnelDescriptors;
  readonly thread: TunnelThread;
  /** Resolves when it can be started, or has ended. */
  readonly loaded: Promise<void>;
  /** Whether it moves packets. */
  isMoving: boolean;
  /** Of the device that it has open, which another one of the same name may have replaced. */
  readonly deviceIndex: number | undefined;
  /** Whether it was ordered to stop. */
  isStopping: boolean;
}

/** Pause before a thread that died is restarted. */
const PAUSE_MS = 500;

export class TunnelDriver implements AsyncDisposable {
  readonly #options: TunnelDriverOptions;
  readonly #counters = createCounters();
  readonly #forwarding = new Map<string, ForwardingEntry>();
  #running: Running | undefined;
  #failure: { readonly message: string; readonly untilMs: number } | undefined;
  /** Called when the tunnel ended without an order. */
  onEnd: (tunnel: UdpTunnel) => void = () => {};

  constructor(options: TunnelDriverOptions) {
    this.#options = options;
  }

  get counters(): CounterValues {
    return readCounters(this.#counters);
  }

  /** The tunnel and its forwarding entries, as far as they are in effect. */
  observe(): (UdpTunnel | ForwardingEntry)[] {
    const running = this.#running;
    if (running === undefined) return [];
    const { device } = running.tunnel;
    if (running.deviceIndex !== this.#options.system.indexOf(device)) return [];
    return [running.tunnel, ...this.#forwarding.values()];
  }

  /** Makes one change; forwarding changes take effect with the next {@link commit}. Throws FlannelError. */
  async apply(operation: StateOperation): Promise<void> {
    const { object } = operation;
    if (object.kind === "forwarding") {
      if (operation.action === "remove") this.#forwarding.delete(keyOf(object));
      else this.#forwarding.set(keyOf(object), object);
    } else if (object.kind === "tunnel") {
      if (operation.action === "remove") {
        await this.stop();
        this.#options.system.closeTunnel();
        return;
      }
      if (!this.#adopt(object)) {
        await this.stop();
        this.#start(object);
      }
      if (object.subnet !== undefined) await this.#whenLoaded();
    }
  }

  /** Passes the forwarding table to the thread, which moves packets from then on. */
  commit(): void {
    const running = this.#running;
    if (running === undefined || running.tunnel.subnet === undefined) return;
    const forwarding = this.#compile(running.tunnel);
    if (running.isMoving) this.#post(running, { type: "forward", forwarding });
    else {
      const { descriptors } = running;
      this.#post(running, { type: "start", descriptors, counters: this.#counters, forwarding });
      running.isMoving = true;
    }
  }

  /** Stops the thread, which first forwards what it has read. Device and socket stay open. */
  async stop(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.halt();
    await running.thread.ended;
  }

  /** Ends the tunnel with the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { system, isKept, logger } = this.#options;
    const running = this.#running;
    await this.stop();
    if (isKept || running === undefined) return;
    const { tunnel, deviceIndex } = running;
    system.closeTunnel();
    if (deviceIndex === undefined || system.indexOf(tunnel.device) !== deviceIndex) return;
    try {
      system.removeDevice(deviceIndex);
      logger.info(`Removed device ${tunnel.device} with its routes, because nothing reads it any longer`);
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      logger.warn(
        `Failed to remove device ${tunnel.device}; run 'ip link delete ${tunnel.device}': ${error.message}`,
      );
    }
  }

  /** Orders the thread to stop, without waiting for it. */
  halt(): void {
    const running = this.#running;
    if (running === undefined) return;
    running.isStopping = true;
    this.#post(running, { type: "stop" });
  }

  /** Changes the running tunnel in place, where that is possible. */
  #adopt(tunnel: UdpTunnel): boolean {
    const running = this.#running;
    const before = running?.tunnel;
    const isSame =
      before?.device === tunnel.device &&
      before.local === tunnel.local &&
      before.port === tunnel.port &&
      running?.deviceIndex === this.#options.system.indexOf(tunnel.device);
    if (isSame && running !== undefined) running.tunnel = tunnel;
    return isSame;
  }

  #start(tunnel: UdpTunnel): void {
    const { system, timers, logger } = this.#options;
    if (this.#failure !== undefined && timers.nowMs() < this.#failure.untilMs)
      throw new FlannelError("EIO", this.#failure.message);
    const descriptors = this.#open(tunnel);
    logger.info(`Data path on ${tunnel.device}: ${describe(descriptors)}`);
    const isReady = Promise.withResolvers<void>();
    const thread = system.startThread((report) => {
      if (report.type === "ready") isReady.resolve();
      if (report.type === "segmentation refused")
        logger.warn(
          `Data path on ${tunnel.device} sends datagrams one by one, which is slower: the kernel refused UDP_SEGMENT (no checksum offload on the interface, or an IPsec policy)`,
        );
    });
    const deviceIndex = system.indexOf(tunnel.device);
    const endReport = reportDrops(tunnel.device, () => this.counters, this.#options);
    const ended = thread.ended.then((error) => {
      endReport();
      this.#takeEnd(tunnel, descriptors, error);
    });
    const loaded = Promise.race([isReady.promise, ended]);
    this.#running = { tunnel, descriptors, thread, loaded, deviceIndex, isMoving: false, isStopping: false };
  }

  /** Waits until the thread can be started. */
  async #whenLoaded(): Promise<void> {
    await this.#running?.loaded;
    if (this.#running === undefined)
      throw new FlannelError("EIO", this.#failure?.message ?? "the thread ended during startup");
  }

  /** If one cannot be opened, the other one stays open for the next attempt. */
  #open({ device, local, port }: UdpTunnel): TunnelDescriptors {
    const { system, wantOffloads } = this.#options;
    const udp = system.openUdp(parseIp(local)!, port, wantOffloads);
    const tun = system.openTun(device, wantOffloads);
    return { tun, udp, rawFd: system.openRaw(), port, wakeFd: system.openWake() };
  }

  #takeEnd(tunnel: UdpTunnel, { rawFd, wakeFd }: TunnelDescriptors, error: Error | undefined): void {
    const { system, logger, timers } = this.#options;
    const wasStopping = this.#running?.isStopping === true;
    this.#running = undefined;
    for (const fd of [wakeFd, rawFd]) if (fd >= 0) system.close(fd);
    if (wasStopping) return;
    if (error !== undefined) {
      const message = `the data path on ${tunnel.device} has failed: ${error.message}`;
      this.#failure = { message, untilMs: timers.nowMs() + PAUSE_MS };
      logger.error(`Data path on ${tunnel.device} failed; restarting it: ${error.message}`);
    }
    this.onEnd(tunnel);
  }

  #post(running: Running, order: Order): void {
    running.thread.post(order);
    this.#options.system.wake(running.descriptors.wakeFd);
  }

  #compile({ subnet, strictSource }: UdpTunnel): Forwarding {
    const own = subnet === undefined ? undefined : parsePrefix(subnet);
    if (own === undefined) return NO_FORWARDING;
    const entries = [...this.#forwarding.values()].flatMap(({ destination, peer }) => {
      const prefix = parsePrefix(destination);
      const address = parseIp(peer);
      if (prefix?.family !== 4 || address?.family !== 4) return [];
      return [{ base: Number(prefix.base), length: prefix.length, peer: Number(address.value) }];
    });
    return {
      table: buildForwardingTable(entries),
      ownBase: Number(own.base),
      ownMask: (-1 << (32 - own.length)) >>> 0,
      strictSource,
    };
  }
}

function describe({ tun, udp }: TunnelDescriptors): string {
  const able = [
    tun.joinsTcp ? "TCP" : "",
    tun.joinsUdp ? "UDP" : "",
    udp.segments ? "UDP_SEGMENT" : "",
    udp.joins ? "UDP_GRO" : "",
  ].filter((text) => text !== "");
  return able.length === 0 ? "one packet at a time, without offloads" : `offloads ${able.join(", ")}`;
}
