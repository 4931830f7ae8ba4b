/**
 * The certificate and key of the status server, and the authority of its clients' certificates. They are read again when
 * they change, so that certificates are replaced on disk without a restart.
 */

import { X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { ConfigError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { readRegularFile } from "../base/regular-file.ts";
import { readSecret } from "./access.ts";

/** Paths of PEM files. With `clientCaFile` only clients with a certificate of that authority are served. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCaFile: string | undefined;
}

const MAX_BYTES = 256 * 1024;

/** What the files contain. Throws ConfigError, with the flag that names the unusable one. */
export function readTlsFiles({ certFile, keyFile, clientCaFile }: TlsFiles): SecureContextOptions {
  const cert = readCertificates("--status-tls-cert-file", certFile);
  const key = readSecret("--status-tls-key-file", keyFile, MAX_BYTES);
  const ca =
    clientCaFile === undefined ? undefined : readCertificates("--status-tls-client-ca-file", clientCaFile);
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new ConfigError(
      `--status-tls-key-file: ${keyFile} is not the unencrypted private key of ${certFile}: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return { cert, key, ...(ca === undefined ? {} : { ca }) };
}

/** Reads the files again and again. Those that are being replaced are unusable for a moment: the previous ones stay in use. */
export class TlsReload {
  readonly #files: TlsFiles;
  readonly #logger: Logger;
  #problem: string | undefined;

  constructor(files: TlsFiles, logger: Logger) {
    this.#files = files;
    this.#logger = logger;
  }

  /** What the files contain now; undefined if they are unusable, which is logged once for each reason. */
  read(): SecureContextOptions | undefined {
    try {
      const options = readTlsFiles(this.#files);
      if (this.#problem !== undefined) this.#logger.info("Reloaded the certificate of the status server");
      this.#problem = undefined;
      return options;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem)
        this.#logger.warn(
          `Failed to reload the certificate of the status server; the previous one stays in use: ${problem}`,
        );
      this.#problem = problem;
      return undefined;
    }
  }
}

function readCertificates(flag: string, path: string): string {
  try {
    const text = readRegularFile(path, MAX_BYTES);
    new X509Certificate(text);
    return text;
  } catch (error) {
    throw new ConfigError(
      `${flag}: ${path} contains no usable certificate in PEM form: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
}
