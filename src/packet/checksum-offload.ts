/** Checksums that the kernel leaves to the device: VIRTIO_NET_HDR_F_NEEDS_CSUM (linux/virtio_net.h). */

import { IPV4_HEADER_BYTES } from "./ipv4.ts";
import type { PacketMemory } from "./packet-memory.ts";
import {
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VNET_CSUM_OFFSET,
  VNET_CSUM_START,
  VNET_FLAGS,
} from "./virtio-net-header.ts";

/**
 * Completes the checksum of TCP or UDP in the packet of `length` bytes at `offset`, if its header at `virtio` says that it is
 * incomplete. False if that header is malformed; the packet is then unchanged.
 */
export function completeChecksum(
  memory: PacketMemory,
  offset: number,
  length: number,
  virtio: number,
): boolean {
  const { bytes, view } = memory;
  if ((bytes[virtio + VNET_FLAGS]! & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0) return true;
  const start = view.getUint16(virtio + VNET_CSUM_START, true);
  const field = start + view.getUint16(virtio + VNET_CSUM_OFFSET, true);
  if (start < IPV4_HEADER_BYTES || field + 2 > length) return false;
  // The field holds the sum of the pseudo-header. 0 would mean “no checksum” for UDP, and is the same to TCP.
  view.setUint16(offset + field, ~memory.sum(offset + start, length - start) & 0xffff || 0xffff);
  return true;
}
