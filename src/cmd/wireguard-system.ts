/** The system as userspace WireGuard devices need it. */

import { closeSync } from "node:fs";
import type { Logger } from "../base/logger.ts";
import type { DescriptorStore } from "../linux/descriptor-store.ts";
import { adoptTun, openTun } from "../linux/tun.ts";
import { serveUapi, UAPI_DIRECTORY } from "../linux/uapi-socket.ts";
import { adoptUdpOnAll, openUdpOnAll } from "../linux/udp-socket.ts";
import { openWake, wake } from "../linux/wake.ts";
import { publicKeyOf } from "../linux/wireguard-keys.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { DeviceOrder, DeviceReport } from "../wireguard/datapath/orders.ts";
import type { UserspaceSystem } from "../wireguard/userspace-devices.ts";
import type { WireguardWorkerData } from "./wireguard-worker.ts";
import { startThread, workerFile } from "./worker-thread.ts";

/** The thread's own memory: handshakes allocate, packets do not. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 };

/** Names of the descriptors in the store of the service manager. */
const namesOf = (device: string) => ({
  tun: `${device}-tun`,
  ipv4: `${device}-udp4`,
  ipv6: `${device}-udp6`,
});

export interface WireguardSystemOptions {
  readonly rtnetlink: Rtnetlink;
  readonly store: DescriptorStore;
  readonly logger: Logger;
  /** Runs a function in the network namespace of the devices; undefined = it is the process's. */
  readonly enter?: <T>(inside: () => T) => T;
  /** Keeps the clock of the private key's initiations over restarts; undefined = it is not kept. */
  readonly clockFile?: string | undefined;
  /** Of the UAPI sockets. */
  readonly uapiDirectory?: string;
}

export const createWireguardSystem = ({
  rtnetlink,
  store,
  logger,
  enter = (inside) => inside(),
  clockFile,
  uapiDirectory = UAPI_DIRECTORY,
}: WireguardSystemOptions): UserspaceSystem => ({
  open: (device, listenPort) =>
    enter(() => {
      const names = namesOf(device);
      const udp = (family: 4 | 6) =>
        store.open(
          names[`ipv${family}`],
          (fd) => adoptUdpOnAll(fd, family, listenPort),
          () => openUdpOnAll(family, listenPort),
        );
      const [ipv4, ipv6] = [udp(4), udp(6)];
      const tun = store.open(
        names.tun,
        (fd) => adoptTun(fd, device, true, true),
        () => openTun(device, true, true),
      );
      const { hasVirtioHeader, joinsTcp, joinsUdp } = tun;
      return {
        ...{ tunFd: tun.fd, hasVirtioHeader, joinsTcp, joinsUdp, ipv4Fd: ipv4.fd, ipv6Fd: ipv6.fd },
        segments: ipv4.segments && (ipv6.segments || ipv6.fd < 0),
        wakeFd: openWake(),
      };
    }),
  close(device) {
    for (const name of Object.values(namesOf(device))) store.close(name);
  },
  closeWake: closeSync,
  wake,
  indexOf: (device) => rtnetlink.link(device)?.index,
  mtuBytesOf: (device) => rtnetlink.link(device)?.mtuBytes ?? 0,
  publicKeyOf,
  startThread: (onReport) =>
    startThread<DeviceOrder, DeviceReport>({
      file: workerFile("wireguard-worker"),
      name: "WireGuard",
      resourceLimits: RESOURCE_LIMITS,
      workerData: (port): WireguardWorkerData => ({ port, clockFile }),
      onReport,
    }),
  serveUapi: (device, answer) => serveUapi({ directory: uapiDirectory, device, logger, answer }),
});
