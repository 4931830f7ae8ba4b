/**
 * The header that the kernel puts before every packet of a TUN device opened with IFF_VNET_HDR, and expects there:
 * struct virtio_net_hdr (linux/virtio_net.h), in the machine's byte order, which is little-endian here.
 */

export const VNET_HEADER_BYTES = 10;

// Offsets of the fields.
export const VNET_FLAGS = 0;
export const VNET_GSO_TYPE = 1;
export const VNET_HEADER_LENGTH = 2;
export const VNET_GSO_SIZE = 4;
export const VNET_CSUM_START = 6;
export const VNET_CSUM_OFFSET = 8;

/** The checksum at csum_start + csum_offset has still to be computed, from csum_start on. */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;

export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
/** UDP segmentation of both families (Linux 6.2). */
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** Set in addition to the type: the TCP segments carry ECN's congestion marks. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;
