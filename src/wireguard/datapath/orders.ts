/** Messages between the main thread and the thread of a userspace WireGuard device. */

/** Descriptors of the device. They belong to the process; the code that opened them closes them. */
export interface WireguardDescriptors {
  readonly tunFd: number;
  readonly hasVirtioHeader: boolean;
  readonly joinsTcp: boolean;
  readonly joinsUdp: boolean;
  /** UDP sockets on the same port; -1 = the kernel does not have the family. */
  readonly ipv4Fd: number;
  readonly ipv6Fd: number;
  readonly segments: boolean;
  /** An eventfd(2): readable = there is an order. */
  readonly wakeFd: number;
}

/** A peer as it is set, with all its allowed IPs. */
export interface PeerOrder {
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array | undefined;
  /** A socket address; undefined = it stays. */
  readonly endpoint: Uint8Array | undefined;
  readonly keepaliveSeconds: number;
  /** "10.5.2.0/24". */
  readonly allowedIps: readonly string[];
}

export type DeviceOrder =
  /** The first order, sent once. */
  | { readonly type: "start"; readonly descriptors: WireguardDescriptors }
  | { readonly type: "key"; readonly privateKey: Uint8Array }
  | { readonly type: "mtu"; readonly mtuBytes: number }
  | { readonly type: "peer"; readonly peer: PeerOrder }
  | { readonly type: "remove peer"; readonly publicKey: Uint8Array }
  /** The peers are complete as far as they are known now: packets that wait on the TUN device can be sent. */
  | { readonly type: "open" }
  | { readonly type: "status" }
  | { readonly type: "stop" };

export interface PeerStatus {
  readonly publicKey: Uint8Array;
  /** "192.168.7.2:51820"; undefined = unknown. */
  readonly endpoint: string | undefined;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** Wall clock of the last handshake; 0 = never. */
  readonly lastHandshakeMs: number;
}

export type DeviceReport =
  | { readonly type: "status"; readonly peers: readonly PeerStatus[] }
  | { readonly type: "stopped"; readonly deviceLost: boolean };
