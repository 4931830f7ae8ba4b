/** What the commands that examine the network on this host need from their process. */

import type { Ip } from "../../address/ip.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink.ts";

/** How a packet that was sent left this host: "too large" = the device's or the route's MTU is smaller. */
type SendResult = "sent" | "too large" | { readonly error: string };

/** ICMP echo to one address; packets are never fragmented. */
export interface EchoSocket extends Disposable {
  /** Sends one request as an IP packet of `packetBytes` (at least {@link SMALLEST_ECHO_BYTES}). */
  send(sequence: number, packetBytes: number): SendResult;
  /** Sequences of the answers received since the last call. */
  receive(): readonly number[];
}

/** An echo request with the identification that a reply is recognized by: 40 bytes IPv6 header, 8 ICMPv6, 16 token. */
export const SMALLEST_ECHO_BYTES = 64;

/** What a port answered: "refused" = the host answers that nothing listens there. */
type PortAnswer = "open" | "refused" | "unreachable" | "silent";

/** Sockets, programs and files of this host, for the commands that examine it. */
export interface DiagnosePorts {
  openRtnetlink(): Rtnetlink;
  /** Throws FlannelError without the capability CAP_NET_RAW, or if `source` is no address of this host. */
  openEcho(target: Ip, source?: Ip): EchoSocket;
  /** Sends a datagram. An open port of UDP is "silent", too. */
  askUdpPort(target: Ip, port: number, timeoutMs: number): Promise<PortAnswer>;
  /** Opens a connection and closes it at once. */
  askTcpPort(target: Ip, port: number, timeoutMs: number): Promise<PortAnswer>;
  /** MACs that answer an ARP probe (RFC 5227 §2.1.1) for an IPv4 address on a device. Throws FlannelError. */
  arpProbe(
    device: { readonly ifindex: number; readonly mac: string },
    target: Ip,
    timeoutMs: number,
  ): Promise<readonly string[]>;
  /** Whether the device computes checksums in place of the kernel; undefined = it has no such feature. */
  hasChecksumOffload(device: string): boolean | undefined;
  /** Standard output of a program; undefined if it is missing or fails. */
  runProgram(command: string, args: readonly string[]): Promise<string | undefined>;
  /** Text of a file; undefined if there is none or it cannot be read. */
  readFile(path: string): string | undefined;
  nowMs(): number;
  sleep(ms: number): Promise<void>;
  untilInterrupted(): AbortSignal;
  readonly terminal: Terminal;
}

/** Standard output. */
export interface Terminal {
  readonly isTerminal: boolean;
  /** False with NO_COLOR (https://no-color.org) or where output is no terminal. */
  readonly hasColours: boolean;
  /** Its size now. */
  size(): { readonly columns: number; readonly rows: number };
  write(text: string): void;
}
