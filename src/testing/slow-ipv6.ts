/** TCP and UDP over IPv6 in the slow, obvious way: the oracle for segmentation and joining, with which it shares no code. */

import { type Chance, mutate } from "./random-packets.ts";
import { checksum, type TcpHeader, tcpSegment, udpDatagram, type Virtio, viewOf } from "./slow-ip.ts";

export interface Ipv6Ends {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

export interface Ipv6Fields extends Ipv6Ends {
  readonly nextHeader: number;
  readonly hopLimit?: number;
  /** Version, traffic class and flow label. */
  readonly firstWord?: number;
}

/** The address fc00:0:0:SUBNET::HOST. */
export const ipv6Address = (subnet: number, host: number): Uint8Array =>
  Uint8Array.of(0xfc, 0, 0, 0, 0, 0, subnet >> 8, subnet & 255, 0, 0, 0, 0, 0, 0, host >> 8, host & 255);

export function ipv6(fields: Ipv6Fields, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(40 + payload.length);
  const view = viewOf(packet);
  view.setUint32(0, fields.firstWord ?? 0x6000_0000);
  view.setUint16(4, payload.length);
  packet[6] = fields.nextHeader;
  packet[7] = fields.hopLimit ?? 64;
  packet.set(fields.source, 8);
  packet.set(fields.destination, 24);
  packet.set(payload, 40);
  return packet;
}

/** Of TCP or UDP without extension headers: RFC 8200 §8.1. */
export function fixChecksum6(packet: Uint8Array): void {
  const view = viewOf(packet);
  const field = 40 + (packet[6] === 6 ? 16 : 6);
  view.setUint16(field, 0);
  const value = checksum6(packet);
  view.setUint16(field, packet[6] === 17 && value === 0 ? 0xffff : value);
}

/** 0 if the checksum in the packet is right. */
function checksum6(packet: Uint8Array): number {
  const transport = packet.subarray(40);
  const pseudo = new Uint8Array(40);
  pseudo.set(packet.subarray(8, 40));
  viewOf(pseudo).setUint32(32, transport.length);
  pseudo[39] = packet[6]!;
  return checksum(transport, 0xffff - checksum(pseudo));
}

export interface Tcp6Fields extends Omit<Ipv6Fields, "nextHeader">, TcpHeader {
  readonly options?: Uint8Array;
}

export function tcp6(fields: Tcp6Fields, payload: Uint8Array): Uint8Array {
  const packet = ipv6({ ...fields, nextHeader: 6 }, tcpSegment(fields, fields.options, payload));
  fixChecksum6(packet);
  return packet;
}

export function udp6(
  fields: Omit<Ipv6Fields, "nextHeader"> & { readonly ports: number },
  payload: Uint8Array,
): Uint8Array {
  const packet = ipv6({ ...fields, nextHeader: 17 }, udpDatagram(fields.ports, payload));
  fixChecksum6(packet);
  return packet;
}

/** The packets that the kernel or a network card sends for a super-packet with this virtio header. */
export function segment6(packet: Uint8Array, virtio: Virtio): Uint8Array[] {
  if (virtio.type === "none") return [packet.slice()];
  const isTcp = virtio.type === "tcp6";
  const headers = 40 + (isTcp ? (packet[52]! >> 4) * 4 : 8);
  const payload = packet.subarray(headers);
  const parts: Uint8Array[] = [];
  for (let start = 0; start < Math.max(1, payload.length); start += virtio.segmentBytes) {
    const part = payload.subarray(start, start + virtio.segmentBytes);
    const out = Uint8Array.of(...packet.subarray(0, headers), ...part);
    const view = viewOf(out);
    view.setUint16(4, out.length - 40);
    if (isTcp) {
      view.setUint32(44, (view.getUint32(44) + start) >>> 0);
      if (start + virtio.segmentBytes < payload.length) out[53] = out[53]! & ~0x09; // FIN, PSH
      if (start > 0) out[53] = out[53]! & ~0x80; // CWR
    } else view.setUint16(44, out.length - 40);
    fixChecksum6(out);
    parts.push(out);
  }
  return parts;
}

/** A super-packet of the kernel with its virtio header: large TCP or UDP to be segmented. */
export function superPacket6(
  chance: Chance,
  ends: Ipv6Ends,
): { readonly virtio: Virtio; readonly packet: Uint8Array } {
  const isTcp = !chance.oneIn(3);
  const segmentBytes = 1 + chance.below(chance.oneIn(3) ? 40 : 1440);
  const payload = chance.bytes(1 + chance.below(Math.min(6000, segmentBytes * 80)));
  const fields = { ...ends, ports: chance.below(2 ** 31), firstWord: 0x6000_0000 + chance.below(2 ** 28) };
  const options = chance.oneIn(2) ? Uint8Array.of(1, 1, 8, 10, ...chance.bytes(8)) : new Uint8Array();
  const flags = 0x10 | (chance.oneIn(2) ? chance.below(256) : 0);
  const packet = isTcp
    ? tcp6({ ...fields, sequence: 0xfffff000, flags, options }, payload)
    : udp6(fields, payload);
  const virtio: Virtio = {
    needsChecksum: true,
    type: isTcp ? "tcp6" : "udp",
    ...{ segmentBytes, checksumStart: 40, checksumOffset: isTcp ? 16 : 6 },
  };
  return { virtio, packet };
}

/** A flow whose packets can be joined, with everything that prevents it now and then. */
export class RandomFlow6 {
  readonly #chance: Chance;
  readonly #fields: Ipv6Ends & { readonly ports: number };
  readonly #isTcp: boolean;
  readonly #segmentBytes: number;
  readonly #options: Uint8Array;
  #sequence: number;
  #acknowledgement = 1;

