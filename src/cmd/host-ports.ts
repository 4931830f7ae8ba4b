/** This host, for the commands of flannelctl that look after it. */

import { existsSync, readFileSync, rmSync } from "node:fs";
import type { AdminPorts } from "../admin/admin-ports.ts";
import { FlannelError, messageOf } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import { systemTimers } from "../base/timers.ts";
import type { AccessKey } from "../cloud/cloud.ts";
import { inspectCloud } from "../cloud/cloud-inspector.ts";
import { PolicyProvider } from "../ipsec/policy-provider.ts";
import { canSet, createDeviceSettings } from "../linux/device-settings.ts";
import { runCommand } from "../linux/exec.ts";
import { openGenericNetlink, openRtnetlink, openXfrmNetlink } from "../linux/netlink-socket.ts";
import { openNotifications, openXfrmNotifications } from "../linux/notifications.ts";
import { processesOfThisNetns } from "../linux/processes.ts";
import { UAPI_DIRECTORY } from "../linux/uapi-socket.ts";
import { WireguardKeys } from "../linux/wireguard-keys.ts";
import type { OperatePorts } from "../operate/operate-ports.ts";
import { NetlinkProvider } from "../state/netlink-provider.ts";
import { KernelDevices } from "../wireguard/kernel-devices.ts";
import { WireguardProvider } from "../wireguard/provider.ts";
import { openCloud } from "./cloud-provider.ts";

/** For a few calls of a cloud's API. */
const CLOUD_TIMEOUT_MS = 60_000;

export const hostPorts = (admin: AdminPorts): OperatePorts => ({
  admin,
  openKernel(wireguardKeyFile) {
    const rtnetlink = openRtnetlink();
    const connection = openGenericNetlink();
    const keys = new WireguardKeys(wireguardKeyFile, { isReadOnly: true });
    const kernel = new NetlinkProvider({
      rtnetlink,
      settings: createDeviceSettings({ logger: silentLogger }),
      openNotifications,
      yieldToOthers: () => new Promise((resolve) => setImmediate(resolve)),
    });
    // Devices of flanneld's own are in its process: their keys and peers are not seen from here.
    const devices = new KernelDevices(connection);
    const wireguard = new WireguardProvider({
      devicesOf: () => devices,
      ...{ secrets: keys, timers: systemTimers },
    });
    const policies = new PolicyProvider({ open: openXfrmNetlink, openNotifications: openXfrmNotifications });
    return {
      ...{ rtnetlink, kernel, providers: [kernel, wireguard, policies], keys },
      hasKernelWireguard: devices.isAvailable,
      async inspectCloud(request) {
        const { type, addresses, tables, claims } = request;
        const secret = keys.secretOf(claims[0]?.accessKeyId ?? "");
        const accessKey = secret === undefined ? undefined : (JSON.parse(secret) as AccessKey);
        const ports = { readFile, logger: silentLogger, environment: process.env };
        const cloud = await openCloud(type, { addresses, tables, accessKey }, ports);
        return await inspectCloud(cloud, request, AbortSignal.timeout(CLOUD_TIMEOUT_MS));
      },
      isInProcess: (device) =>
        rtnetlink.link(device)?.kind === "tun" && existsSync(`${UAPI_DIRECTORY}/${device}.sock`),
      [Symbol.dispose]() {
        connection.close();
        policies[Symbol.dispose]();
        rtnetlink.close();
      },
    };
  },
  canSet,
  firewallExec: { run: runCommand },
  processes: processesOfThisNetns,
  readFile,
  removeFile(path) {
    try {
      rmSync(path);
    } catch (error) {
      const { code = "EIO" } = error as NodeJS.ErrnoException;
      throw new FlannelError(code, `cannot remove ${path}: ${messageOf(error)}`, { cause: error });
    }
  },
});

function readFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
