/** ARP probes (RFC 5227 §2.1.1; packet(7)): every host that uses an IPv4 address answers, also if two do. */

import { setTimeout as sleep } from "node:timers/promises";
import { type Ip, ipToBytes } from "../address/ip.ts";
import { check, sys } from "./ffi.ts";

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
const ETH_P_ARP = 0x0806;
const ARPOP_REQUEST = 1;
const POLL_MS = 10;

/** MACs (lower case) that answer for `target` within `timeoutMs`, without the device's own. Throws SyscallError: EPERM without CAP_NET_RAW. */
export async function arpProbe(
  { ifindex, mac }: { readonly ifindex: number; readonly mac: string },
  target: Ip,
  timeoutMs: number,
): Promise<readonly string[]> {
  const fd = check(sys.socket(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, swap16(ETH_P_ARP)), "socket", "ARP");
  try {
    const address = linkAddress(ifindex);
    check(sys.bind(fd, address, address.length), "bind", "ARP");
    const wanted = ipToBytes(target);
    const request = arpRequest(mac, wanted);
    const macs = new Set<string>();
    const frame = new Uint8Array(128);
    for (let elapsedMs = 0; elapsedMs < timeoutMs; elapsedMs += POLL_MS) {
      if (elapsedMs % (POLL_MS * 10) === 0) sys.send(fd, request, request.length, 0);
      await sleep(POLL_MS);
      while (sys.recv(fd, frame, frame.length, 0) >= 42) {
        const isSender = wanted.every((byte, index) => frame[28 + index] === byte);
        if (isSender) macs.add(formatMac(frame.subarray(22, 28)));
      }
    }
    macs.delete(mac.toLowerCase());
    return [...macs];
  } finally {
    sys.close(fd);
  }
}

const swap16 = (value: number): number => ((value & 0xff) << 8) | (value >> 8);
const formatMac = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");

/** struct sockaddr_ll. */
function linkAddress(ifindex: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(20));
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, ETH_P_ARP);
  view.setInt32(4, ifindex, true);
  return new Uint8Array(view.buffer);
}

/** Ethernet broadcast; the sender's IP is zero, so that no neighbour learns anything. */
function arpRequest(mac: string, target: Uint8Array): Uint8Array {
  const own = Uint8Array.from(mac.split(":"), (part) => Number.parseInt(part, 16));
  const frame = new Uint8Array(42);
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, 6);
  frame.set(own, 6);
  view.setUint16(12, ETH_P_ARP);
  view.setUint16(14, 1); // Ethernet
  view.setUint16(16, 0x0800);
  frame.set([6, 4], 18);
  view.setUint16(20, ARPOP_REQUEST);
  frame.set(own, 22);
  frame.set(target, 38);
  return frame;
}
