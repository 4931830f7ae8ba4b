/** IPsec security associations (xfrm, linux/xfrm.h): listed and deleted. The IKE daemon makes them. */

import { fromAf, toAf } from "./family.ts";
import { ip, u16, u32 } from "./kind.ts";
import { type Layout, type NetlinkMessage, type NetlinkRequest, requestOf } from "./message.ts";
import { NetlinkDecodeError } from "./netlink-error.ts";

const XFRM_MSG_NEWSA = 0x10;
const XFRM_MSG_DELSA = 0x11;
const XFRM_MSG_GETSA = 0x12;
/** Up to the family, in `struct xfrm_usersa_info`. */
const NEEDED_BYTES = 214;
const ADDRESS_BYTES = 16;
const IPV4_BYTES = 4;

/** sizeof(struct xfrm_usersa_info). */
const STATE_INFO_BYTES = 224;
const XFRM_MODE_TUNNEL = 1;
const XFRMA_ALG_AEAD = 18;
/** AES-128 and the salt. */
const AEAD_KEY_BYTES = 20;

/** A security association; `spi` in host byte order, 0 = the kernel waits for its negotiation. */
export interface XfrmState {
  readonly source: string;
  readonly destination: string;
  readonly spi: number;
  /** IP protocol: 50 = ESP. */
  readonly protocol: number;
  /** Number that ties it to policies. */
  readonly reqid: number;
}

/** Decodes XFRM_MSG_NEWSA, of a dump. */
export function decodeXfrmState({ bytes, start, end }: NetlinkMessage): XfrmState {
  if (end - start < NEEDED_BYTES) throw new NetlinkDecodeError(`xfrm state: ${end - start} bytes`, start);
  const family = fromAf(u16.decode(bytes, start + 212, end));
  const addressAt = (at: number) =>
    ip.decode(bytes, start + at, start + at + (family === 4 ? IPV4_BYTES : ADDRESS_BYTES));
  return {
    source: addressAt(80),
    destination: addressAt(56),
    spi: new DataView(bytes.buffer, bytes.byteOffset).getUint32(start + 72),
    protocol: bytes[start + 76]!,
    reqid: u32.decode(bytes, start + 208, end),
  };
}

/** `struct xfrm_usersa_id`. */
const STATE_ID: Layout<XfrmState> = {
  decode: () => {
    throw new NetlinkDecodeError("xfrm_usersa_id is never received", 0);
  },
  encode(writer, value) {
    const { destination, spi, protocol } = value as XfrmState;
    ip.encode(writer, destination);
    const isIpv4 = !destination.includes(":");
    for (let left = isIpv4 ? ADDRESS_BYTES - IPV4_BYTES : 0; left > 0; left--) writer.u8(0);
    for (const shift of [24, 16, 8, 0]) writer.u8((spi >>> shift) & 0xff);
    writer.u16(toAf(isIpv4 ? 4 : 6));
    writer.u8(protocol);
    writer.u8(0); // padding
  },
};

/** `struct xfrm_usersa_info`: an ESP tunnel with AES-GCM and a key of zeros. */
const ESP_STATE: Layout<XfrmState> = {
  decode: STATE_ID.decode,
  encode(writer, value) {
    const { source, destination, spi, protocol, reqid } = value as XfrmState;
    const info = new Uint8Array(STATE_INFO_BYTES);
    const view = new DataView(info.buffer);
    const copyAddress = (address: string, at: number) => info.set(address.split(".").map(Number), at);
    copyAddress(destination, 56);
    view.setUint32(72, spi);
    info[76] = protocol;
    copyAddress(source, 80);
    info.fill(0xff, 96, 128); // no limits of bytes and packets (XFRM_INF)
    view.setUint32(208, reqid, true);
    view.setUint16(40, toAf(4), true);
    view.setUint16(212, toAf(4), true);
    info[214] = XFRM_MODE_TUNNEL;
    for (const byte of info) writer.u8(byte);
    // `struct xfrm_algo_aead`: name, bits of the key, bits of the integrity value
    const algorithm = new Uint8Array(64 + 8 + AEAD_KEY_BYTES);
    algorithm.set(new TextEncoder().encode("rfc4106(gcm(aes))"));
    const numbers = new DataView(algorithm.buffer);
    numbers.setUint32(64, AEAD_KEY_BYTES * 8, true);
    numbers.setUint32(68, 128, true);
    writer.u16(4 + algorithm.length);
    writer.u16(XFRMA_ALG_AEAD);
    for (const byte of algorithm) writer.u8(byte);
  },
};

/** Makes an ESP tunnel over IPv4 with a key of zeros: to see whether the kernel can. */
export const newEspState = (state: XfrmState): NetlinkRequest =>
  requestOf("XFRM_MSG_NEWSA", XFRM_MSG_NEWSA, 0, ESP_STATE, state);

/** An empty body. */
const NOTHING: Layout<object> = { decode: () => ({}), encode: () => {} };

/** Asks for all security associations, in a dump. */
export const getXfrmStates = (): NetlinkRequest =>
  requestOf("XFRM_MSG_GETSA", XFRM_MSG_GETSA, 0, NOTHING, {});

/** Deletes one; ESRCH if it is not there. */
export const deleteXfrmState = (state: XfrmState): NetlinkRequest =>
  requestOf("XFRM_MSG_DELSA", XFRM_MSG_DELSA, 0, STATE_ID, state);
