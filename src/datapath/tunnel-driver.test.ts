import assert from "node:assert/strict";
import { test } from "node:test";
import { FlannelError } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import { lookUpPeer } from "../packet/forwarding-table.ts";
import type { ForwardingEntry, UdpTunnel } from "../state/objects.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import type { Forwarding } from "./forwarding.ts";
import type { Order, Report, ThreadData } from "./messages.ts";
import { TunnelDriver, type TunnelSystem } from "./tunnel-driver.ts";
import { TunnelProvider } from "./tunnel-provider.ts";

const TUNNEL: UdpTunnel = {
  kind: "tunnel",
  device: "flannel0",
  local: "192.168.7.1",
  port: 8285,
  subnet: "10.5.1.0/24",
  strictSource: true,
};
const forwarding = (number: number, peer = `192.168.7.${number}`): ForwardingEntry => ({
  kind: "forwarding",
  device: "flannel0",
  destination: `10.5.${number}.0/24`,
  peer,
});

/** Descriptors are numbers that are open or closed; threads follow orders, or die on demand. */
class FakeSystem implements TunnelSystem {
  readonly open = new Set<number>();
  /** What the threads were started with. */
  readonly starts: ThreadData[] = [];
  threads = 0;
  deviceIndex: number | undefined = 7;
  portTaken = false;
  removalFails = false;
  failsAtOnce = false;
  forwarding: Forwarding | undefined;
  readonly #tunnel = new Map<string, number>();
  #next = 10;
  #end: (error?: Error) => void = () => {};

