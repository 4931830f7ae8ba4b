/** As much of IPv4 (RFC 791) as a plain tunnel needs. */

const sumOf = (bytes: Uint8Array): number => {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += bytes[index]! * 256 + (bytes[index + 1] ?? 0);
  return sum % 0xffff || 0xffff;
};

/** Length and header checksum are right, TCP's and UDP's too where the packet is no fragment. */
export function isWholeIpv4(packet: Uint8Array): boolean {
  const header = (packet[0]! & 15) * 4;
  if (packet[0]! >> 4 !== 4 || packet[2]! * 256 + packet[3]! !== packet.length) return false;
  if (sumOf(packet.subarray(0, header)) !== 0xffff) return false;
  const isFragment = ((packet[6]! << 8) | packet[7]!) & 0x3fff;
  const protocol = packet[9]!;
  if (isFragment || (protocol !== 6 && protocol !== 17)) return true;
  const transport = packet.subarray(header);
  if (protocol === 17 && transport[6] === 0 && transport[7] === 0) return true;
  const pseudo = Uint8Array.of(
    ...packet.subarray(12, 20),
    0,
    protocol,
    transport.length >> 8,
    transport.length & 255,
  );
  return (sumOf(pseudo) + sumOf(transport)) % 0xffff === 0;
}

/** Decrements the TTL and updates the checksum; false if the TTL expires. */
export function decrementTtl(packet: Uint8Array): boolean {
  if (packet[8]! <= 1) return false;
  packet[8]!--;
  packet[10] = 0;
  packet[11] = 0;
  const checksum = 0xffff - sumOf(packet.subarray(0, (packet[0]! & 15) * 4));
  packet[10] = checksum >> 8;
  packet[11] = checksum & 255;
  return true;
}
