/**
 * WireGuard's cryptography from libraries: node:crypto, and for what it does not offer (keyed BLAKE2s, packets in place) the
 * OpenSSL inside Node.js.
 */

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from "node:crypto";
import { FlannelError } from "../base/error.ts";
import { createPacketMemory, type PacketMemory } from "../packet/packet-memory.ts";
import { type PrivateKey, TAG_BYTES, type WireguardPrimitives } from "../wireguard/protocol/primitives.ts";
import { addressOf, openssl } from "./ffi.ts";
import { createCipherFactory } from "./openssl-cipher.ts";

/** RFC 8410: the DER of X25519 keys up to their 32 bytes. */
const PKCS8_X25519 = Buffer.from("302e020100300506032b656e04220420", "hex");
const SPKI_X25519 = Buffer.from("302a300506032b656e032100", "hex");
const AEAD = "chacha20-poly1305";
const ZERO_NONCE = new Uint8Array(12);

/** Transport ciphers work on `memory`. */
export const createWireguardCrypto = (memory: PacketMemory): WireguardPrimitives => ({
  randomBytes: (count) => new Uint8Array(randomBytes(count)),
  importKey: (bytes) =>
    privateKeyOf(
      createPrivateKey({ key: Buffer.concat([PKCS8_X25519, bytes]), format: "der", type: "pkcs8" }),
    ),
  generateKey: () => privateKeyOf(generateKeyPairSync("x25519").privateKey),
  hash: (...parts) => digest(createHash("blake2s256"), parts),
  hmac: (key, ...parts) => digest(createHmac("blake2s256", key), parts),
  mac: createMac(),
  seal: (key, plaintext, associated) => seal(key, ZERO_NONCE, plaintext, associated),
  open: (key, ciphertext, associated) => open(key, ZERO_NONCE, ciphertext, associated),
  sealX: (key, nonce, plaintext, associated) =>
    seal(hchacha20(key, nonce), nonceX(nonce), plaintext, associated),
  openX: (key, nonce, ciphertext, associated) =>
    open(hchacha20(key, nonce), nonceX(nonce), ciphertext, associated),
  createCipher: createCipherFactory(memory),
});

function privateKeyOf(key: KeyObject): PrivateKey {
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return {
    publicKey: new Uint8Array(spki.subarray(SPKI_X25519.length)),
    agree(publicKey) {
      try {
        const der = Buffer.concat([SPKI_X25519, publicKey]);
        return diffieHellman({
          privateKey: key,
          publicKey: createPublicKey({ key: der, format: "der", type: "spki" }),
        });
      } catch {
        return undefined; // OpenSSL refuses a shared secret of zeros
      }
    },
  };
}

function digest(
  state: { update(data: Uint8Array): unknown; digest(): Uint8Array },
  parts: readonly Uint8Array[],
): Uint8Array {
  for (const part of parts) state.update(part);
  return state.digest();
}

function seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array {
  const cipher = createCipheriv(AEAD, key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(associated, { plaintextLength: plaintext.length });
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function open(
  key: Uint8Array,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  associated: Uint8Array,
): Uint8Array | undefined {
  const textBytes = ciphertext.length - TAG_BYTES;
  if (textBytes < 0) return undefined;
  const decipher = createDecipheriv(AEAD, key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(associated, { plaintextLength: textBytes });
  decipher.setAuthTag(ciphertext.subarray(textBytes));
  const text = decipher.update(ciphertext.subarray(0, textBytes));
  try {
    decipher.final();
    return text;
  } catch {
    return undefined;
  }
}

/** draft-irtf-cfrg-xchacha-03 §2.3: four zero bytes and the rest of the nonce. */
function nonceX(nonce: Uint8Array): Uint8Array {
  const short = new Uint8Array(12);
  short.set(nonce.subarray(16), 4);
  return short;
}

/** "expand 32-byte k" (RFC 8439 §2.3). */
const CHACHA_CONSTANTS = Uint32Array.of(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574);

/**
 * The subkey of XChaCha20 (draft §2.2): rows 1 and 4 of ChaCha20's state after its rounds. OpenSSL's ChaCha20 gives the
 * state after the rounds plus the state before them (RFC 8439 §2.3), so that is subtracted again.
 */
function hchacha20(key: Uint8Array, nonce: Uint8Array): Uint8Array {
  const block = createCipheriv("chacha20", key, nonce.subarray(0, 16)).update(new Uint8Array(64));
  const sum = new DataView(block.buffer, block.byteOffset, 64);
  const start = new DataView(nonce.buffer, nonce.byteOffset, 16);
  const subkey = new DataView(new ArrayBuffer(32));
  for (let word = 0; word < 4; word++) {
    subkey.setUint32(word * 4, sum.getUint32(word * 4, true) - CHACHA_CONSTANTS[word]!, true);
    subkey.setUint32(
      16 + word * 4,
      sum.getUint32(48 + word * 4, true) - start.getUint32(word * 4, true),
      true,
    );
  }
  return new Uint8Array(subkey.buffer);
}

// openssl/core.h: struct ossl_param_st, and its type
const OSSL_PARAM_UNSIGNED_INTEGER = 2;
const MAC_BYTES = 16;
/** Longest message that is authenticated in one go. */
const MOST_MAC_DATA_BYTES = 256;

/** EVP_MAC-BLAKE2(7), with a size of 16. */
function createMac(): WireguardPrimitives["mac"] {
  const memory = createPacketMemory(1);
  const { bytes, view } = memory;
  const base = addressOf(bytes);
  const [key, data, out, size, name, parameters] = [32, MOST_MAC_DATA_BYTES, 32, 8, 8, 80].map(
    memory.reserve,
  ) as [number, number, number, number, number, number];
  bytes.set(new TextEncoder().encode("size\0"), name);
  view.setBigUint64(size, BigInt(MAC_BYTES), true);
  view.setBigUint64(parameters, BigInt(base + name), true);
  view.setUint32(parameters + 8, OSSL_PARAM_UNSIGNED_INTEGER, true);
  view.setBigUint64(parameters + 16, BigInt(base + size), true);
  view.setBigUint64(parameters + 24, 8n, true);
  const mac = openssl.fetchMac(0, "BLAKE2SMAC", 0);
  const context = mac === 0 ? 0 : openssl.newMac(mac);
  if (context === 0) throw new FlannelError("EIO", "OpenSSL has no keyed BLAKE2s for WireGuard");
  return (secret, message) => {
    bytes.set(secret, key);
    bytes.set(message, data);
    const isDone =
      openssl.initMac(context, base + key, secret.length, base + parameters) === 1 &&
      openssl.updateMac(context, base + data, message.length) === 1 &&
      openssl.finishMac(context, base + out, base + out + 16, MAC_BYTES) === 1;
    bytes.fill(0, key, key + secret.length);
    if (!isDone) throw new FlannelError("EIO", "OpenSSL failed to compute keyed BLAKE2s");
    return bytes.slice(out, out + MAC_BYTES);
  };
}