  openTun(device: string) {
    const fd = this.#takeOnce(`${device} ${this.deviceIndex}`, "tun");
    return { fd, hasVirtioHeader: true, joinsTcp: true, joinsUdp: true };
  }
  openUdp(_local: unknown, port: number) {
    if (this.portTaken) throw new FlannelError("EADDRINUSE", "bind: EADDRINUSE");
    return { fd: this.#takeOnce(String(port), "udp"), segments: true, joins: true };
  }
  closeTunnel(): void {
    for (const fd of this.#tunnel.values()) this.close(fd);
    this.#tunnel.clear();
  }
  openRaw = () => this.#take();
  openWake = () => this.#take();
  wake(fd: number): void {
    assert.ok(this.open.has(fd));
  }
  close(fd: number): void {
    assert.ok(this.open.delete(fd), `${fd} closed twice`);
  }
  indexOf = () => this.deviceIndex;
  removeDevice(index: number): void {
    if (this.removalFails) throw new FlannelError("EPERM", "RTM_DELLINK: EPERM");
    assert.equal(this.deviceIndex, index);
    this.deviceIndex = undefined;
  }
  startThread(onReport: (report: Report) => void) {
    this.threads++;
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.#end = resolve;
    if (this.failsAtOnce) resolve(new Error("no memory"));
    else queueMicrotask(() => onReport({ type: "ready" }));
    return {
      ended: promise,
      post: (order: Order) => {
        if (order.type === "stop") resolve(undefined);
        else this.forwarding = order.forwarding;
        if (order.type === "start") this.starts.push(order);
      },
    };
  }
  /** The thread comes to its end by itself. */
  endThread(error?: Error): void {
    this.#end(error);
  }
  #take(): number {
    this.open.add(this.#next);
    return this.#next++;
  }
  /** One descriptor for one thing at a time, as the real system has. */
  #takeOnce(thing: string, kind: string): number {
    for (const [key, fd] of this.#tunnel) {
      if (key === `${kind} ${thing}`) return fd;
      if (!key.startsWith(kind)) continue;
      this.close(fd);
      this.#tunnel.delete(key);
    }
    const fd = this.#take();
    this.#tunnel.set(`${kind} ${thing}`, fd);
    return fd;
  }
}

function make({ isKept = true, logger = silentLogger } = {}) {
  const system = new FakeSystem();
  const timers = new FakeTimers();
  const driver = new TunnelDriver({ system, wantOffloads: true, isKept, logger, timers });
  const kernel = new TunnelProvider(driver);
  const observe = () => kernel.observe({ devices: new Set(["flannel0"]), networks: [] }, kernel.kinds);
  return { system, timers, driver, kernel, observe };
}

test("a tunnel with its forwarding entries: created, observed, changed without a new thread, removed", async () => {
  const { system, kernel, driver, observe } = make();
  assert.deepEqual(await observe(), []);
  const results = await kernel.apply([
    { action: "create", object: TUNNEL },
    { action: "create", object: forwarding(2) },
    { action: "create", object: forwarding(3) },
  ]);
  assert.deepEqual(results, [undefined, undefined, undefined]);
  assert.deepEqual(await observe(), [TUNNEL, forwarding(2), forwarding(3)]);
  assert.equal(lookUpPeer(system.forwarding!.table, 0x0a050309), 0xc0a80703);
  assert.equal(system.forwarding!.ownBase, 0x0a050100);

  const moved = forwarding(3, "192.168.7.33");
  const lax = { ...TUNNEL, strictSource: false };
  await kernel.apply([
    { action: "replace", object: moved, previous: forwarding(3) },
    { action: "remove", object: forwarding(2) },
    { action: "replace", object: lax, previous: TUNNEL },
  ]);
  assert.deepEqual(await observe(), [lax, moved]);
  assert.equal(lookUpPeer(system.forwarding!.table, 0x0a050309), 0xc0a80721);
  assert.equal(lookUpPeer(system.forwarding!.table, 0x0a050209), 0);
  assert.equal(system.forwarding!.strictSource, false);
  assert.equal(system.starts.length, 1);

  const elsewhere = { ...lax, port: 9000 };
  await kernel.apply([{ action: "replace", object: elsewhere, previous: lax }]);
  assert.equal(system.starts.length, 2);
  const [first, second] = system.starts.map(({ descriptors }) => descriptors);
  assert.equal(second!.tun.fd, first!.tun.fd, "the device stays open, and what waits in it");
  assert.notEqual(second!.udp.fd, first!.udp.fd);
  assert.deepEqual(await observe(), [elsewhere, moved]);
  await kernel.apply([{ action: "remove", object: elsewhere }]);
  await driver.stop();
  assert.deepEqual([...system.open], []);
});

test("before subnet and peers are known, everything is open and loaded, and packets wait", async () => {
  const { system, kernel, driver, observe } = make();
  const waiting = { ...TUNNEL, subnet: undefined };
  await kernel.apply([{ action: "create", object: waiting }]);
  assert.deepEqual(await observe(), [waiting]);
  assert.deepEqual([system.threads, system.starts.length, system.open.size], [1, 0, 4]);
  await kernel.apply([
    { action: "replace", object: TUNNEL, previous: waiting },
    { action: "create", object: forwarding(2) },
  ]);
  assert.deepEqual([system.threads, system.starts.length], [1, 1]);
  // Nothing is taken from the device before it is known where to.
  assert.equal(lookUpPeer(system.starts[0]!.forwarding.table, 0x0a050209), 0xc0a80702);
  await driver.stop();
  const { tun, udp } = system.starts[0]!.descriptors;
  assert.deepEqual([...system.open].sort(), [tun.fd, udp.fd].sort(), "open for the next process");
});

test("a tunnel that is removed before it was started", async () => {
  const { system, kernel } = make();
  const waiting = { ...TUNNEL, subnet: undefined };
  await kernel.apply([{ action: "create", object: waiting }]);
  await kernel.apply([{ action: "remove", object: waiting }]);
  assert.deepEqual([...system.open], []);
});

test("a refusal of the kernel is the operation's result, and nothing stays open", async () => {
  const { system, kernel, observe } = make();
  system.portTaken = true;
  const [error] = await kernel.apply([{ action: "create", object: TUNNEL }]);
  assert.equal(error?.code, "EADDRINUSE");
  assert.deepEqual([...system.open], []);
  assert.deepEqual(await observe(), []);
});

test("another device of the name, or none: the tunnel is missing", async () => {
  const { system, kernel, observe } = make();
  await kernel.apply([{ action: "create", object: TUNNEL }]);
  system.deviceIndex = 8;
  assert.deepEqual(await observe(), []);
  await kernel.apply([{ action: "create", object: TUNNEL }]);
  assert.deepEqual(await observe(), [TUNNEL]);
  assert.equal(system.starts.length, 2);
  assert.equal(system.open.size, 4);
});

test("a thread that dies is reported and restarted, after a pause", async () => {
  const { system, timers, kernel, observe } = make();
  const stop = new AbortController();
  const ownership = { devices: new Set(["flannel0"]), networks: [] };
  const notices = kernel.watch(() => ownership, stop.signal)[Symbol.asyncIterator]();
  const first = notices.next();
  await kernel.apply([
    { action: "create", object: TUNNEL },
    { action: "create", object: forwarding(2) },
  ]);
  system.endThread(new Error("no memory"));
  assert.deepEqual((await first).value, [{ action: "touched", object: TUNNEL }]);
  assert.equal(system.open.size, 2, "device and socket stay open, and packets wait");
  assert.deepEqual(await observe(), []);
  const [early] = await kernel.apply([{ action: "create", object: TUNNEL }]);
  assert.match(early!.message, /the data path on flannel0 has failed: no memory/);
  await timers.advance(1000);
  assert.deepEqual(await kernel.apply([{ action: "create", object: TUNNEL }]), [undefined]);
  assert.deepEqual(await observe(), [TUNNEL, forwarding(2)]);
  assert.equal(lookUpPeer(system.forwarding!.table, 0x0a050209), 0xc0a80702, "forwarding is as it was");
  stop.abort();
});

test("a thread that dies during its start is the operation's failure", async () => {
  const { system, kernel } = make();
  system.failsAtOnce = true;
  const [error] = await kernel.apply([{ action: "create", object: TUNNEL }]);
  assert.match(error!.message, /has failed: no memory/);
  assert.equal(system.open.size, 2);
});

/** A started tunnel that is disposed, as at the end of the process. */
async function endOf(options: Parameters<typeof make>[0], prepare: (system: FakeSystem) => void = () => {}) {
  const made = make(options);
  await made.kernel.apply([
    { action: "create", object: TUNNEL },
    { action: "create", object: forwarding(2) },
  ]);
  prepare(made.system);
  await made.driver[Symbol.asyncDispose]();
  return made.system;
}

test("F13 the end of the process removes the device, unless a service manager keeps it open", async () => {
  const kept = await endOf({ isKept: true });
  assert.equal(kept.deviceIndex, 7);
  assert.equal(kept.open.size, 2, "device and socket, which the manager has copies of");
  const removed = await endOf({ isKept: false });
  assert.equal(removed.deviceIndex, undefined);
  assert.equal(removed.open.size, 0);
});

test("F13 a device that took the place of ours stays, and a removal that fails names the command", async () => {
  const replaced = await endOf({ isKept: false }, (system) => {
    system.deviceIndex = 8;
  });
  assert.equal(replaced.deviceIndex, 8);
  const warnings: string[] = [];
  const failed = await endOf(
    { isKept: false, logger: { ...silentLogger, warn: (message: string) => void warnings.push(message) } },
    (system) => {
      system.removalFails = true;
    },
  );
  assert.equal(failed.deviceIndex, 7);
  assert.match(
    warnings.join(),
    /^Failed to remove device flannel0; run 'ip link delete flannel0': RTM_DELLINK: EPERM$/,
  );
  const idle = make({ isKept: false });
  await idle.driver[Symbol.asyncDispose]();
  assert.equal(idle.system.deviceIndex, 7, "of another backend's process");
});
