/**
 * IPv4 and IPv6 addresses as plain values, their text forms (RFC 4291 §2.2, RFC 5952 for IPv6 output) and bytes.
 */

/** An IP version: 4 or 6. */
export type Family = 4 | 6;

/** An address: `value` is its 32 or 128 bits as an unsigned number. */
export interface Ip {
  readonly family: Family;
  readonly value: bigint;
}

/** An address in network byte order, 4 or 16 bytes at a place of a larger block: for those that handle thousands. */
export interface AddressBytes {
  readonly family: Family;
  readonly bytes: Uint8Array;
  readonly at: number;
}

/** Number of bits in an address of the family. */
export const bitsOf = (family: Family): number => (family === 4 ? 32 : 128);

/** Parses "10.5.0.1" or "fc00::1" (also with a dotted tail). Undefined if it is neither; zone ids are refused. */
export function parseIp(text: string): Ip | undefined {
  if (text.includes(":")) {
    const value = parseIpv6Value(text);
    return value === undefined ? undefined : { family: 6, value };
  }
  const value = parseIpv4Number(text);
  return value === undefined ? undefined : { family: 4, value: BigInt(value) };
}

/** The text form: dotted quad, or IPv6 as RFC 5952 wants it (lower case, longest run of zeros shortened). */
export function formatIp(ip: Ip): string {
  return ip.family === 4 ? formatIpv4Number(Number(ip.value)) : formatIpv6Groups(groupsOfValue(ip.value));
}

/** Network byte order, 4 or 16 bytes. */
export function ipToBytes(ip: Ip): Uint8Array {
  const bytes = new Uint8Array(ip.family === 4 ? 4 : 16);
  let rest = ip.value;
  for (let index = bytes.length - 1; index >= 0; index--) {
    bytes[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** From 4 or 16 bytes in network byte order; any other length is undefined. */
export function ipFromBytes(bytes: Uint8Array): Ip | undefined {
  if (bytes.length !== 4 && bytes.length !== 16) return undefined;
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** Text form straight from bytes, for decoders that see thousands; 4 or 16 bytes, else undefined. */
export function formatIpBytes(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== 16) return undefined;
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2) groups.push((bytes[index]! << 8) | bytes[index + 1]!);
  return formatIpv6Groups(groups);
}

/** Bytes straight from text, for encoders that write thousands; undefined if the text is no address. */
export function parseIpBytes(text: string): Uint8Array | undefined {
  if (text.includes(":")) {
    const value = parseIpv6Value(text);
    return value === undefined ? undefined : ipToBytes({ family: 6, value });
  }
  const value = parseIpv4Number(text);
  if (value === undefined) return undefined;
  return Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

/** Whether two addresses are the same. */
export const sameIp = (a: Ip, b: Ip): boolean => a.family === b.family && a.value === b.value;

/** Character by character: decoders and encoders of thousands of entries come through here. */
function parseIpv4Number(text: string): number | undefined {
  let value = 0;
  let octet = -1; // -1: no digit of this octet yet
  let dots = 0;
  for (let index = 0; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 48;
    if (digit >= 0 && digit <= 9) {
      if (octet === 0) return undefined; // "010" may mean eight to others: refused
      octet = octet < 0 ? digit : octet * 10 + digit;
      if (octet > 255) return undefined;
    } else if (digit === -2 && octet >= 0 && dots < 3) {
      value = value * 256 + octet;
      octet = -1;
      dots++;
    } else {
      return undefined;
    }
  }
  return dots === 3 && octet >= 0 ? value * 256 + octet : undefined;
}

const formatIpv4Number = (value: number): string =>
  `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;

function parseIpv6Value(text: string): bigint | undefined {
  let body = text;
  const lastColon = text.lastIndexOf(":");
  const tail = text.slice(lastColon + 1);
  if (tail.includes(".")) {
    const dotted = parseIpv4Number(tail);
    if (dotted === undefined) return undefined;
    body = `${text.slice(0, lastColon + 1)}${(dotted >>> 16).toString(16)}:${(dotted & 0xffff).toString(16)}`;
  }
  const halves = body.split("::");
  if (halves.length > 2) return undefined;
  const head = splitGroups(halves[0]!);
  const rear = halves.length === 2 ? splitGroups(halves[1]!) : [];
  if (head === undefined || rear === undefined) return undefined;
  const given = head.length + rear.length;
  if (halves.length === 2 ? given > 7 : given !== 8) return undefined;
  const groups = [...head, ...new Array<number>(8 - given).fill(0), ...rear];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

function splitGroups(text: string): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  for (const part of text.split(":")) {
    if (!/^[\da-f]{1,4}$/i.test(part)) return undefined;
    groups.push(Number.parseInt(part, 16));
  }
  return groups;
}

function groupsOfValue(value: bigint): number[] {
  const groups: number[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(Number((value >> shift) & 0xffffn));
  return groups;
}

function formatIpv6Groups(groups: readonly number[]): string {
  let runStart = -1;
  let runLength = 1; // a single zero group is not shortened (RFC 5952 §4.2.2)
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > runLength) {
      runStart = start;
      runLength = end - start;
    }
    if (end > start) start = end;
  }
  const isMappedIpv4 = runStart === 0 && runLength === 5 && groups[5] === 0xffff;
  if (isMappedIpv4) {
    return `::ffff:${formatIpv4Number(((groups[6]! << 16) | groups[7]!) >>> 0)}`;
  }
  const hex = groups.map((group) => group.toString(16));
  if (runStart < 0) return hex.join(":");
  return `${hex.slice(0, runStart).join(":")}::${hex.slice(runStart + runLength).join(":")}`;
}

/** Whether an address is reachable in private networks only (RFC 1918, RFC 4193, link-local of RFC 4291). */
export function isPrivateIp({ family, value }: Ip): boolean {
  if (family === 6) return value >> 121n === 0x7en || value >> 118n === 0x3fan;
  return value >> 24n === 10n || value >> 20n === 0xac1n || value >> 16n === 0xc0a8n;
}
