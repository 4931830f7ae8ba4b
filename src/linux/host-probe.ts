/**
 * Whether a host with a given address exists: it answers an ICMP echo (RFC 792, RFC 4443 §4.1), refuses a UDP datagram
 * (ICMP port unreachable), or, on a link of this host, answers address resolution (arp(7)). The last needs no capability
 * and passes every firewall that lets the host use IP at all.
 */

import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { setTimeout as sleep } from "node:timers/promises";
import { formatIp, type Ip } from "../address/ip.ts";
import { isNotFound } from "../base/error.ts";
import { deleteNeighbour, NUD_PERMANENT, NUD_REACHABLE } from "../netlink/neighbour.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { sys } from "./ffi.ts";
import { ECHO_REPLY, ECHO_REQUEST, messageStart, openRawIcmp } from "./icmp.ts";
import { socketAddressOf } from "./socket-address.ts";

/** RFC 863: practically never open. */
const DISCARD_PORT = 9;

/** Interval between requests: a link that just came up loses the first ones. */
const RESEND_MS = 400;
/** Enough for a host on the other side of the world. */
const TIMEOUT_MS = 2_000;
const POLL_MS = 20;

/** Whether a host with this address answers within 2 s. Never throws: a host that cannot be probed does not answer. */
export async function hostAnswers(rtnetlink: Rtnetlink, ip: Ip): Promise<boolean> {
  forgetNeighbour(rtnetlink, ip);
  using echo = openEcho(ip);
  using refusal = openRefusal(ip);
  for (let elapsedMs = 0; elapsedMs < TIMEOUT_MS; elapsedMs += POLL_MS) {
    if (elapsedMs % RESEND_MS === 0) {
      echo?.send();
      refusal.send();
    }
    await sleep(POLL_MS);
    if (echo?.isAnswered() || refusal.isAnswered() || isResolved(rtnetlink, ip)) return true;
  }
  return false;
}

/** What the kernel learned earlier proves nothing: the host may be down since. */
function forgetNeighbour(rtnetlink: Rtnetlink, ip: Ip): void {
  const address = formatIp(ip);
  for (const { ifindex, address: other, state } of rtnetlink.neighbours({ family: ip.family })) {
    if (other !== address || (state & NUD_PERMANENT) !== 0) continue;
    try {
      rtnetlink.connection.request(deleteNeighbour({ ifindex, address }));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

const isResolved = (rtnetlink: Rtnetlink, ip: Ip): boolean =>
  rtnetlink
    .neighbours({ family: ip.family })
    .some(({ address, state }) => address === formatIp(ip) && (state & NUD_REACHABLE) !== 0);

interface Probe extends Disposable {
  send(): void;
  isAnswered(): boolean;
}

/** ICMP echo; undefined without the capability CAP_NET_RAW. */
function openEcho(ip: Ip): Probe | undefined {
  const { family } = ip;
  const fd = openRawIcmp(family);
  if (fd < 0) return undefined;
  const address = socketAddressOf(ip);
  // Connected: the socket then receives from this address only (raw(7)).
  const isConnected = sys.connect(fd, address, address.length) === 0;
  const token = randomBytes(20);
  const request = echoRequest(family, token);
  const reply = new Uint8Array(1_500);
  return {
    send() {
      if (isConnected) sys.send(fd, request, request.length, 0);
    },
    isAnswered() {
      for (;;) {
        const length = sys.recv(fd, reply, reply.length, 0);
        if (length <= 0) return false;
        const start = messageStart(family, reply, 0);
        const payload = Buffer.from(
          reply.buffer,
          start + 4,
          Math.max(0, Math.min(length - start - 4, token.length)),
        );
        if (reply[start] === ECHO_REPLY[family] && payload.equals(token)) return true;
      }
    },
    [Symbol.dispose]: () => void sys.close(fd),
  };
}

/** A datagram to a closed port: the kernel reports the answer as ECONNREFUSED (udp(7)). */
function openRefusal(ip: Ip): Probe {
  const socket = createSocket(ip.family === 4 ? "udp4" : "udp6");
  let isRefused = false;
  socket.on("error", (error: NodeJS.ErrnoException) => {
    isRefused ||= error.code === "ECONNREFUSED";
  });
  let isConnected = false;
  // Node.js calls back also if it fails (no route, a broadcast address), which its types do not say.
  socket.connect(DISCARD_PORT, formatIp(ip), (error?: Error) => {
    if (error !== undefined && error !== null) return;
    isConnected = true;
    socket.send(new Uint8Array(1));
  });
  return {
    send() {
      if (isConnected) socket.send(new Uint8Array(1), () => {});
    },
    isAnswered: () => isRefused,
    [Symbol.dispose]: () => void socket.close(),
  };
}

/** Type, code, checksum, then identifier and sequence, which are part of the token here. */
function echoRequest(family: Ip["family"], token: Uint8Array): Uint8Array {
  const message = new Uint8Array(4 + token.length);
  message[0] = ECHO_REQUEST[family];
  message.set(token, 4);
  if (family === 4) new DataView(message.buffer).setUint16(2, internetChecksum(message)); // for IPv6 the kernel computes it
  return message;
}

/** RFC 1071; `bytes` has an even length. */
export function internetChecksum(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let sum = 0;
  for (let offset = 0; offset < bytes.length; offset += 2) sum += view.getUint16(offset);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
