/** TUN devices (Documentation/networking/tuntap.rst): made to outlive their maker, and opened for packets. */

import { closeSync, openSync } from "node:fs";
import { FlannelError, hasCode, messageOf } from "../base/error.ts";
import type { OpenTun } from "../datapath/descriptors.ts";
import { VNET_HEADER_BYTES } from "../packet/virtio-net-header.ts";
import { check, sys } from "./ffi.ts";

// linux/if_tun.h
const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;

// bits/fcntl-linux.h
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;

/** Offsets in struct ifreq (linux/if.h), and its size. */
const IFR_FLAGS = 16;
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;
/** An int. */
const HEADER_SIZE = new Uint8Array(Int32Array.of(VNET_HEADER_BYTES).buffer);

/**
 * Makes a TUN device that stays when nobody has it open, in the caller's namespace. An existing TUN device of that
 * name is made to stay. Throws FlannelError: ENOENT or ENXIO (kernel without TUN), EPERM, EBUSY (open elsewhere),
 * EINVAL (another kind of device bears the name).
 */
export function makePersistentTun(name: string): void {
  const fd = openCloneDevice();
  try {
    attach(fd, name, IFF_TUN | IFF_NO_PI);
    check(sys.ioctlValue(fd, TUNSETPERSIST, 1), "ioctl(TUNSETPERSIST)", name);
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens an existing or new TUN device for packets, without blocking, with the offloads that the kernel has, or none if
 * they are not wanted; it stays after closing. Only one may have it open. Throws as {@link makePersistentTun}.
 */
export function openTun(name: string, wantOffloads: boolean): OpenTun {
  const fd = openCloneDevice();
  try {
    const hasVirtioHeader = wantOffloads && tryAttach(fd, name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
    if (!hasVirtioHeader) attach(fd, name, IFF_TUN | IFF_NO_PI);
    // An earlier owner's sizes and offloads stay with the device.
    else check(sys.ioctl(fd, TUNSETVNETHDRSZ, HEADER_SIZE), "ioctl(TUNSETVNETHDRSZ)", name);
    const setOffloads = (flags: number): boolean =>
      hasVirtioHeader && sys.ioctlValue(fd, TUNSETOFFLOAD, flags) === 0;
    const joinsUdp = setOffloads(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_USO4 | TUN_F_USO6); // since Linux 6.2
    const joinsTcp = joinsUdp || setOffloads(TUN_F_CSUM | TUN_F_TSO4);
    if (!joinsTcp) sys.ioctlValue(fd, TUNSETOFFLOAD, 0);
    check(sys.ioctlValue(fd, TUNSETPERSIST, 1), "ioctl(TUNSETPERSIST)", name);
    return { fd, hasVirtioHeader, joinsTcp, joinsUdp };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openCloneDevice(): number {
  try {
    return openSync("/dev/net/tun", O_RDWR | O_NONBLOCK);
  } catch (error) {
    const isMissing = hasCode(error, "ENOENT") || hasCode(error, "ENXIO") || hasCode(error, "ENODEV");
    const advice = isMissing
      ? ": the kernel's TUN driver is missing: load it with 'modprobe tun', and give a container the device /dev/net/tun"
      : "";
    const code = (error as NodeJS.ErrnoException).code ?? "EIO";
    throw new FlannelError(code, `${messageOf(error)}${advice}`, { cause: error });
  }
}

const attach = (fd: number, name: string, flags: number): number =>
  check(setInterface(fd, name, flags), "ioctl(TUNSETIFF)", name);

const tryAttach = (fd: number, name: string, flags: number): boolean => setInterface(fd, name, flags) === 0;

function setInterface(fd: number, name: string, flags: number): number {
  const ifreq = new Uint8Array(IFREQ_BYTES);
  if (new TextEncoder().encodeInto(name, ifreq).written >= IFNAMSIZ || name === "")
    throw new FlannelError("EINVAL", `not the name of a device: ${name}`);
  new DataView(ifreq.buffer).setUint16(IFR_FLAGS, flags, true);
  return sys.ioctl(fd, TUNSETIFF, ifreq);
}
