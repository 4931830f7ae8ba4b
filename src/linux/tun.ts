/** TUN devices (Documentation/networking/tuntap.rst): persistent ones are created, and opened for packets. */

import { closeSync, openSync } from "node:fs";
import { FlannelError, hasCode, messageOf } from "../base/error.ts";
import type { OpenTun } from "../datapath/descriptors.ts";
import { VNET_HEADER_BYTES } from "../packet/virtio-net-header.ts";
import { check, sys } from "./ffi.ts";
import { isOfOwnNetns } from "./netns.ts";

// linux/if_tun.h
const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUNGETDEVNETNS = 0x54e3;
const IFF_TUN = 0x0001;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;

// bits/fcntl-linux.h
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const F_SETFL = 4;

/** Offsets in struct ifreq (linux/if.h), and its size. */
const IFR_FLAGS = 16;
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;
/** An int. */
const HEADER_SIZE = new Uint8Array(Int32Array.of(VNET_HEADER_BYTES).buffer);

/**
 * Creates a persistent TUN device, which exists while no process has it open, in the caller's namespace. An existing TUN
 * device of that name becomes persistent. Throws FlannelError: ENOENT or ENXIO (kernel without TUN), EPERM, EBUSY (open elsewhere),
 * EINVAL (a device of another type has the name).
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
 * Opens an existing or new TUN device for packets, non-blocking and persistent. `wantOffloads`: with the offloads that the
 * kernel supports; `wantTcp6`: also those of TCP over IPv6. Only one process can have it open. Throws as {@link makePersistentTun}.
 */
export function openTun(name: string, wantOffloads: boolean, wantTcp6 = false): OpenTun {
  const fd = openCloneDevice();
  try {
    const hasVirtioHeader = wantOffloads && attachWithHeader(fd, name);
    if (!hasVirtioHeader) attach(fd, name, IFF_TUN | IFF_NO_PI);
    return configure(fd, name, hasVirtioHeader, wantTcp6);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Adopts a descriptor from before a restart, with the packets that wait in it; the result is that of {@link openTun}.
 * Undefined if it is not of that device, in this namespace, with the same offloads; the descriptor is not closed.
 */
export function adoptTun(
  fd: number,
  name: string,
  wantOffloads: boolean,
  wantTcp6 = false,
): OpenTun | undefined {
  const ifreq = new Uint8Array(IFREQ_BYTES);
  if (sys.ioctl(fd, TUNGETIFF, ifreq) < 0) return undefined; // not a TUN device, or a deleted one
  const bytes = ifreq.subarray(0, IFNAMSIZ);
  const itsName = new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  const flags = new DataView(ifreq.buffer).getUint16(IFR_FLAGS, true);
  const wanted = IFF_TUN | IFF_NO_PI | (wantOffloads ? IFF_VNET_HDR : 0);
  const isAlike = (flags & (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)) === wanted;
  if (itsName !== name || !isAlike || !isOfOwnNetns(fd, TUNGETDEVNETNS)) return undefined;
  check(sys.fcntl(fd, F_SETFL, O_NONBLOCK), "fcntl(F_SETFL)", name);
  return configure(fd, name, wantOffloads, wantTcp6);
}

function configure(fd: number, name: string, hasVirtioHeader: boolean, wantTcp6: boolean): OpenTun {
  // The device keeps the sizes and offloads that an earlier process set.
  if (hasVirtioHeader) check(sys.ioctl(fd, TUNSETVNETHDRSZ, HEADER_SIZE), "ioctl(TUNSETVNETHDRSZ)", name);
  const setOffloads = (flags: number): boolean =>
    hasVirtioHeader && sys.ioctlValue(fd, TUNSETOFFLOAD, flags) === 0;
  const tcp = TUN_F_CSUM | TUN_F_TSO4 | (wantTcp6 ? TUN_F_TSO6 : 0);
  const joinsUdp = setOffloads(tcp | TUN_F_USO4 | TUN_F_USO6); // since Linux 6.2, only both together
  const joinsTcp = joinsUdp || setOffloads(tcp);
  if (!joinsTcp) sys.ioctlValue(fd, TUNSETOFFLOAD, 0);
  check(sys.ioctlValue(fd, TUNSETPERSIST, 1), "ioctl(TUNSETPERSIST)", name);
  return { fd, hasVirtioHeader, joinsTcp, joinsUdp };
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

/** False = this kernel has no such header. A device in use (EBUSY) may be free in a moment and is no reason to do without. */
function attachWithHeader(fd: number, name: string): boolean {
  try {
    attach(fd, name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
    return true;
  } catch (error) {
    if (hasCode(error, "EINVAL")) return false;
    throw error;
  }
}

function setInterface(fd: number, name: string, flags: number): number {
  const ifreq = new Uint8Array(IFREQ_BYTES);
  if (new TextEncoder().encodeInto(name, ifreq).written >= IFNAMSIZ || name === "")
    throw new FlannelError("EINVAL", `invalid device name: ${name}`);
  new DataView(ifreq.buffer).setUint16(IFR_FLAGS, flags, true);
  return sys.ioctl(fd, TUNSETIFF, ifreq);
}
