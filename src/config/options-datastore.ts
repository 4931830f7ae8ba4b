/**
 * Which datastore, and how to reach it. The flags for etcd are the same for flanneld and flannelctl. The embedded store
 * speaks etcd's protocol, so it is reached as an etcd at the address where it serves.
 */

import { formatIp } from "../address/ip.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../address/prefix.ts";
import { messageOf } from "../base/error.ts";
import type { Environment } from "./flags.ts";
import { type ListenAddress, parseListenAddress } from "./listen-address.ts";
import { parseNetworkConfig } from "./network-config.ts";
import { type EtcdConnectionOptions, readEtcdOptions, readEtcdPrefix } from "./options-etcd.ts";
import { type KubeDatastore, readKubeDatastore } from "./options-kube.ts";
import type { FlagReader } from "./options-reader.ts";
import type { DatastoreFlags, StoreFlags } from "./options-table.ts";

/** A store to connect to: `etcd3` by gRPC, `etcd2` by the keys API of old clusters. */
interface RemoteDatastore {
  readonly kind: "etcd3" | "etcd2";
  readonly etcd: EtcdConnectionOptions;
}

/** The store that flanneld itself serves. */
export interface EmbeddedDatastore {
  readonly kind: "embedded";
  /** How this host reaches it. */
  readonly etcd: EtcdConnectionOptions;
  /** Its listen addresses, at least one. */
  readonly listen: readonly ListenAddress[];
  readonly dataDirectory: string;
  /** The network config to write if there is none (JSON); undefined = the operator writes it. */
  readonly initialConfig: string | undefined;
}

/** The datastores with etcd's protocol: operators may change their content. */
export type EtcdDatastore = RemoteDatastore | EmbeddedDatastore;

export type DatastoreOptions = EtcdDatastore | KubeDatastore;

/** Throws ConfigError for the first fault. */
export const readDatastore = (read: FlagReader<StoreFlags>, environment: Environment): DatastoreOptions =>
  readKubeDatastore(read, environment) ?? readEtcdDatastore(read);

/** Throws ConfigError for the first fault. */
export function readEtcdDatastore(read: FlagReader<DatastoreFlags>): EtcdDatastore {
  const kind = read.required("datastore");
  switch (kind) {
    case "etcd3":
    case "etcd2":
      refuseEmbeddedFlags(read, kind);
      return { kind, etcd: readEtcdOptions(read) };
    case "embedded":
      return readEmbedded(read);
    default:
      throw read.fault("datastore", `${JSON.stringify(kind)} is no datastore: use etcd3, etcd2 or embedded`);
  }
}

const EMBEDDED_ONLY = ["network", "embedded-listen", "embedded-data-dir"] as const;
const REMOTE_ONLY = [
  "etcd-endpoints",
  "etcd-cafile",
  "etcd-certfile",
  "etcd-keyfile",
  "etcd-username",
  "etcd-password",
] as const;

function refuseEmbeddedFlags(read: FlagReader<DatastoreFlags>, kind: string): void {
  const given = EMBEDDED_ONLY.find((name) => read.flags.sources[name] !== undefined);
  if (given === undefined) return;
  const instead = given === "network" ? ", or write the config with flannelctl config set" : "";
  throw read.fault(
    given,
    `belongs to the embedded store, but the datastore is ${kind}: leave it out, give --datastore=embedded${instead}`,
  );
}

function readEmbedded(read: FlagReader<DatastoreFlags>): EmbeddedDatastore {
  const given = REMOTE_ONLY.find((name) => read.flags.sources[name] !== undefined);
  if (given !== undefined) {
    throw read.fault(
      given,
      "is for a store elsewhere, but --datastore=embedded has one of its own: leave one of the two out " +
        "(other hosts reach this store with --datastore=etcd3 and --etcd-endpoints)",
    );
  }
  const listen = readListen(read);
  const prefix = readEtcdPrefix(read);
  return {
    kind: "embedded",
    etcd: {
      endpoints: [urlOf(listen[0]!)],
      prefix,
      keyFile: undefined,
      certFile: undefined,
      caFile: undefined,
      username: undefined,
      password: undefined,
    },
    listen,
    dataDirectory: read.required("embedded-data-dir"),
    initialConfig: readInitialConfig(read),
  };
}

function readListen(read: FlagReader<DatastoreFlags>): ListenAddress[] {
  const texts = read.flags.values["embedded-listen"];
  if (texts.length === 0) throw read.fault("embedded-listen", "is empty: give at least one address and port");
  return texts.map((text) => {
    const address = parseListenAddress(text);
    if (address !== undefined) return address;
    throw read.fault(
      "embedded-listen",
      `${JSON.stringify(text)} is no address and port like 127.0.0.1:2379 or [::1]:2379`,
    );
  });
}

/** A store that serves on all addresses is reached on the loopback. */
function urlOf({ ip, port }: ListenAddress): string {
  const isAny = ip.value === 0n;
  if (ip.family === 4) return `http://${isAny ? "127.0.0.1" : formatIp(ip)}:${port}`;
  return `http://[${isAny ? "::1" : formatIp(ip)}]:${port}`;
}

function readInitialConfig(read: FlagReader<DatastoreFlags>): string | undefined {
  const text = read.text("network");
  if (text === undefined) return undefined;
  const network: Prefix | undefined = parsePrefix(text);
  if (network === undefined || network.family !== 4) {
    throw read.fault(
      "network",
      `${JSON.stringify(text)} is not an IPv4 network in CIDR form like 10.5.0.0/16`,
    );
  }
  const config = JSON.stringify({ Network: formatPrefix(network), Backend: { Type: "vxlan" } });
  try {
    parseNetworkConfig(config);
  } catch (error) {
    throw read.fault("network", messageOf(error), { cause: error });
  }
  return config;
}
