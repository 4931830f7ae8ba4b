/**
 * ICMP echo (RFC 792, RFC 4443 §4.1) of any size over a raw socket, as ping(8) does it. Packets carry DF and ignore what the
 * kernel believes about the path's MTU (IP_PMTUDISC_PROBE, ip(7)), so that a size is tested on the wire.
 */

import { randomBytes } from "node:crypto";
import { formatIp, type Ip } from "../address/ip.ts";
import { errnoName } from "../netlink/errno.ts";
import { check, lastErrno, lastError, sys } from "./ffi.ts";
import { internetChecksum } from "./host-probe.ts";
import { ECHO_REPLY, ECHO_REQUEST, messageStart, openRawIcmp, probePathMtu } from "./icmp.ts";
import { socketAddressOf } from "./socket-address.ts";

/** Header of IP without options. */
const IP_HEADER_BYTES = { 4: 20, 6: 40 } as const;
const ICMP_HEADER_BYTES = 8;
const TOKEN_BYTES = 12;
const MAX_PACKET_BYTES = 65_535;

/** How a packet left this host; "too large" = a device's or route's MTU is smaller. */
type SendResult = "sent" | "too large" | { readonly error: string };

/** Requests to one address, and the replies to them. */
interface EchoSocket extends Disposable {
  send(sequence: number, packetBytes: number): SendResult;
  receive(): readonly number[];
}

/** Opens it; from `source` if given. Throws SyscallError: EPERM without CAP_NET_RAW, EADDRNOTAVAIL for a foreign source. */
export function openEchoSocket(target: Ip, source?: Ip): EchoSocket {
  const { family } = target;
  const what = `echo to ${formatIp(target)}`;
  const fd = check(openRawIcmp(family), "socket", what);
  try {
    if (source !== undefined) {
      const from = socketAddressOf(source);
      check(sys.bind(fd, from, from.length), "bind", formatIp(source));
    }
    probePathMtu(fd, family);
    const to = socketAddressOf(target);
    // Connected: the socket then receives from this address only (raw(7)).
    if (sys.connect(fd, to, to.length) < 0) throw lastError("connect", what);
  } catch (error) {
    sys.close(fd);
    throw error;
  }
  const identifier = randomBytes(2);
  const token = randomBytes(TOKEN_BYTES);
  const received = new Uint8Array(MAX_PACKET_BYTES);
  return {
    send(sequence, packetBytes) {
      const message = echoRequest(family, { identifier, sequence, token, packetBytes });
      if (sys.send(fd, message, message.length, 0) >= 0) return "sent";
      const name = errnoName(lastErrno());
      return name === "EMSGSIZE" ? "too large" : { error: name };
    },
    receive() {
      const sequences: number[] = [];
      for (;;) {
        const length = sys.recv(fd, received, received.length, 0);
        // An error that an earlier packet caused (ICMP) is reported once; packets may follow.
        if (length < 0 && !["EAGAIN", "EWOULDBLOCK"].includes(errnoName(lastErrno()))) continue;
        if (length <= 0) return sequences;
        const start = messageStart(family, received, 0);
        const message = Buffer.from(received.buffer, start, Math.max(0, length - start));
        if (message.length < ICMP_HEADER_BYTES + TOKEN_BYTES || message[0] !== ECHO_REPLY[family]) continue;
        const isOurs =
          message.subarray(4, 6).equals(identifier) &&
          message.subarray(ICMP_HEADER_BYTES, ICMP_HEADER_BYTES + TOKEN_BYTES).equals(token);
        if (isOurs) sequences.push(message.readUInt16BE(6));
      }
    },
    [Symbol.dispose]: () => void sys.close(fd),
  };
}

function echoRequest(
  family: Ip["family"],
  request: {
    readonly identifier: Uint8Array;
    readonly sequence: number;
    readonly token: Uint8Array;
    readonly packetBytes: number;
  },
): Uint8Array {
  const length = Math.max(request.packetBytes - IP_HEADER_BYTES[family], ICMP_HEADER_BYTES + TOKEN_BYTES);
  const even = new Uint8Array(length + (length % 2)); // the checksum counts pairs of bytes
  const message = even.subarray(0, length);
  message[0] = ECHO_REQUEST[family];
  message.set(request.identifier, 4);
  new DataView(even.buffer).setUint16(6, request.sequence);
  message.set(request.token, ICMP_HEADER_BYTES);
  if (family === 4) new DataView(even.buffer).setUint16(2, internetChecksum(even)); // for IPv6 the kernel computes it
  return message;
}
