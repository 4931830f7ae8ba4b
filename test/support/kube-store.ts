/** What tests of the Kubernetes store are made of: an API server with just flanneld's rights, nodes, and stores of hosts. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIp } from "../../src/address/ip.ts";
import type { Logger } from "../../src/base/logger.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import type { KubeApiServer } from "../../src/kube-server/kube-api-server.ts";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import {
  createKubeLeaseStore,
  type KubeLeaseStore,
  type KubePorts,
  type KubeStoreOptions,
} from "../../src/lease/kube/kube-lease-store.ts";
import type { LeaseAttributes } from "../../src/lease/lease.ts";

export const PREFIX = "flannel.alpha.coreos.com";
export const NETWORK = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
export const DUAL_NETWORK = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
);

/** Of host 7: 192.168.0.7, and a MAC of its own. */
export const attributesOf = (host: number, mac = macOf(host)): LeaseAttributes => ({
  publicIp: parseIp(ipOf(host)),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: mac },
  backendV6Data: undefined,
});

export const macOf = (host: number): string => `02:00:00:00:${hex(host >> 8)}:${hex(host & 255)}`;

const ipOf = (host: number): string => `192.168.${host >> 8}.${host & 255}`;
const hex = (byte: number): string => byte.toString(16).padStart(2, "0");

/** With the prefix; null takes one away. */
export const annotated = (annotations: Readonly<Record<string, string | null>>, prefix = PREFIX) => ({
  metadata: {
    annotations: Object.fromEntries(
      Object.entries(annotations).map(([name, value]) => [`${prefix}/${name}`, value]),
    ),
  },
});

/** What host 7 of Go flannel writes. */
export const annotationsOfHost = (host: number, mac = macOf(host)): Record<string, string> => ({
  "kube-subnet-manager": "true",
  "public-ip": ipOf(host),
  "backend-type": "vxlan",
  "backend-data": `{"VNI":1,"VtepMAC":"${mac}"}`,
});

/** A node that a flannel on it has annotated: node 7 has 10.5.7.0/24, node 300 has 10.6.44.0/24. */
export function addPeer(
  api: KubeApiServer,
  host: number,
  podCIDRs: readonly string[] = [`10.${5 + (host >> 8)}.${host & 255}.0/24`],
): string {
  const name = `node-${host}`;
  const { annotations } = annotated(annotationsOfHost(host)).metadata;
  api.nodes.create(makeNode(name, { podCIDRs, annotations: annotations as Record<string, string> }));
  return name;
}

/** flannel's annotations of a node, without their prefix. */
export function annotationsIn(api: KubeApiServer, name: string, prefix = PREFIX): Record<string, string> {
  const all = Object.entries(api.nodes.get(name)?.metadata.annotations ?? {});
  const ours = all.filter(([full]) => full.startsWith(`${prefix}/`));
  return Object.fromEntries(ours.map(([full, value]) => [full.slice(prefix.length + 1), value]));
}

export const networkUnavailable = (api: KubeApiServer, name: string) =>
  api.nodes.get(name)?.status?.conditions?.find(({ type }) => type === "NetworkUnavailable");

/** Quick where the real ones would make tests slow. */
export const TEST_TIMINGS = { retryMinMs: 20, retryMaxMs: 200, configPollMs: 500 };

export interface KeptLog extends Logger {
  /** "W Watch on … lost" */
  readonly lines: readonly string[];
  readonly text: string;
}

export function keepLog(): KeptLog {
  const lines: string[] = [];
  const say = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  return {
    lines,
    get text() {
      return lines.join("\n");
    },
    info: say("I"),
    warn: say("W"),
    error: say("E"),
    debug: say("D"),
  };
}

/** The store of the host on `nodeName`. */
export const openKubeStore = (
  apiUrl: string | undefined,
  nodeName: string | undefined,
  options: Partial<KubeStoreOptions> = {},
  ports: Partial<KubePorts> = {},
): Promise<KubeLeaseStore> =>
  createKubeLeaseStore(
    {
      apiUrl,
      nodeName,
      annotationPrefix: PREFIX,
      netConfigPath: "/nonexistent/net-conf.json",
      setNodeNetworkUnavailable: true,
      ...options,
      timings: { ...TEST_TIMINGS, ...options.timings },
    },
    { logger: keepLog(), environment: {}, ...ports },
  );

export interface TemporaryDirectory extends Disposable {
  readonly path: string;
  /** The path of something in it. */
  at(name: string): string;
}

export function temporaryDirectory(): TemporaryDirectory {
  const path = mkdtempSync(join(tmpdir(), `flannel-kube-store-${process.pid}-`));
  return {
    path,
    at: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}
