/** The system as the udp backend's tunnel needs it. */

import { closeSync } from "node:fs";
import { isNotFound } from "../base/error.ts";
import type { Order, Report } from "../datapath/messages.ts";
import type { TunnelSystem } from "../datapath/tunnel-driver.ts";
import type { DescriptorStore } from "../linux/descriptor-store.ts";
import { adoptTun, openTun } from "../linux/tun.ts";
import { adoptUdp, openRaw, openUdp } from "../linux/udp-socket.ts";
import { openWake, wake } from "../linux/wake.ts";
import { deleteLink } from "../netlink/link.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { startThread, workerFile } from "./worker-thread.ts";

/** The thread's own memory: it allocates next to nothing, and what it does is short-lived. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32 };
/** Names of the descriptors in the store of the service manager. */
const DEVICE = "flannel-tun";
const SOCKET = "flannel-udp";

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
  startThread: (onReport) =>
    startThread<Order, Report>({
      file: workerFile("udp-worker"),
      name: "udp data path",
      resourceLimits: RESOURCE_LIMITS,
      workerData: (port) => port,
      onReport,
    }),
});
