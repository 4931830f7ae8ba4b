/**
 * How to reach etcd, from the etcd flags. Incomplete security settings are refused, not ignored (W10). The key prefix is
 * cleaned as Go flannel cleans it (https://pkg.go.dev/path#Clean), because both join it with "config" and "subnets".
 */

import { posix } from "node:path";
import { redactUrl } from "./flags-text.ts";
import type { FlagReader } from "./options-reader.ts";
import type { DatastoreFlags } from "./options-table.ts";

/** Where etcd is and how flanneld identifies itself. Files are named here and read by the store. */
export interface EtcdConnectionOptions {
  /** "http://host:port" or "https://host:port" without path, user or password; at least one. */
  readonly endpoints: readonly string[];
  /** Key prefix without a trailing slash: "/coreos.com/network", "" for the root. */
  readonly prefix: string;
  /** Client key and certificate: both or neither. */
  readonly keyFile: string | undefined;
  readonly certFile: string | undefined;
  /** Undefined = servers are verified by the system's certificate authorities. */
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

/** The key prefix, cleaned, without a trailing slash; "" for "/". Throws ConfigError. */
export function readEtcdPrefix(read: FlagReader<DatastoreFlags>): string {
  const text = read.required("etcd-prefix");
  const prefix = posix.normalize(text);
  // Go flannel's keys would be "config" and "../config": outside of every directory of etcd v2.
  if (prefix.replace(/\/$/, "") === "." || prefix.startsWith("..")) {
    throw read.fault(
      "etcd-prefix",
      `${JSON.stringify(text)} names no path; write one such as /coreos.com/network`,
    );
  }
  return prefix.replace(/\/$/, "");
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
  // With a comma or slash in a password, half of the password looks like an endpoint: then no endpoint is shown.
  const holdsSecret = texts.some((text) => text.includes("@"));
  let credentials: Credentials | undefined;
  const endpoints = texts.map((text, index) => {
    const shown = holdsSecret ? `endpoint ${index + 1}` : JSON.stringify(redactUrl(text));
    const url = URL.parse(
      /^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `${isTls ? "https" : "http"}://${text}`,
    );
    if (url === null || (url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") {
      throw read.fault(
        "etcd-endpoints",
        `${shown} is not of the form http://host:port or https://host:port${hintFor(text)}`,
      );
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

/** What is probably wrong with an endpoint that is no URL. */
function hintFor(text: string): string {
  if (/\S[\s;]+\S/.test(text)) return "; separate endpoints with commas";
  const host = text.replace(/^[a-z]+:\/\//i, "");
  if (/^[\da-f]*:[\da-f:]*:[\da-f:.]*$/i.test(host))
    return "; write an IPv6 address in brackets: [fd00::1]:2379";
  return "";
}

/** User and password of the first endpoint that has them apply to all: etcd has one set of users per cluster. */
function credentialsOf(url: URL): Credentials | undefined {
  if (url.username === "" || url.password === "") return undefined;
  return { username: decode(url.username), password: decode(url.password) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone "%" is literal
  }
}
