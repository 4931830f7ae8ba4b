/** The system as the udp backend's tunnel needs it. */

import { closeSync } from "node:fs";
import { MessageChannel, Worker } from "node:worker_threads";
import { isNotFound } from "../base/error.ts";
import type { Report } from "../datapath/messages.ts";
import type { TunnelSystem, TunnelThread } from "../datapath/tunnel-driver.ts";
import type { DescriptorStore } from "../linux/descriptor-store.ts";
import { adoptTun, openTun } from "../linux/tun.ts";
import { adoptUdp, openRaw, openUdp } from "../linux/udp-socket.ts";
import { openWake, wake } from "../linux/wake.ts";
import { deleteLink } from "../netlink/link.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";

/** The thread's own memory: it allocates next to nothing, and what it does is short-lived. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32 };
/** Names of the descriptors in the store of the service manager. */
const DEVICE = "flannel-tun";
const SOCKET = "flannel-udp";

/** In the bundle, the thread is a file beside this one. */
const THREAD = new URL(
  import.meta.url.endsWith(".ts") ? "./udp-worker.ts" : "./udp-worker.cjs",
  import.meta.url,
);

export const createTunnelSystem = (rtnetlink: Rtnetlink, store: DescriptorStore): TunnelSystem => ({
  openTun: (device, wantOffloads) =>
    store.open(
      DEVICE,
      (fd) => adoptTun(fd, device, wantOffloads),
      () => openTun(device, wantOffloads),
    ),
  openUdp: (local, port, wantOffloads) =>
    store.open(
      SOCKET,
      (fd) => adoptUdp(fd, local, port, wantOffloads),
      () => openUdp(local, port, wantOffloads),
    ),
  closeTunnel() {
    for (const name of [DEVICE, SOCKET]) store.close(name);
  },
  openRaw,
  openWake,
  wake,
  close: closeSync,
  indexOf: (device) => rtnetlink.link(device)?.index,
  removeDevice(index) {
    const [error] = rtnetlink.connection.batch([deleteLink(index)]);
    if (error !== undefined && !isNotFound(error)) throw error;
  },
  startThread,
});

function startThread(onReport: (report: Report) => void): TunnelThread {
  const { port1, port2 } = new MessageChannel();
  port1.on("message", onReport);
  const worker = new Worker(THREAD, {
    workerData: port2,
    transferList: [port2],
    resourceLimits: RESOURCE_LIMITS,
    name: "udp data path",
  });
  let error: Error | undefined;
  worker.on("error", (reason) => {
    error = reason instanceof Error ? reason : new Error(String(reason));
  });
  const ended = new Promise<Error | undefined>((resolve) => {
    worker.on("exit", () => {
      port1.close();
      resolve(error);
    });
  });
  return { post: (order) => port1.postMessage(order), ended };
}
