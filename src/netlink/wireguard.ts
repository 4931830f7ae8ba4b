/**
 * WireGuard devices over generic netlink (linux/wireguard.h): a dump of the device with its peers, and changes. Keys are
 * bytes, so that they never show up in a description of a request.
 */

import { parseIpBytes } from "../address/ip.ts";
import { type AttributesOf, attributeTable, listOf } from "./attribute.ts";
import { GENLMSGHDR } from "./generic.ts";
import { ip, type Kind, bytes as rawBytes, string, u8, u16, u32, u64 } from "./kind.ts";
import { layoutOf, type NetlinkMessage, type NetlinkRequest, requestOf } from "./message.ts";
import { NetlinkDecodeError } from "./netlink-error.ts";

/** Name of the generic netlink family. */
export const WG_GENL_NAME = "wireguard";
const WG_GENL_VERSION = 1;
/** Bytes of a private, public or preshared key. */
const WG_KEY_LEN = 32;

const WG_CMD_GET_DEVICE = 0;
const WG_CMD_SET_DEVICE = 1;

const WGPEER_F_REMOVE_ME = 1 << 0;
const WGPEER_F_REPLACE_ALLOWEDIPS = 1 << 1;
const WGPEER_F_UPDATE_ONLY = 1 << 2;

// bits/socket.h
const AF_INET = 2;
const AF_INET6 = 10;

/** "192.168.7.2:51820", "[fd00:7::2]:51820" in `struct sockaddr_in` or `sockaddr_in6` (ip(7), ipv6(7)). */
const endpoint: Kind<string> = {
  decode(bytes, start, end) {
    const family = u16.decode(bytes, start, end);
    const port = (bytes[start + 2]! << 8) | bytes[start + 3]!;
    if (family === AF_INET && end - start >= 16) return `${ip.decode(bytes, start + 4, start + 8)}:${port}`;
    if (family === AF_INET6 && end - start >= 28)
      return `[${ip.decode(bytes, start + 8, start + 24)}]:${port}`;
    throw new NetlinkDecodeError(`endpoint of family ${family} in ${end - start} bytes`, start);
  },
  encode(writer, text) {
    const { address, port } = splitEndpoint(text);
    const value = parseIpBytes(address);
    if (value === undefined) throw new RangeError(`not an endpoint: ${text}`);
    const isIpv4 = value.length === 4;
    writer.u16(isIpv4 ? AF_INET : AF_INET6);
    writer.u8(port >> 8);
    writer.u8(port & 0xff);
    if (!isIpv4) writer.u32(0); // sin6_flowinfo
    for (const byte of value) writer.u8(byte);
    for (let padding = isIpv4 ? 8 : 4; padding > 0; padding--) writer.u8(0); // sin_zero; sin6_scope_id
  },
};

