/** Listen addresses and certificates of the embedded store's server, from etcd-style flags. */

import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { ConfigError, messageOf } from "../base/error.ts";
import type { Listen, ServerTls } from "./grpc/front-door.ts";

/**
 * Parses "127.0.0.1:2379", "[::1]:2379" or "store.example.com:2379"; port 0 = any free port. `flag` names its source in
 * messages. Throws ConfigError.
 */
export function parseListenAddress(text: string, flag: string): Listen {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new ConfigError(
      `${flag}: ${JSON.stringify(text)} is not ADDRESS:PORT, such as 127.0.0.1:2379 or [::1]:2379`,
    );
  }
  return { host: (match[1] ?? match[2])!, port };
}

/** Whether the address is reachable from this machine only. */
export const isLoopback = ({ host }: Listen): boolean =>
  host === "localhost" || host === "::1" || host.startsWith("127.");

/** Paths of PEM files, each with its flag; "" = not given. */
export interface ServerTlsFiles {
  readonly cert: NamedFile;
  readonly key: NamedFile;
  /** Clients must have a certificate signed by one of these authorities. */
  readonly clientCa: NamedFile;
}

interface NamedFile {
  readonly flag: string;
  readonly path: string;
}

/** Reads and checks the files; undefined = none given: no TLS. Throws ConfigError that names the flag and the file. */
export function readServerTls({ cert, key, clientCa }: ServerTlsFiles): ServerTls | undefined {
  if (cert.path === "" && key.path === "") {
    if (clientCa.path === "") return undefined;
    throw new ConfigError(`${clientCa.flag} requires TLS; give ${cert.flag} and ${key.flag} too`);
  }
  for (const [missing, given] of [
    [cert, key],
    [key, cert],
  ] as const) {
    if (missing.path === "")
      throw new ConfigError(`${given.flag} and ${missing.flag} go together; give both`);
  }
  const tls = {
    cert: readPem(cert),
    key: readPem(key),
    clientCa: clientCa.path === "" ? undefined : readPem(clientCa),
  };
  try {
    createSecureContext({ cert: tls.cert, key: tls.key, ...(tls.clientCa && { ca: tls.clientCa }) });
  } catch (cause) {
    throw new ConfigError(
      `${cert.flag} ${cert.path} and ${key.flag} ${key.path} do not match: ${messageOf(cause)}`,
      { cause },
    );
  }
  return tls;
}

function readPem({ flag, path }: NamedFile): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError(`${flag}: failed to read ${path}: ${messageOf(cause)}`, { cause });
  }
  if (!text.includes("-----BEGIN ")) throw new ConfigError(`${flag}: ${path} is not a PEM file`);
  return text;
}
