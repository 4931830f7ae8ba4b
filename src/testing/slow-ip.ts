/**
 * IPv4 forwarding in the slow, obvious way, one packet in one array at a time: the oracle for the data path, with which
 * it shares no code.
 */

/** A virtio header's fields (linux/virtio_net.h). */
export interface Virtio {
  readonly needsChecksum: boolean;
  readonly type: "none" | "tcp" | "tcp6" | "udp";
  readonly segmentBytes: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

export const NO_OFFLOAD: Virtio = {
  needsChecksum: false,
  type: "none",
  segmentBytes: 0,
  checksumStart: 0,
  checksumOffset: 0,
};

const TYPE_NUMBERS = { none: 0, tcp: 1, tcp6: 4, udp: 5 } as const;

export function encodeVirtio(virtio: Virtio): Uint8Array {
  const view = new DataView(new ArrayBuffer(10));
  view.setUint8(0, virtio.needsChecksum ? 1 : 0);
  view.setUint8(1, TYPE_NUMBERS[virtio.type]);
  view.setUint16(4, virtio.segmentBytes, true);
  view.setUint16(6, virtio.checksumStart, true);
  view.setUint16(8, virtio.checksumOffset, true);
  return new Uint8Array(view.buffer);
}

export function decodeVirtio(bytes: Uint8Array): Virtio {
  const view = viewOf(bytes);
  const type = Object.entries(TYPE_NUMBERS).find(([, number]) => number === (view.getUint8(1) & 0x7f))?.[0];
  if (type === undefined) throw new Error(`virtio type ${view.getUint8(1)}`);
  return {
    needsChecksum: (view.getUint8(0) & 1) === 1,
    type: type as Virtio["type"],
    segmentBytes: view.getUint16(4, true),
    checksumStart: view.getUint16(6, true),
    checksumOffset: view.getUint16(8, true),
  };
}

/** RFC 1071, literally. */
export function checksum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let index = 0; index < bytes.length; index += 2) {
    sum += bytes[index]! * 256 + (bytes[index + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

export interface Ipv4Fields {
  readonly source: number;
  readonly destination: number;
  readonly protocol: number;
  readonly ttl?: number;
  readonly tos?: number;
  readonly id?: number;
  /** Flags and offset. */
  readonly fragment?: number;
  readonly options?: Uint8Array;
}

export function ipv4(fields: Ipv4Fields, payload: Uint8Array): Uint8Array {
  const options = fields.options ?? new Uint8Array();
  const packet = new Uint8Array(20 + options.length + payload.length);
  const view = viewOf(packet);
  packet[0] = 0x45 + options.length / 4;
  packet[1] = fields.tos ?? 0;
  view.setUint16(2, packet.length);
  view.setUint16(4, fields.id ?? 0);
  view.setUint16(6, fields.fragment ?? 0x4000);
  packet[8] = fields.ttl ?? 64;
  packet[9] = fields.protocol;
  view.setUint32(12, fields.source);
  view.setUint32(16, fields.destination);
  packet.set(options, 20);
  packet.set(payload, 20 + options.length);
  fixHeaderChecksum(packet);
  return packet;
}

/** A TCP header's fields (RFC 9293); both ports are one number. */
export interface TcpHeader {
  readonly ports: number;
  readonly sequence: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
}

export interface TcpFields extends Omit<Ipv4Fields, "protocol">, TcpHeader {
  readonly tcpOptions?: Uint8Array;
}

/** A TCP segment with correct checksums. */
export function tcp(fields: TcpFields, payload: Uint8Array): Uint8Array {
  const packet = ipv4({ ...fields, protocol: 6 }, tcpSegment(fields, fields.tcpOptions, payload));
  fixTransportChecksum(packet);
  return packet;
}

/** A TCP segment without its checksum, which depends on the addresses. */
export function tcpSegment(
  fields: TcpHeader,
  options: Uint8Array = new Uint8Array(),
  payload: Uint8Array,
): Uint8Array {
  const segment = new Uint8Array(20 + options.length + payload.length);
  const view = viewOf(segment);
  view.setUint32(0, fields.ports);
  view.setUint32(4, fields.sequence >>> 0);
  view.setUint32(8, fields.acknowledgement ?? 1);
  segment[12] = (5 + options.length / 4) << 4;
  segment[13] = fields.flags ?? 0x10;
  view.setUint16(14, fields.window ?? 1000);
  segment.set(options, 20);
  segment.set(payload, 20 + options.length);
  return segment;
}

export function udp(
  fields: Omit<Ipv4Fields, "protocol"> & { readonly ports: number },
  payload: Uint8Array,
): Uint8Array {
  const packet = ipv4({ ...fields, protocol: 17 }, udpDatagram(fields.ports, payload));
  fixTransportChecksum(packet);
  return packet;
}

/** A UDP datagram without its checksum. */
export function udpDatagram(ports: number, payload: Uint8Array): Uint8Array {
  const datagram = new Uint8Array(8 + payload.length);
  viewOf(datagram).setUint32(0, ports);
  viewOf(datagram).setUint16(4, datagram.length);
  datagram.set(payload, 8);
  return datagram;
}

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const headerLength = (packet: Uint8Array): number => (packet[0]! & 15) * 4;

export function fixHeaderChecksum(packet: Uint8Array): void {
  viewOf(packet).setUint16(10, 0);
  viewOf(packet).setUint16(10, checksum(packet.subarray(0, headerLength(packet))));
}

/** Of TCP or UDP, unfragmented. */
export function fixTransportChecksum(packet: Uint8Array): void {
  const start = headerLength(packet);
  const field = start + (packet[9] === 6 ? 16 : 6);
  viewOf(packet).setUint16(field, 0);
  const value = transportChecksum(packet);
  viewOf(packet).setUint16(field, packet[9] === 17 && value === 0 ? 0xffff : value);
}

/** 0 if the checksum in the packet is right. */
function transportChecksum(packet: Uint8Array): number {
  const transport = packet.subarray(headerLength(packet));
  const pseudo = new Uint8Array(12);
  pseudo.set(packet.subarray(12, 20));
  pseudo[9] = packet[9]!;
  viewOf(pseudo).setUint16(10, transport.length);
  return checksum(transport, 0xffff - checksum(pseudo));
}

export const isWholeIpv4 = (packet: Uint8Array): boolean =>
  packet.length >= 20 &&
  packet[0]! >> 4 === 4 &&
  headerLength(packet) >= 20 &&
  headerLength(packet) <= packet.length &&
  viewOf(packet).getUint16(2) === packet.length &&
  checksum(packet.subarray(0, headerLength(packet))) === 0;

/** As a router: a copy with one off the TTL, or undefined if it expires. */
export function hop(packet: Uint8Array): Uint8Array | undefined {
  if (packet[8]! <= 1) return undefined;
  const copy = packet.slice();
  copy[8] = copy[8]! - 1;
  fixHeaderChecksum(copy);
  return copy;
}

/** The packets that the kernel or a network card sends for a packet with this virtio header. */
export function segment(packet: Uint8Array, virtio: Virtio): Uint8Array[] {
  if (virtio.type === "none") {
    const copy = packet.slice();
    if (virtio.needsChecksum) {
      const field = virtio.checksumStart + virtio.checksumOffset;
      const value = checksum(copy.subarray(virtio.checksumStart));
      viewOf(copy).setUint16(field, value === 0 ? 0xffff : value);
    }
    return [copy];
  }
  const ip = headerLength(packet);
  const headers = ip + (virtio.type === "tcp" ? (packet[ip + 12]! >> 4) * 4 : 8);
  const payload = packet.subarray(headers);
  const view = viewOf(packet);
  const parts: Uint8Array[] = [];
  for (let start = 0; start < Math.max(1, payload.length); start += virtio.segmentBytes) {
    const part = payload.subarray(start, start + virtio.segmentBytes);
    const isLast = start + virtio.segmentBytes >= payload.length;
    const out = new Uint8Array(headers + part.length);
    out.set(packet.subarray(0, headers));
    out.set(part, headers);
    const outView = viewOf(out);
    outView.setUint16(2, out.length);
    outView.setUint16(4, (view.getUint16(4) + parts.length) & 0xffff);
    if (virtio.type === "tcp") {
      outView.setUint32(ip + 4, (view.getUint32(ip + 4) + start) >>> 0);
      if (!isLast) out[ip + 13] = out[ip + 13]! & ~0x09; // FIN, PSH
      if (start > 0) out[ip + 13] = out[ip + 13]! & ~0x80; // CWR
    } else {
      outView.setUint16(ip + 4, out.length - ip);
    }
    fixHeaderChecksum(out);
    fixTransportChecksum(out);
    parts.push(out);
  }
  return parts;
}

/** Identifies a flow, whose packets have to keep their order. */
export function flowOf(packet: Uint8Array): string {
  const view = viewOf(packet);
  const hosts = `${view.getUint32(12)} ${view.getUint32(16)} ${packet[9]}`;
  const isPlain = packet[0] === 0x45 && (view.getUint16(6) & 0x3fff) === 0 && packet.length >= 24;
  return isPlain && (packet[9] === 6 || packet[9] === 17)
    ? `${hosts} ${view.getUint32(20)}`
    : `${hosts} other`;
}
