/** What the data path's thread works on. The descriptors belong to the process; the code that opened them closes them. */

/** A TUN device that is open for packets. */
export interface OpenTun {
  readonly fd: number;
  /** Every packet has a struct virtio_net_hdr before it, in both directions. */
  readonly hasVirtioHeader: boolean;
  /** The kernel passes super-packets of the protocol, and accepts them. */
  readonly joinsTcp: boolean;
  readonly joinsUdp: boolean;
}

/** A bound UDP socket. */
export interface OpenUdp {
  readonly fd: number;
  /** The kernel splits messages into datagrams (UDP_SEGMENT, since Linux 4.18). */
  readonly segments: boolean;
  /** The kernel may pass joined datagrams (UDP_GRO, since Linux 5.0). */
  readonly joins: boolean;
}

export interface TunnelDescriptors {
  readonly tun: OpenTun;
  readonly udp: OpenUdp;
  /** A raw IPv4 socket (raw(7)) for our own messages to containers; -1 without CAP_NET_RAW. */
  readonly rawFd: number;
  /** UDP port of the peers. */
  readonly port: number;
  /** An eventfd(2): readable = there is a message for the thread. */
  readonly wakeFd: number;
}
