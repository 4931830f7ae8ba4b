/**
 * A node in a network namespace, as a packet of a pod sees it. All pods of the cluster are behind two TUN devices, so that a test
 * writes packets with any source and sees which of them come out:
 *
 *      test ──── in ──▶ node (forwards, our table) ──▶ out ──── test
 */

import { createHash } from "node:crypto";
import { closeSync, readSync, writeSync } from "node:fs";
import { ipToBytes, parseIp } from "../../src/address/ip.ts";
import { hasCode } from "../../src/base/error.ts";
import type { FirewallExec } from "../../src/firewall/firewall-exec.ts";
import { runCommand } from "../../src/linux/exec.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { openTun } from "../../src/linux/tun.ts";
import { freshNetns, type TestNetns } from "./support.ts";

export const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

/** A packet to send; `flags` of TCP default to SYN. */
export interface TestPacket {
  readonly source: string;
  readonly destination: string;
  readonly protocol: string;
  readonly sourcePort: number;
  readonly port: number;
  readonly tcpFlags?: number;
  readonly sequence?: number;
  readonly acknowledged?: number;
}

export const SYN = 0x02;
export const ACK = 0x10;

/** The kernel's own packets (router solicitations, listener reports) have 0. */
const FIRST_NUMBER = 1000;

export class PolicyBed {
  readonly netns: TestNetns;
  readonly exec: FirewallExec;
  /** Scripts that nft was given. */
  readonly scripts: string[] = [];
  readonly #in: number;
  readonly #out: number;

  constructor(scope: { after(clean: () => void): void }) {
    this.netns = freshNetns(scope, "pol");
    const { path, run } = this.netns;
    for (const name of ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"])
      run("sysctl", "-qw", `${name}=1`);
    for (const name of ["all", "default"]) run("sysctl", "-qw", `net.ipv4.conf.${name}.rp_filter=0`);
    [this.#in, this.#out] = withNetns(path, () => [openTun("in", false).fd, openTun("out", false).fd]);
    scope.after(() => {
      closeSync(this.#in);
      closeSync(this.#out);
    });
    for (const device of ["in", "out"]) {
      run("ip", "link", "set", device, "up", "txqueuelen", "10000");
      // Without a queue discipline a packet is sent by whoever forwards it, so before write() returns.
      run("tc", "qdisc", "replace", "dev", device, "root", "noqueue");
      run("ip", "addr", "add", `169.254.${device === "in" ? 1 : 2}.1/32`, "dev", device);
      run("ip", "-6", "addr", "add", `fd0a::${device === "in" ? 1 : 2}/128`, "dev", device, "nodad");
    }
    run("ip", "route", "add", "default", "dev", "out");
    run("ip", "-6", "route", "add", "default", "dev", "out");
    this.exec = {
      run: (command, args, stdin) => {
        if (stdin !== undefined) this.scripts.push(stdin);
        return withNetns(path, () => runCommand(command, args, stdin));
      },
    };
  }

  nft(...args: string[]): string {
    return this.netns.run("nft", ...args);
  }

  /** Sends packets, each its own; whether each came out. At most 1,000 at once. */
  send(packets: readonly TestPacket[]): boolean[] {
    const arrived = packets.map(() => false);
    for (const [index, packet] of packets.entries()) {
      writeSync(this.#in, packetBytes(packet, index + FIRST_NUMBER));
      for (const number of this.#receive()) {
        const at = number - FIRST_NUMBER;
        if (at >= 0 && at < arrived.length) arrived[at] = true;
      }
    }
    return arrived;
  }

  /** The numbers of packets that came out: forwarding is done before write() returns. */
  #receive(): number[] {
    const numbers: number[] = [];
    const buffer = new Uint8Array(2048);
    for (;;) {
      try {
        readSync(this.#out, buffer);
      } catch (error) {
        if (hasCode(error, "EAGAIN")) return numbers;
        throw error;
      }
      const isIpv4 = buffer[0]! >> 4 === 4;
      numbers.push(isIpv4 ? (buffer[4]! << 8) | buffer[5]! : (buffer[2]! << 8) | buffer[3]!);
    }
  }
}

const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = { ICMP: 1, TCP: 6, UDP: 17, SCTP: 132 };

/** The number is the identification of IPv4 (RFC 791 §3.1) or in the flow label of IPv6 (RFC 8200 §3). */
function packetBytes(packet: TestPacket, number: number): Uint8Array {
  const source = ipToBytes(parseIp(packet.source)!);
  const destination = ipToBytes(parseIp(packet.destination)!);
  const isIpv4 = source.length === 4;
  const protocol = !isIpv4 && packet.protocol === "ICMP" ? 58 : PROTOCOL_NUMBERS[packet.protocol]!;
  const body = transportBytes(packet, protocol);
  if (protocol === 6 || protocol === 17 || protocol === 58) {
    const pseudo = [...source, ...destination, 0, protocol, body.length >> 8, body.length & 255];
    const sum = checksum(Uint8Array.from([...pseudo, ...body]));
    body.set([sum >> 8, sum & 255], protocol === 6 ? 16 : protocol === 17 ? 6 : 2);
  } else if (protocol === 1) {
    const sum = checksum(body);
    body.set([sum >> 8, sum & 255], 2);
  }
  if (!isIpv4) {
    const header = [0x60, 0, number >> 8, number & 255, body.length >> 8, body.length & 255, protocol, 64];
    return Uint8Array.from([...header, ...source, ...destination, ...body]);
  }
  const total = 20 + body.length;
  const header = Uint8Array.from([
    ...[0x45, 0, total >> 8, total & 255, number >> 8, number & 255, 0, 0, 64, protocol, 0, 0],
    ...source,
    ...destination,
  ]);
  const sum = checksum(header);
  header.set([sum >> 8, sum & 255], 10);
  return Uint8Array.from([...header, ...body]);
}

/** A first packet of each protocol, unless `tcpFlags` say otherwise. */
function transportBytes(packet: TestPacket, protocol: number): Uint8Array {
  const { sourcePort, port, tcpFlags = SYN, sequence = 1, acknowledged = 0 } = packet;
  const ports = [sourcePort >> 8, sourcePort & 255, port >> 8, port & 255];
  const u32 = (value: number) => [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
  switch (protocol) {
    case 6:
      return Uint8Array.from([
        ...ports,
        ...u32(sequence),
        ...u32(acknowledged),
        ...[0x50, tcpFlags, 255, 255, 0, 0, 0, 0],
      ]);
    case 17:
      return Uint8Array.from([...ports, 0, 12, 0, 0, 1, 2, 3, 4]);
    case 132: // an INIT chunk (RFC 9260 §3.3.2), its checksum left out
      return Uint8Array.from([
        ...ports,
        ...u32(0),
        ...u32(0),
        1,
        0,
        0,
        20,
        ...u32(7),
        ...u32(9),
        0,
        1,
        0,
        1,
        ...u32(5),
      ]);
    default: // echo request
      return Uint8Array.from([protocol === 1 ? 8 : 128, 0, 0, 0, sourcePort >> 8, sourcePort & 255, 0, 1]);
  }
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
