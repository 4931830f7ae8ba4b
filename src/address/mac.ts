/** Ethernet MAC addresses (IEEE 802) as text "c6:d2:32:6f:8f:44". */

/** Canonical text (lower case, colons) of a 48-bit MAC written with colons or dashes; undefined if invalid. */
export function parseMac(text: string): string | undefined {
  if (!/^[\da-f]{2}([:-])(?:[\da-f]{2}\1){4}[\da-f]{2}$/i.test(text)) return undefined;
  return text.toLowerCase().replaceAll("-", ":");
}

/** "c6:d2:32:6f:8f:44" from six bytes. */
const formatMacBytes = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");

/** Whether a canonical MAC names one station: neither a group address nor all zeros (IEEE 802 §8.2). */
export const isUnicastMac = (mac: string): boolean =>
  (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0 && mac !== "00:00:00:00:00:00";

/** A MAC made of six random bytes, marked locally administered and unicast. */
export function localMac(random: Uint8Array): string {
  const bytes = Uint8Array.from(random.subarray(0, 6));
  bytes[0] = (bytes[0]! & 0xfe) | 0x02;
  return formatMacBytes(bytes);
}