  constructor(chance: Chance, ends: Ipv6Ends, ports: number) {
    this.#chance = chance;
    this.#fields = { ...ends, ports };
    this.#isTcp = !chance.oneIn(3);
    this.#segmentBytes = 1 + chance.below(60);
    this.#options = chance.oneIn(2) ? Uint8Array.of(1, 1, 8, 10, ...chance.bytes(8)) : new Uint8Array();
    this.#sequence = chance.oneIn(4) ? 0xffffff00 : chance.below(2 ** 31);
  }

  /** The next packet: usually the continuation, sometimes with a deviation. Its length is as its header says. */
  next(): Uint8Array {
    const chance = this.#chance;
    const count = chance.oneIn(6) ? chance.below(this.#segmentBytes + 2) : this.#segmentBytes;
    const fields = {
      ...this.#fields,
      hopLimit: chance.oneIn(30) ? chance.below(4) : 63,
      firstWord: 0x6000_0000 + (chance.oneIn(30) ? chance.below(2 ** 28) : 0),
    };
    if (chance.oneIn(40)) this.#acknowledgement += 7;
    if (chance.oneIn(40)) this.#sequence += 3;
    const payload = chance.bytes(count);
    const packet = this.#isTcp
      ? tcp6(
          {
            ...fields,
            ...{ sequence: this.#sequence, acknowledgement: this.#acknowledgement },
            flags: chance.oneIn(8) ? 0x10 | (1 << chance.below(8)) : 0x10,
            window: chance.oneIn(40) ? 5 : 1000,
            options: chance.oneIn(60) ? Uint8Array.of(1, 1, 1, 1) : this.#options,
          },
          payload,
        )
      : udp6(fields, payload);
    this.#sequence += count;
    if (chance.oneIn(40)) packet[packet.length - 1]! ^= 1; // wrong checksum
    if (!this.#isTcp && chance.oneIn(30)) viewOf(packet).setUint16(46, 0); // none
    if (chance.oneIn(40)) return this.#behindHopByHop(packet);
    return chance.oneIn(40) ? mutate6(chance, packet) : packet;
  }

  /** With a hop-by-hop extension header of padding. */
  #behindHopByHop(packet: Uint8Array): Uint8Array {
    const header = Uint8Array.of(packet[6]!, 0, 1, 4, 0, 0, 0, 0);
    return ipv6({ ...this.#fields, nextHeader: 0 }, Uint8Array.of(...header, ...packet.subarray(40)));
  }
}

/** Any bytes changed; still of IPv6, with the right payload length. */
function mutate6(chance: Chance, packet: Uint8Array): Uint8Array {
  const payload = mutate(chance, packet.subarray(40));
  const bytes = Uint8Array.of(...packet.subarray(0, 40), ...payload);
  if (chance.oneIn(2)) bytes[chance.below(40)] = chance.below(256);
  bytes[0] = 0x60 | (bytes[0]! & 15);
  viewOf(bytes).setUint16(4, payload.length);
  return bytes;
}

/** Identifies a flow, whose packets have to keep their order; packets with extension headers belong to that of their addresses. */
export function flowOf6(packet: Uint8Array): string {
  const addresses = Buffer.from(packet.subarray(8, 40)).toString("hex");
  const hasPorts = (packet[6] === 6 || packet[6] === 17) && packet.length >= 44;
  return `${addresses} ${packet[6]} ${hasPorts ? viewOf(packet).getUint32(40) : ""}`;
}
