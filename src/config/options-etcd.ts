/** How to reach etcd, from the etcd flags: half-given security is refused rather than left out (W10). */

import { redactUrl } from "./flags-text.ts";
import type { FlagReader } from "./options-reader.ts";
import type { DatastoreFlags } from "./options-table.ts";

/** Where etcd is and who we are to it. Files are named here and read by the store. */
export interface EtcdConnectionOptions {
  /** "http://host:port" or "https://host:port" without path, user or password; at least one. */
  readonly endpoints: readonly string[];
  /** Key prefix without a slash at the end. */
  readonly prefix: string;
  /** Client key and certificate: both or neither. */
  readonly keyFile: string | undefined;
  readonly certFile: string | undefined;
  /** If undefined, servers are checked against the system's authorities. */
  readonly caFile: string | undefined;
  /** User and password: both or neither. */
  readonly username: string | undefined;
  readonly password: string | undefined;
}

interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Throws ConfigError for the first fault. */
export function readEtcdOptions(read: FlagReader<DatastoreFlags>): EtcdConnectionOptions {
  const keyFile = read.text("etcd-keyfile");
  const certFile = read.text("etcd-certfile");
  const caFile = read.text("etcd-cafile");
  if (keyFile !== undefined && certFile === undefined) {
    throw read.fault("etcd-keyfile", "a client key needs its certificate: give --etcd-certfile too");
  }
  if (certFile !== undefined && keyFile === undefined) {
    throw read.fault("etcd-certfile", "a client certificate needs its key: give --etcd-keyfile too");
  }
  const tlsFlag = caFile !== undefined ? "etcd-cafile" : certFile !== undefined ? "etcd-certfile" : undefined;
  const { endpoints, credentials } = readEndpoints(read, tlsFlag !== undefined);
  if (tlsFlag !== undefined && endpoints.some((endpoint) => endpoint.startsWith("http:"))) {
    throw read.fault(
      tlsFlag,
      "certificates are of no use with an http:// endpoint: write https:// in --etcd-endpoints, or leave the certificates out",
    );
  }
  const { username, password } = readCredentials(read) ?? credentials ?? {};
  return { endpoints, prefix: readEtcdPrefix(read), keyFile, certFile, caFile, username, password };
}

/** The key prefix without a slash at the end. Throws ConfigError. */
export function readEtcdPrefix(read: FlagReader<DatastoreFlags>): string {
  const prefix = read.required("etcd-prefix").replace(/\/+/g, "/").replace(/\/$/, "");
  if (prefix === "") throw read.fault("etcd-prefix", "must name a path such as /coreos.com/network");
  return prefix;
}

function readCredentials(read: FlagReader<DatastoreFlags>): Credentials | undefined {
  const username = read.text("etcd-username");
  const password = read.text("etcd-password");
  if (username !== undefined && password === undefined) {
    throw read.fault(
      "etcd-username",
      "a user name needs a password: give --etcd-password (or FLANNELD_ETCD_PASSWORD) too",
    );
  }
  if (password !== undefined && username === undefined) {
    throw read.fault("etcd-password", "a password needs a user name: give --etcd-username too");
  }
  return username === undefined || password === undefined ? undefined : { username, password };
}

function readEndpoints(
  read: FlagReader<DatastoreFlags>,
  isTls: boolean,
): { endpoints: string[]; credentials: Credentials | undefined } {
  const texts = read.flags.values["etcd-endpoints"];
  if (texts.length === 0) throw read.fault("etcd-endpoints", "is empty: give at least one URL");
  // A stray comma or slash in a password would make half of it look like an endpoint: then none is shown.
  const holdsSecret = texts.some((text) => text.includes("@"));
  let credentials: Credentials | undefined;
  const endpoints = texts.map((text, index) => {
    const shown = holdsSecret ? `endpoint ${index + 1}` : JSON.stringify(redactUrl(text));
    const url = URL.parse(
      /^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `${isTls ? "https" : "http"}://${text}`,
    );
    if (url === null || (url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") {
      throw read.fault("etcd-endpoints", `${shown} is not of the form http://host:port or https://host:port`);
    }
    if (url.pathname !== "/" || url.search !== "" || url.hash !== "") {
      throw read.fault(
        "etcd-endpoints",
        `${shown} must end after the port (key paths go into --etcd-prefix)`,
      );
    }
    credentials ??= credentialsOf(url);
    return `${url.protocol}//${url.host}`;
  });
  return { endpoints, credentials };
}

/** The user and password of the first endpoint that has them count for all: etcd has one set of users per cluster. */
function credentialsOf(url: URL): Credentials | undefined {
  if (url.username === "" || url.password === "") return undefined;
  return { username: decode(url.username), password: decode(url.password) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone "%" means itself
  }
}
