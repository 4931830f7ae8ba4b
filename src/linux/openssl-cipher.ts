/**
 * ChaCha20-Poly1305 (RFC 8439) on packet memory, through OpenSSL's EVP interface (EVP_EncryptInit(3)): a context keeps one
 * key, each packet only sets the nonce. A call of createCipheriv would cost ten times as much.
 */

import { FlannelError } from "../base/error.ts";
import type { PacketMemory } from "../packet/packet-memory.ts";
import { TAG_BYTES, type TransportCipher } from "../wireguard/protocol/primitives.ts";
import { addressOf, openssl } from "./ffi.ts";

// openssl/evp.h
const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;
const UNCHANGED = -1;
const NONCE_BYTES = 12;

/** Makes ciphers that work on this memory, of which it needs 128 bytes. */
export function createCipherFactory(
  memory: PacketMemory,
): (key: Uint8Array, isForSealing: boolean) => TransportCipher {
  const { bytes, view } = memory;
  const base = addressOf(bytes);
  const algorithm = openssl.chacha20Poly1305();
  const scratch = memory.reserve(64);
  const keyOffset = memory.reserve(32);
  const nonce = base + scratch;
  const written = base + scratch + 16;
  const setNonce = (counter: number): void => {
    view.setUint32(scratch + 4, counter >>> 0, true);
    view.setUint32(scratch + 8, Math.floor(counter / 2 ** 32), true);
  };
  return (key, isForSealing) => {
    const context = openssl.newCipher();
    bytes.set(key, keyOffset);
    bytes.fill(0, scratch, scratch + NONCE_BYTES);
    const direction = isForSealing ? 1 : 0;
    const isReady =
      context !== 0 && openssl.initCipher(context, algorithm, 0, base + keyOffset, nonce, direction);
    bytes.fill(0, keyOffset, keyOffset + key.length);
    if (isReady !== 1) throw new FlannelError("EIO", "OpenSSL has no ChaCha20-Poly1305 for WireGuard");
    return {
      seal(counter, offset, length) {
        setNonce(counter);
        const at = base + offset;
        if (
          openssl.initCipher(context, 0, 0, 0, nonce, UNCHANGED) !== 1 ||
          (length > 0 && openssl.updateCipher(context, at, written, at, length) !== 1) ||
          openssl.finishCipher(context, at + length, written) !== 1 ||
          openssl.controlCipher(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, at + length) !== 1
        )
          throw new FlannelError("EIO", "OpenSSL failed to encrypt a packet");
      },
      open(counter, offset, length) {
        const at = base + offset;
        const textBytes = length - TAG_BYTES;
        if (textBytes < 0) return false;
        setNonce(counter);
        return (
          openssl.initCipher(context, 0, 0, 0, nonce, UNCHANGED) === 1 &&
          openssl.controlCipher(context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, at + textBytes) === 1 &&
          (textBytes === 0 || openssl.updateCipher(context, at, written, at, textBytes) === 1) &&
          openssl.finishCipher(context, at + textBytes, written) === 1
        );
      },
      destroy: () => openssl.freeCipher(context),
    };
  };
}
