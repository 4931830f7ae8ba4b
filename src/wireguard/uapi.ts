/**
 * WireGuard's cross-platform userspace interface (wireguard.com/xplatform), as `wg show` asks for a device: one request in lines
 * of key=value, up to an empty line, and one answer. Only reading is served: settings of other programs would be repaired as drift.
 */

import type { ObservedDevice } from "./devices.ts";

/** Longest request that is read, in characters. */
export const MOST_REQUEST_CHARS = 4096;

// asm-generic/errno-base.h, asm-generic/errno.h
const EINVAL = 22;
const EOPNOTSUPP = 95;

/** The answer to a request without its empty line. */
export function answerUapi(
  request: string,
  device: ObservedDevice,
  privateKey: Uint8Array | undefined,
): string {
  if (request === "get=1") return `${describe(device, privateKey)}errno=0\n\n`;
  return `errno=-${request.startsWith("set=1") ? EOPNOTSUPP : EINVAL}\n\n`;
}

function describe({ listenPort, peers }: ObservedDevice, privateKey: Uint8Array | undefined): string {
  const lines = privateKey === undefined ? [] : [`private_key=${hexOf(privateKey)}`];
  lines.push(`listen_port=${listenPort}`);
  for (const peer of peers) {
    const seconds = Math.floor(peer.lastHandshakeSeconds);
    lines.push(
      `public_key=${hexOf(peer.publicKey)}`,
      `preshared_key=${hexOf(peer.presharedKey ?? new Uint8Array(32))}`,
      "protocol_version=1",
      ...(peer.endpoint === undefined ? [] : [`endpoint=${peer.endpoint}`]),
      `last_handshake_time_sec=${seconds}`,
      `last_handshake_time_nsec=${Math.floor((peer.lastHandshakeSeconds - seconds) * 1e9)}`,
      `tx_bytes=${peer.sentBytes}`,
      `rx_bytes=${peer.receivedBytes}`,
      `persistent_keepalive_interval=${peer.keepaliveSeconds}`,
      ...peer.allowedIps.map((prefix) => `allowed_ip=${prefix}`),
    );
  }
  return lines.map((line) => `${line}\n`).join("");
}

const hexOf = (key: Uint8Array): string => key.toHex();
