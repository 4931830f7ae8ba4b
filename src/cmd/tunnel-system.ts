/** What the udp backend's tunnel needs of the system, joined. */

import { closeSync } from "node:fs";
import { MessageChannel, Worker } from "node:worker_threads";
import type { Report, ThreadData } from "../datapath/messages.ts";
import type { TunnelSystem, TunnelThread } from "../datapath/tunnel-driver.ts";
import { openTun } from "../linux/tun.ts";
import { openRaw, openUdp } from "../linux/udp-socket.ts";
import { openWake, wake } from "../linux/wake.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";

/** The thread's own memory: it allocates next to nothing, and what it does is short-lived. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32 };
/** In the bundle, the thread is a file beside this one. */
const THREAD = new URL(
  import.meta.url.endsWith(".ts") ? "./udp-worker.ts" : "./udp-worker.cjs",
  import.meta.url,
);

export const createTunnelSystem = (rtnetlink: Rtnetlink): TunnelSystem => ({
  openTun,
  openUdp,
  openRaw,
  openWake,
  wake,
  close: closeSync,
  indexOf: (device) => rtnetlink.link(device)?.index,
  startThread,
});

function startThread(data: ThreadData, onReport: (report: Report) => void): TunnelThread {
  const { port1, port2 } = new MessageChannel();
  port1.on("message", onReport);
  const worker = new Worker(THREAD, {
    workerData: { ...data, port: port2 },
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
