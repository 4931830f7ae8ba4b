/** Device settings outside rtnetlink: the port DeviceSettings on a real kernel, by sysctl and ethtool's ioctl. */

import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { DeviceSettings, SettingName } from "../state/device-settings.ts";
import { check, sys } from "./ffi.ts";
import { withNetns } from "./netns.ts";
import { isSysctlWritable, readSysctl, writeSysctl } from "./sysctl.ts";

// bits/socket.h
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
// linux/sockios.h, linux/ethtool.h
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;
/** linux/if.h: the last byte is a NUL. */
const IFNAMSIZ = 16;

export interface DeviceSettingsOptions {
  readonly logger: Logger;
  /** Path of the network namespace; default the caller's. */
  readonly netns?: string | undefined;
}

/**
 * Where /proc/sys is read-only (containers), a sysctl that cannot be set is logged once and then counts as set: what depends
 * on it fails by itself. A sysctl without effect on this host is not logged.
 */
export function createDeviceSettings({ logger, netns }: DeviceSettingsOptions): DeviceSettings {
  const given = new Map<string, boolean>();
  return {
    read(device, name) {
      if (name === "tx-checksum-ip-generic") return readTxChecksum(device, netns);
      const key = sysctlKey(device, name);
      const value = given.get(key) ?? readSysctl(key, { netns });
      if (typeof value === "boolean") return value;
      if (name === "accept_ra" && isMoot(device, value)) return false;
      if (value !== undefined) return value !== "0";
      // A kernel without IPv6 accepts no advertisements; a deleted device has no settings.
      const hasIpv6 = readSysctl(`ipv6/conf/all/${name}`, { netns }) !== undefined;
      return hasIpv6 ? undefined : name === "disable_ipv6";
    },
    write(device, name, on) {
      if (name === "tx-checksum-ip-generic") return writeTxChecksum(device, on, netns);
      const key = sysctlKey(device, name);
      try {
        writeSysctl(key, on ? "1" : "0", { netns });
      } catch (error) {
        if (!hasCode(error, "EROFS") && !hasCode(error, "EACCES")) throw error;
        if (name === "accept_ra" && !on && isMoot(device, readSysctl(key, { netns }))) return;
        logger.warn(`Continuing without a setting of ${device}: ${messageOf(error)}`);
        given.set(key, on);
      }
    },
  };

  /** With accept_ra=1 a forwarding host ignores router advertisements (ip-sysctl.rst): a read-only sysctl then needs no change. */
  function isMoot(device: string, acceptRa: string | undefined): boolean {
    if (acceptRa !== "1") return false;
    const forwarding = readSysctl(`ipv6/conf/${device}/forwarding`, { netns });
    return (
      forwarding !== undefined &&
      forwarding !== "0" &&
      !isSysctlWritable(sysctlKey(device, "accept_ra"), { netns })
    );
  }
}

/** Whether this setting can be changed on this host, whatever the device. */
export const canSet = (name: SettingName): boolean =>
  name === "tx-checksum-ip-generic" || isSysctlWritable(sysctlKey("all", name));

const sysctlKey = (device: string, name: SettingName): string => `ipv6/conf/${device}/${name}`;

/** Undefined = no such device, or one without this feature. */
function readTxChecksum(device: string, netns: string | undefined): boolean | undefined {
  const value = Uint32Array.of(ETHTOOL_GTXCSUM, 0); // struct ethtool_value
  try {
    ethtool(device, value, netns);
  } catch (error) {
    if (hasCode(error, "ENODEV") || hasCode(error, "EOPNOTSUPP")) return undefined;
    throw error;
  }
  return value[1] !== 0;
}

function writeTxChecksum(device: string, on: boolean, netns: string | undefined): void {
  ethtool(device, Uint32Array.of(ETHTOOL_STXCSUM, on ? 1 : 0), netns);
}

function ethtool(device: string, command: Uint32Array, netns: string | undefined): void {
  const name = new Uint8Array(IFNAMSIZ);
  new TextEncoder().encodeInto(device, name.subarray(0, IFNAMSIZ - 1));
  const open = () => check(sys.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), "socket");
  const fd = netns === undefined ? open() : withNetns(netns, open);
  try {
    const request = { ifr_name: name, ifr_data: command, rest: new Uint8Array(16) };
    check(sys.ioctlIfreq(fd, SIOCETHTOOL, request), "ioctl", `SIOCETHTOOL ${device}`);
  } finally {
    sys.close(fd);
  }
}
