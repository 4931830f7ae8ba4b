/**
 * Who may read on a TCP port: anyone who reaches it, or clients with the token of a file (RFC 6750; as the password of
 * RFC 7617 too, which browsers ask for). The file is read again when it changes, so that a token is replaced without a
 * restart. The token is compared in constant time and never shown.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { statSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { ConfigError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { readRegularFile } from "../base/regular-file.ts";

/** How a request is identified. "bearer" is beyond what a web page can make a browser send. */
type Identity = "bearer" | "basic" | "none";

const MAX_BYTES = 4_096;
/** Shorter ones can be guessed. */
const MIN_CHARACTERS = 16;

/** The token of one file. */
export class TokenFile {
  readonly #path: string;
  readonly #logger: Logger;
  #digest: Buffer;
  #stamp: string;
  #problem: string | undefined;

  /** Throws ConfigError if the file is unusable; later the previous token stays valid, and the problem is logged once. */
  constructor(path: string, logger: Logger) {
    this.#path = path;
    this.#logger = logger;
    this.#stamp = stampOf(path);
    this.#digest = digestOf(readToken(path));
  }

  /** How the request proves that its sender knows the token; "none" if it does not. */
  identify({ headers: { authorization = "" } }: IncomingMessage): Identity {
    this.#reload();
    const [, scheme = "", credentials = ""] = /^(bearer|basic) +(\S+) *$/i.exec(authorization) ?? [];
    const isBasic = scheme.toLowerCase() === "basic";
    const token = isBasic
      ? Buffer.from(credentials, "base64")
          .toString("utf8")
          .replace(/^[^:]*:/, "")
      : credentials;
    // Digests have one length, independent of the length of what was sent.
    if (!timingSafeEqual(digestOf(token), this.#digest)) return "none";
    return isBasic ? "basic" : "bearer";
  }

  #reload(): void {
    try {
      const stamp = stampOf(this.#path);
      if (stamp === this.#stamp) return;
      this.#digest = digestOf(readToken(this.#path));
      this.#stamp = stamp;
      this.#problem = undefined;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem)
        this.#logger.warn(`Failed to reload the token; the previous one stays valid: ${problem}`);
      this.#problem = problem;
    }
  }
}

/** Text of a secret file. Throws ConfigError, also if every user can read or write it; `flag` begins the message. */
export function readSecret(flag: string, path: string, maxBytes: number): string {
  let text: string;
  try {
    // S_IROTH, S_IWOTH (stat.h)
    if ((statSync(path).mode & 0o006) !== 0)
      throw new ConfigError(`every user of this host can read or change ${path}: chmod 600 ${path}`);
    text = readRegularFile(path, maxBytes);
  } catch (error) {
    throw new ConfigError(`${flag}: ${messageOf(error)}`, { cause: error });
  }
  return text;
}

function readToken(path: string): string {
  const token = readSecret("--status-token-file", path, MAX_BYTES).trim();
  // RFC 6750, 2.1: b64token
  if (/^[\w.~+/-]+=*$/.test(token) && token.length >= MIN_CHARACTERS) return token;
  throw new ConfigError(
    `--status-token-file: ${path} does not contain one token of at least ${MIN_CHARACTERS} letters and digits (make one with: openssl rand -hex 32)`,
  );
}

function stampOf(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? "" : `${stats.ino} ${stats.size} ${stats.mtimeMs} ${stats.mode}`;
}

const digestOf = (token: string): Buffer => createHash("sha256").update(token).digest();
