/** The thread of a userspace WireGuard device: a worker of flanneld, which starts it with a port and gives it orders there. */

import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { bootClockMs, createHandshakeClock } from "../linux/handshake-clock.ts";
import { releaseMemory } from "../linux/release-memory.ts";
import { WireguardBatchIo } from "../linux/wireguard-batch.ts";
import { createWireguardCrypto } from "../linux/wireguard-crypto.ts";
import { runLoop } from "../wireguard/datapath/loop.ts";
import type { DeviceOrder } from "../wireguard/datapath/orders.ts";

/** What the worker is started with. */
export interface WireguardWorkerData {
  readonly port: MessagePort;
  /** Keeps the clock of initiations over restarts; undefined = it is not kept. */
  readonly clockFile: string | undefined;
}

const { port, clockFile } = workerData as WireguardWorkerData;

port.once("message", (order: DeviceOrder) => {
  if (order.type === "start") {
    const io = new WireguardBatchIo(order.descriptors);
    runLoop({
      io,
      primitives: createWireguardCrypto(io.memory),
      timestampMs: createHandshakeClock({
        path: clockFile,
        wallClockMs: Date.now,
        monotonicMs: bootClockMs,
      }),
      // Taken by hand: the loop never returns to this thread's event loop.
      nextOrder: () => receiveMessageOnPort(port)?.message as DeviceOrder | undefined,
      report: (report) => port.postMessage(report),
      tidyUp: releaseMemory,
    });
  }
  port.close();
});
