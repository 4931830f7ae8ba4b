/**
 * This host's WireGuard keys: its private key, in a file as wg(8) has it (base64, one line), and the preshared keys that the
 * network config brought. Cryptography is that of node:crypto (X25519, RFC 7748).
 */

import { createHash, createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { ConfigError, hasCode, messageOf } from "../base/error.ts";
import { makeDirectory } from "../base/make-directory.ts";
import { base64Of, parseKey } from "../wireguard/base64.ts";
import type { WireguardSecrets } from "../wireguard/provider.ts";

/** RFC 8410: the DER of a PKCS #8 key of X25519 up to its 32 bytes. */
const PKCS8_X25519 = Buffer.from("302e020100300506032b656e04220420", "hex");
const KEY_BYTES = 32;
/** Nothing but the owner's read permission. */
const OTHERS = 0o077;

export class WireguardKeys implements WireguardSecrets {
  readonly #path: string;
  readonly #isReadOnly: boolean;
  readonly #presharedKeys = new Map<string, Uint8Array>();
  readonly #secrets = new Map<string, string>();
  #own: { readonly privateKey: Uint8Array; readonly publicKey: string } | undefined;

  /** `path` is read when the key is first needed, and created if it does not exist, except if read-only. */
  constructor(path: string, { isReadOnly = false } = {}) {
    this.#path = path;
    this.#isReadOnly = isReadOnly;
  }

  /** In base64; "(new)" if the file does not exist and is not to be created. Throws ConfigError with the remedy. */
  publicKey(): string {
    if (this.#isReadOnly && !existsSync(this.#path)) return "(new)";
    this.#own ??= withPublicKey(readOrCreateKey(this.#path));
    return this.#own.publicKey;
  }

  /** Throws ConfigError, without the key in its message. */
  registerPresharedKey(text: string): string {
    const key = parseKey(text);
    if (key === undefined)
      throw new ConfigError(
        "network config: Backend.PSK is not a preshared key: 32 bytes in base64, as 'wg genpsk' prints them",
      );
    const fingerprint = this.fingerprintOf(key);
    this.#presharedKeys.set(fingerprint, key);
    return fingerprint;
  }

  registerSecret(text: string): string {
    const fingerprint = this.fingerprintOf(Buffer.from(text));
    this.#secrets.set(fingerprint, text);
    return fingerprint;
  }

  /** The text with a fingerprint; undefined = unknown. */
  secretOf(fingerprint: string): string | undefined {
    return this.#secrets.get(fingerprint);
  }

  privateKeyOf(publicKey: string): Uint8Array | undefined {
    return this.#own?.publicKey === publicKey ? this.#own.privateKey : undefined;
  }

  presharedKeyOf(fingerprint: string): Uint8Array | undefined {
    return this.#presharedKeys.get(fingerprint);
  }

  /** Eight bytes of a hash: enough to tell keys apart, and of no use to find one. */
  fingerprintOf(key: Uint8Array): string {
    return `sha256:${createHash("sha256").update("flannel preshared key").update(key).digest("hex").slice(0, 16)}`;
  }
}

const withPublicKey = (privateKey: Uint8Array) => ({
  privateKey,
  publicKey: base64Of(publicKeyOf(privateKey)),
});

/** X25519 of the base point (RFC 7748 §6.1). */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_X25519, privateKey]);
  const secret = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const { x } = createPublicKey(secret).export({ format: "jwk" });
  return new Uint8Array(Buffer.from(x!, "base64url"));
}

function readOrCreateKey(path: string): Uint8Array {
  try {
    return readKey(path);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw explained("read", path, error);
  }
  try {
    createKey(path);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw explained("create", path, error); // another process was faster
  }
  try {
    return readKey(path);
  } catch (error) {
    throw explained("read", path, error);
  }
}

const explained = (action: "read" | "create", path: string, error: unknown): ConfigError =>
  error instanceof ConfigError
    ? error
    : new ConfigError(`failed to ${action} the WireGuard key file ${path}: ${messageOf(error)}`, {
        cause: error,
      });

/** A key that others can read is as good as known to them. */
function readKey(path: string): Uint8Array {
  // Opening a pipe must not wait for a writer.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile())
      throw new ConfigError(
        `the WireGuard key file ${path} is not a regular file: remove it to get a new key, or set WIREGUARD_KEY_FILE to another path`,
      );
    const { mode, uid, size } = stats;
    const self = process.geteuid?.() ?? 0;
    if ((mode & OTHERS) !== 0)
      throw new ConfigError(
        `the WireGuard key file ${path} can be read by others (mode 0${(mode & 0o777).toString(8)}): 'chmod 0400 ${path}', or delete it to get a new key`,
      );
    if (uid !== self && uid !== 0)
      throw new ConfigError(
        `the WireGuard key file ${path} belongs to user ${uid}, who can change it: 'chown ${self} ${path}', or delete it to get a new key`,
      );
    const key = size > 200 ? undefined : parseKey(readFileSync(fd, "utf8").trim());
    if (key !== undefined) return key;
    throw new ConfigError(
      `the WireGuard key file ${path} ${size === 0 ? "is empty" : "does not hold a key of 32 bytes in base64"}: delete it to get a new key, or write one with 'wg genkey'`,
    );
  } finally {
    closeSync(fd);
  }
}

/** Written beside and linked into its place, so that no other process ever sees half a key. */
function createKey(path: string): void {
  makeDirectory(dirname(path));
  const fresh = `${path}.${process.pid}`;
  const fd = openSync(fresh, "wx", 0o400);
  try {
    writeSync(fd, `${base64Of(clamp(randomBytes(KEY_BYTES)))}\n`);
    fsyncSync(fd);
    linkSync(fresh, path);
  } finally {
    closeSync(fd);
    unlinkSync(fresh);
  }
}

/** RFC 7748 §5, as 'wg genkey' writes it. */
function clamp(key: Uint8Array): Uint8Array {
  key[0]! &= 248;
  key[31]! = (key[31]! & 127) | 64;
  return key;
}