/** Address and port of "192.168.7.2:51820" or "[fd00:7::2]:51820". */
function splitEndpoint(text: string): { readonly address: string; readonly port: number } {
  const at = text.lastIndexOf(":");
  return { address: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}

const ALLOWED_IP = attributeTable({
  WGALLOWEDIP_A_FAMILY: [1, "family", u16],
  WGALLOWEDIP_A_IPADDR: [2, "address", ip],
  WGALLOWEDIP_A_CIDR_MASK: [3, "length", u8],
});

const PEER_ROWS = {
  WGPEER_A_PUBLIC_KEY: [1, "publicKey", rawBytes],
  WGPEER_A_PRESHARED_KEY: [2, "presharedKey", rawBytes],
  WGPEER_A_FLAGS: [3, "flags", u32],
  WGPEER_A_ENDPOINT: [4, "endpoint", endpoint],
  WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: [5, "keepaliveSeconds", u16],
  WGPEER_A_LAST_HANDSHAKE_TIME: [6, "lastHandshake", rawBytes],
  WGPEER_A_RX_BYTES: [7, "receivedBytes", u64],
  WGPEER_A_TX_BYTES: [8, "sentBytes", u64],
  WGPEER_A_ALLOWEDIPS: [9, "allowedIps", listOf(ALLOWED_IP)],
} as const;
type PeerAttributes = AttributesOf<typeof PEER_ROWS>;

const DEVICE = layoutOf(
  GENLMSGHDR,
  attributeTable({
    WGDEVICE_A_IFINDEX: [1, "ifindex", u32],
    WGDEVICE_A_IFNAME: [2, "ifname", string],
    WGDEVICE_A_PRIVATE_KEY: [3, "privateKey", rawBytes],
    WGDEVICE_A_PUBLIC_KEY: [4, "publicKey", rawBytes],
    WGDEVICE_A_FLAGS: [5, "flags", u32],
    WGDEVICE_A_LISTEN_PORT: [6, "listenPort", u16],
    WGDEVICE_A_PEERS: [8, "peers", listOf(attributeTable(PEER_ROWS))],
  }),
);

/** A peer as the kernel reports it. */
interface WireguardPeer {
  readonly publicKey: Uint8Array;
  /** Undefined = none (all zero). */
  readonly presharedKey: Uint8Array | undefined;
  /** "192.168.7.2:51820"; undefined = not known yet. It follows the peer when that roams. */
  readonly endpoint: string | undefined;
  /** 0 = off. */
  readonly keepaliveSeconds: number;
  /** "10.5.2.0/24", with all bits after the prefix 0. */
  readonly allowedIps: readonly string[];
  /** Seconds since the epoch; 0 = never. */
  readonly lastHandshakeSeconds: number;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
}

/** A device as the kernel reports it. */
export interface WireguardDevice {
  /** Undefined = it has no private key yet. */
  readonly publicKey: Uint8Array | undefined;
  readonly listenPort: number;
  readonly peers: readonly WireguardPeer[];
}

/** Asks for a device with all its peers; to be dumped. `family` = the number of {@link WG_GENL_NAME}. */
export const getWireguardDevice = (family: number, ifname: string): NetlinkRequest =>
  requestOf("WG_CMD_GET_DEVICE", family, 0, DEVICE, {
    ...{ command: WG_CMD_GET_DEVICE, version: WG_GENL_VERSION, ifname },
  });

/** Joins the messages of a dump: the peers of a large device come in several, and the allowed IPs of a peer may too. */
export function decodeWireguardDevice(messages: readonly NetlinkMessage[]): WireguardDevice {
  let publicKey: Uint8Array | undefined;
  let listenPort = 0;
  const peers: WireguardPeer[] = [];
  for (const { bytes, start, end } of messages) {
    const body = DEVICE.decode(bytes, start, end);
    publicKey ??= nonZero(body.publicKey);
    listenPort ||= body.listenPort ?? 0;
    for (const each of body.peers ?? []) {
      const peer = peerOf(each);
      const last = peers.at(-1);
      if (last?.publicKey.every((byte, at) => byte === peer.publicKey[at]))
        peers[peers.length - 1] = { ...last, allowedIps: [...last.allowedIps, ...peer.allowedIps] };
      else peers.push(peer);
    }
  }
  return { publicKey, listenPort, peers };
}

function peerOf(attributes: PeerAttributes): WireguardPeer {
  const { publicKey, presharedKey, lastHandshake } = attributes;
  return {
    publicKey: publicKey ?? new Uint8Array(WG_KEY_LEN),
    presharedKey: nonZero(presharedKey),
    endpoint: attributes.endpoint,
    keepaliveSeconds: attributes.keepaliveSeconds ?? 0,
    allowedIps: (attributes.allowedIps ?? []).flatMap(({ address, length }) =>
      address === undefined ? [] : [`${address}/${length ?? 0}`],
    ),
    lastHandshakeSeconds: lastHandshake === undefined ? 0 : Number(u64.decode(lastHandshake, 0, 8)),
    receivedBytes: attributes.receivedBytes ?? 0n,
    sentBytes: attributes.sentBytes ?? 0n,
  };
}

/** Sets the key and the UDP port of a device. EADDRINUSE if another program has the port and the device is up. */
export const setWireguardDevice = (
  family: number,
  ifname: string,
  settings: { readonly privateKey: Uint8Array; readonly listenPort: number },
): NetlinkRequest =>
  requestOf("WG_CMD_SET_DEVICE", family, 0, DEVICE, {
    ...{ command: WG_CMD_SET_DEVICE, version: WG_GENL_VERSION, ifname },
    ...settings,
  });

/** What a peer is to have; all of it is set. */
export interface WireguardPeerSpec {
  readonly publicKey: Uint8Array;
  /** Undefined = none. */
  readonly presharedKey: Uint8Array | undefined;
  /** Undefined = leave it as it is. */
  readonly endpoint: string | undefined;
  readonly keepaliveSeconds: number;
  /** "10.5.2.0/24". */
  readonly allowedIps: readonly string[];
}

/**
 * Makes or changes peers, in order; the first that the kernel refuses ends it. Allowed IPs of a peer are replaced, and taken
 * from any other peer of the device that has them. All of them have to fit into an attribute: see {@link peerBytes}.
 */
export const setWireguardPeers = (
  family: number,
  ifname: string,
  peers: readonly WireguardPeerSpec[],
): NetlinkRequest =>
  requestOf("WG_CMD_SET_DEVICE", family, 0, DEVICE, {
    ...{ command: WG_CMD_SET_DEVICE, version: WG_GENL_VERSION, ifname },
    peers: peers.map((peer) => ({
      publicKey: peer.publicKey,
      presharedKey: peer.presharedKey ?? new Uint8Array(WG_KEY_LEN),
      flags: WGPEER_F_REPLACE_ALLOWEDIPS,
      endpoint: peer.endpoint,
      keepaliveSeconds: peer.keepaliveSeconds,
      allowedIps: peer.allowedIps.map((prefix) => {
        const slash = prefix.indexOf("/");
        const address = prefix.slice(0, slash);
        const family = address.includes(":") ? AF_INET6 : AF_INET;
        return { family, address, length: Number(prefix.slice(slash + 1)) };
      }),
    })),
  });

/** What a peer takes at most in a message: its attributes with their headers, and 40 bytes for each allowed IP. */
export const peerBytes = ({ allowedIps }: WireguardPeerSpec): number => 140 + 40 * allowedIps.length;

/** Removes a peer; nothing happens if there is none. */
export const removeWireguardPeer = (family: number, ifname: string, publicKey: Uint8Array): NetlinkRequest =>
  requestOf("WG_CMD_SET_DEVICE", family, 0, DEVICE, {
    ...{ command: WG_CMD_SET_DEVICE, version: WG_GENL_VERSION, ifname },
    peers: [{ publicKey, flags: WGPEER_F_REMOVE_ME | WGPEER_F_UPDATE_ONLY }],
  });

const nonZero = (key: Uint8Array | undefined): Uint8Array | undefined =>
  key?.some((byte) => byte !== 0) === true ? key : undefined;
