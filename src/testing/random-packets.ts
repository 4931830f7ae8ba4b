/** Random traffic for the data path: flows that can be coalesced, everything that breaks them, and invalid packets. */

import {
  encodeVirtio,
  fixHeaderChecksum,
  fixTransportChecksum,
  ipv4,
  tcp,
  udp,
  type Virtio,
  viewOf,
} from "./slow-ip.ts";

/** A small fast generator (mulberry32): the same seed gives the same sequence. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A whole number from 0 to `below` - 1. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  /** True in one of `among` cases. */
  oneIn(among: number): boolean {
    return this.below(among) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let index = 0; index < count; index++) bytes[index] = this.below(256);
    return bytes;
  }
}

export interface Ends {
  readonly source: number;
  readonly destination: number;
}

/** State of one flow. */
export class RandomFlow {
  readonly #chance: Chance;
  readonly #fields: Ends & { readonly ports: number };
  readonly #isTcp: boolean;
  readonly #segmentBytes: number;
  readonly #options: Uint8Array;
  #sequence: number;
  #id: number;
  #acknowledgement = 1;

  constructor(chance: Chance, ends: Ends, mostBytes: number) {
    this.#chance = chance;
    this.#fields = { ...ends, ports: chance.below(2 ** 16) };
    this.#isTcp = !chance.oneIn(3);
    this.#segmentBytes = 1 + chance.below(mostBytes);
    this.#options = chance.oneIn(2) ? Uint8Array.of(1, 1, 8, 10, ...chance.bytes(8)) : new Uint8Array();
    this.#sequence = chance.oneIn(4) ? 0xffffff00 : chance.below(2 ** 31);
    this.#id = chance.below(0x10000);
  }

  /** The next packet: usually the continuation, sometimes with a deviation. */
  next(): Uint8Array {
    const chance = this.#chance;
    const isOdd = chance.oneIn(6);
    const count = isOdd ? chance.below(this.#segmentBytes + 2) : this.#segmentBytes;
    if (chance.oneIn(40)) this.#acknowledgement += 7;
    if (chance.oneIn(40)) this.#sequence += 3;
    if (chance.oneIn(40)) this.#id += 5;
    const fields = {
      ...this.#fields,
      id: this.#id++ & 0xffff,
      ttl: chance.oneIn(30) ? chance.below(4) : 63,
      tos: chance.oneIn(40) ? 3 : 0,
      fragment: chance.oneIn(40) ? chance.pick([0, 0x2000, 0x2001, 5, 0x8000]) : 0x4000,
      ...(chance.oneIn(60) ? { options: Uint8Array.of(1, 1, 1, 0) } : {}),
    };
    const payload = chance.bytes(count);
    const packet = this.#isTcp
      ? tcp(
          {
            ...fields,
            sequence: this.#sequence,
            acknowledgement: this.#acknowledgement,
            flags: chance.oneIn(8) ? 0x10 | (1 << chance.below(8)) : 0x10,
            window: chance.oneIn(40) ? 5 : 1000,
            tcpOptions: chance.oneIn(60) ? Uint8Array.of(1, 1, 1, 1) : this.#options,
          },
          payload,
        )
      : udp(fields, payload);
    this.#sequence += count;
    return this.#spoil(packet);
  }

  #spoil(packet: Uint8Array): Uint8Array {
    const chance = this.#chance;
    const view = viewOf(packet);
    if (chance.oneIn(40)) packet[packet.length - 1]! ^= 1; // wrong checksum
    if (!this.#isTcp && chance.oneIn(20)) view.setUint16(26, 0); // none
    if (this.#isTcp && packet.length >= 52 && chance.oneIn(40)) {
      packet[chance.pick([38, 39, 44, 51])] = chance.below(256); // urgent pointer, options
      fixTransportChecksum(packet);
    }
    if (this.#isTcp && chance.oneIn(50)) {
      packet[32] = chance.below(256); // data offset and what is reserved
      fixTransportChecksum(packet);
    }
    if (!this.#isTcp && chance.oneIn(50)) {
      view.setUint16(24, chance.below(2000)); // UDP length
      fixTransportChecksum(packet);
    }
    return chance.oneIn(40) ? mutate(chance, packet) : packet;
  }
}

/** Changes a few bytes, the length, or what the length fields say; now and then with a header checksum that fits. */
export function mutate(chance: Chance, packet: Uint8Array): Uint8Array {
  let bytes: Uint8Array<ArrayBufferLike> = packet.slice();
  for (let times = chance.below(3); times >= 0 && bytes.length > 0; times--) {
    const where = chance.oneIn(2) ? chance.below(Math.min(40, bytes.length)) : chance.below(bytes.length);
    bytes[where] = chance.below(256);
  }
  if (chance.oneIn(4)) bytes = bytes.subarray(0, chance.below(bytes.length + 1));
  if (chance.oneIn(4)) bytes = Uint8Array.of(...bytes, ...chance.bytes(chance.below(10)));
  const canFix = bytes.length >= 20 && (bytes[0]! & 15) >= 5 && (bytes[0]! & 15) * 4 <= bytes.length;
  if (canFix && chance.oneIn(2)) {
    if (chance.oneIn(2)) viewOf(bytes).setUint16(2, bytes.length);
    fixHeaderChecksum(bytes);
  }
  return bytes;
}

/** Anything at all, mostly short. */
export function rubbish(chance: Chance, ends: Ends): Uint8Array {
  switch (chance.below(4)) {
    case 0:
      return chance.bytes(chance.below(80));
    case 1: // IPv6
      return Uint8Array.of(0x60, ...chance.bytes(39 + chance.below(40)));
    case 2: // ICMP
      return ipv4({ ...ends, protocol: 1, ttl: chance.below(5) }, chance.bytes(chance.below(60)));
    default:
      return ipv4(
        { ...ends, protocol: chance.below(256), fragment: chance.below(0x10000) },
        chance.bytes(chance.below(60)),
      );
  }
}

/** A super-packet of the kernel with its virtio header: large TCP or UDP to be segmented, without checksums. */
export function superPacket(
  chance: Chance,
  ends: Ends,
): { readonly virtio: Virtio; readonly packet: Uint8Array } {
  const isTcp = !chance.oneIn(3);
  const segmentBytes = 1 + chance.below(chance.oneIn(3) ? 40 : 1460);
  const payload = chance.bytes(1 + chance.below(Math.min(6000, segmentBytes * 80)));
  const fields = {
    ...ends,
    ports: chance.below(2 ** 31),
    id: chance.below(0x10000),
    ttl: chance.oneIn(20) ? 1 : 64,
  };
  const tcpOptions = chance.oneIn(2) ? Uint8Array.of(1, 1, 8, 10, ...chance.bytes(8)) : new Uint8Array();
  const flags = 0x10 | (chance.oneIn(2) ? chance.below(256) : 0);
  const packet = isTcp
    ? tcp({ ...fields, sequence: 0xfffff000, flags, tcpOptions }, payload)
    : udp(fields, payload);
  const virtio: Virtio = {
    needsChecksum: true,
    type: isTcp ? "tcp" : "udp",
    segmentBytes,
    checksumStart: 20,
    checksumOffset: isTcp ? 16 : 6,
  };
  return { virtio, packet };
}

export const withVirtio = (virtio: Virtio, packet: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(10 + packet.length);
  whole.set(encodeVirtio(virtio));
  whole.set(packet, 10);
  return whole;
};
