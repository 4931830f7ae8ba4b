/** Where the status server listens, and which clients its TCP port serves, from the flags. */

import { basename, dirname, extname, join } from "node:path";
import { type ListenAddress, parseListenAddress } from "./listen-address.ts";
import type { FlagReader } from "./options-reader.ts";
import type { FlanneldFlags } from "./options-table.ts";

export interface StatusOptions {
  /** Undefined = no TCP port. */
  readonly listen: ListenAddress | undefined;
  /** Path of the unix socket, which is root's; undefined = none. */
  readonly socket: string | undefined;
  /** Clients of the TCP port send the token of this file; undefined = none is needed. */
  readonly tokenFile: string | undefined;
  /** The TCP port serves HTTPS with these files; undefined = HTTP. */
  readonly tls: StatusTls | undefined;
}

interface StatusTls {
  readonly certFile: string;
  readonly keyFile: string;
  /** Only clients with a certificate of this authority are served; undefined = all. */
  readonly clientCaFile: string | undefined;
}

const OFF = "off";
const PORT_FLAGS = [
  "status-token-file",
  "status-tls-cert-file",
  "status-tls-key-file",
  "status-tls-client-ca-file",
] as const;

/** Throws ConfigError for the first fault. Files are read by the server. */
export function readStatusOptions(read: FlagReader<FlanneldFlags>): StatusOptions {
  const listen = readStatusListen(read);
  const idle = listen === undefined && PORT_FLAGS.find((name) => read.text(name) !== undefined);
  if (idle)
    throw read.fault(
      idle,
      "protects the TCP port, but --status-listen is off: give an address, or leave it out",
    );
  return {
    listen,
    socket: statusSocketOf(read.text("status-socket"), read.required("subnet-file")),
    tokenFile: read.text("status-token-file"),
    tls: readStatusTls(read),
  };
}

function readStatusListen(read: FlagReader<FlanneldFlags>): ListenAddress | undefined {
  const text = read.text("status-listen");
  if (text === undefined || text === OFF) return undefined;
  const address = parseListenAddress(text);
  if (address !== undefined) return address;
  throw read.fault(
    "status-listen",
    `${JSON.stringify(text)} is no address and port like 127.0.0.1:7000 or [::1]:7000, nor "${OFF}"`,
  );
}

function readStatusTls(read: FlagReader<FlanneldFlags>): StatusTls | undefined {
  const [certFile, keyFile, clientCaFile] = [
    read.text("status-tls-cert-file"),
    read.text("status-tls-key-file"),
    read.text("status-tls-client-ca-file"),
  ];
  if (certFile !== undefined && keyFile !== undefined) return { certFile, keyFile, clientCaFile };
  if (certFile !== undefined)
    throw read.fault("status-tls-cert-file", "a certificate needs its key: give --status-tls-key-file too");
  if (keyFile !== undefined)
    throw read.fault("status-tls-key-file", "a key needs its certificate: give --status-tls-cert-file too");
  if (clientCaFile !== undefined)
    throw read.fault(
      "status-tls-client-ca-file",
      "clients send certificates over TLS only: give --status-tls-cert-file and --status-tls-key-file too",
    );
  return undefined;
}

/** By default `flanneld.sock` beside `subnet.env`, and `NAME.sock` beside `NAME.env`: one for each flanneld of a host. */
function statusSocketOf(given: string | undefined, subnetFile: string): string | undefined {
  if (given !== undefined) return given === OFF ? undefined : given;
  const name = basename(subnetFile, extname(subnetFile));
  return join(dirname(subnetFile), `${name === "subnet" ? "flanneld" : name}.sock`);
}
