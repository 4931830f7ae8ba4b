/**
 * ChaCha20-Poly1305 (RFC 8439) on packet memory, through OpenSSL's EVP interface (EVP_EncryptInit(3)): a context keeps one
 * key, each packet only sets the nonce. A call of createCipheriv would cost ten times as much. Tags are passed as parameters
 * (OSSL_PARAM(3)) that are laid out once: a call of EVP_CIPHER_CTX_ctrl would build them again for each packet.
 */

import { FlannelError } from "../base/error.ts";
import type { PacketMemory } from "../packet/packet-memory.ts";
import { TAG_BYTES, type TransportCipher } from "../wireguard/protocol/primitives.ts";
import { addressOf, openssl } from "./ffi.ts";

const NONCE_BYTES = 12;

// openssl/core.h: struct ossl_param_st; an array of them ends with one of zeros
const OSSL_PARAM_BYTES = 40;
const PARAM_TYPE = 8;
const PARAM_DATA = 16;
const PARAM_DATA_SIZE = 24;
const OSSL_PARAM_OCTET_STRING = 5;
/** OSSL_CIPHER_PARAM_AEAD_TAG (openssl/core_names.h). */
const TAG_PARAMETER = "tag\0";

/** Makes ciphers that work on this memory, of which it needs 256 bytes. */
export function createCipherFactory(
  memory: PacketMemory,
): (key: Uint8Array, isForSealing: boolean) => TransportCipher {
  const { bytes, view, words } = memory;
  const base = addressOf(bytes);
  const algorithm = openssl.chacha20Poly1305();
  const scratch = memory.reserve(64);
  const keyOffset = memory.reserve(32);
  const tagName = memory.reserve(TAG_PARAMETER.length);
  const tagParameter = memory.reserve(2 * OSSL_PARAM_BYTES);
  bytes.set(new TextEncoder().encode(TAG_PARAMETER), tagName);
  view.setBigUint64(tagParameter, BigInt(base + tagName), true);
  view.setUint32(tagParameter + PARAM_TYPE, OSSL_PARAM_OCTET_STRING, true);
  view.setUint32(tagParameter + PARAM_DATA_SIZE, TAG_BYTES, true);
  const parameters = base + tagParameter;
  const baseLow = base % 2 ** 32;
  const baseHigh = Math.floor(base / 2 ** 32);
  const nonce = base + scratch;
  const written = base + scratch + 16;
  const setNonce = (counter: number): void => {
    words[(scratch + 4) >> 2] = counter;
    words[(scratch + 8) >> 2] = counter / 2 ** 32;
  };
  const setTagOffset = (offset: number): void => {
    const low = baseLow + offset;
    words[(tagParameter + PARAM_DATA) >> 2] = low;
    words[(tagParameter + PARAM_DATA + 4) >> 2] = low < 2 ** 32 ? baseHigh : baseHigh + 1;
  };
  return (key, isForSealing) => {
    const context = openssl.newCipher();
    bytes.set(key, keyOffset);
    bytes.fill(0, scratch, scratch + NONCE_BYTES);
    const init = isForSealing ? openssl.encryptInit : openssl.decryptInit;
    const isReady = context !== 0 && init(context, algorithm, base + keyOffset, nonce, 0);
    bytes.fill(0, keyOffset, keyOffset + key.length);
    if (isReady !== 1) throw new FlannelError("EIO", "OpenSSL has no ChaCha20-Poly1305 for WireGuard");
    return {
      seal(counter, from, to, length) {
        setNonce(counter);
        setTagOffset(to + length);
        if (
          openssl.encryptInit(context, 0, 0, nonce, 0) !== 1 ||
          (length > 0 && openssl.updateCipher(context, base + to, written, base + from, length) !== 1) ||
          openssl.finishCipher(context, base + to, written) !== 1 ||
          openssl.getCipherParameters(context, parameters) !== 1
        )
          throw new FlannelError("EIO", "OpenSSL failed to encrypt a packet");
      },
      open(counter, offset, length) {
        const at = base + offset;
        const textBytes = length - TAG_BYTES;
        if (textBytes < 0) return false;
        setNonce(counter);
        setTagOffset(offset + textBytes);
        return (
          openssl.decryptInit(context, 0, 0, nonce, parameters) === 1 &&
          (textBytes === 0 || openssl.updateCipher(context, at, written, at, textBytes) === 1) &&
          openssl.finishCipher(context, at, written) === 1
        );
      },
      destroy: () => openssl.freeCipher(context),
    };
  };
}
