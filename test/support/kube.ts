/**
 * A Kubernetes cluster for tests of flanneld: hosts as in underlay.ts, a node object for each, and an API server in this
 * process that the hosts reach through their relays, over TLS. flanneld runs as in its pod: with the service account's
 * token and authority where the kubelet mounts them, and with no more rights than its ClusterRole gives.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { parseSubnetEnv } from "../../src/config/subnet-env.ts";
import { KubeApiServer, type KubeObject } from "../../src/kube-server/kube-api-server.ts";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import { KUBE_RULES } from "../../src/lease/kube/rbac.ts";
import { addContainer, type Container } from "../netns/agents.ts";
import { makeCertificates } from "./certificates.ts";
import { type Flanneld, spawnFlanneld } from "./flanneld.ts";
import { withServiceAccount } from "./pod-view.ts";
import { makeHosts, type TestHost } from "./underlay.ts";

const USER = "system:serviceaccount:kube-flannel:flannel";
const ANNOTATIONS = "flannel.alpha.coreos.com/";
export const NETWORK = { Network: "10.244.0.0/16", Backend: { Type: "vxlan" } };

export interface KubeHost extends TestHost {
  /** "node-1". */
  readonly nodeName: string;
  /** "fd00:7::1", in a bed with IPv6. */
  readonly ipv6: string;
}

export interface KubeBed {
  readonly api: KubeApiServer;
  readonly hosts: readonly KubeHost[];
  /** net-conf.json of all hosts, as the ConfigMap's volume has it. */
  readonly configFile: string;
  writeConfig(config: object | string): void;
  /** The token that is right from now on, for the API server and in the pods. */
  rotateToken(token: string): void;
  node(host: KubeHost): KubeObject;
  /** flannel's annotations of the host's node, without their prefix. */
  annotations(host: KubeHost): Record<string, string>;
  /** Writes annotations of flannel's, `null` takes one away. */
  annotate(host: KubeHost, annotations: Readonly<Record<string, string | null>>): void;
  /** Path of a kubeconfig with the pods' token, for programs of the host outside of its pod. */
  kubeconfig(host: KubeHost): string;
  condition(host: KubeHost): { readonly status?: string; readonly reason?: string } | undefined;
  /** Starts flanneld in the host's pod. */
  start(host: KubeHost, options?: PodOptions): Flanneld;
  /** Starts it and waits until it is ready. */
  ready(host: KubeHost, options?: PodOptions): Promise<Flanneld>;
}

interface PodOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface BedOptions {
  readonly config?: object | string;
  /** What node number `n` is given; default 10.244.n.0/24. */
  readonly podCIDRs?: (n: number) => readonly string[];
  readonly ipv6?: boolean;
}

export async function makeKubeBed(t: TestContext, count: number, options: BedOptions = {}): Promise<KubeBed> {
  const { config = NETWORK, podCIDRs = (n) => [`10.244.${n}.0/24`] } = options;
  const directory = mkdtempSync(join(tmpdir(), `flannel-kube-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  using certificates = makeCertificates();
  const [cert, key] = [certificates.server.cert, certificates.server.key].map((path) =>
    readFileSync(path, "utf8"),
  ) as [string, string];
  const api = await KubeApiServer.start({ tls: { cert, key }, tokens: [] });
  t.after(() => api[Symbol.asyncDispose]());
  const account = mkdtempSync(join(directory, "account-"));
  writeFileSync(join(account, "ca.crt"), readFileSync(certificates.ca));
  const configFile = join(directory, "net-conf.json");
  const hosts = (await makeHosts(t, { endpoint: api.url }, count)).map((host, index): KubeHost => {
    const ipv6 = `fd00:7::${index + 1}`;
    if (options.ipv6) addIpv6(host, ipv6);
    const nodeName = `node-${index + 1}`;
    api.nodes.create(makeNode(nodeName, { podCIDRs: podCIDRs(index + 1), paddingBytes: 2_000 }));
    return { ...host, nodeName, ipv6 };
  });

  const bed: KubeBed = {
    api,
    hosts,
    configFile,
    writeConfig(config) {
      writeFileSync(configFile, typeof config === "string" ? config : JSON.stringify(config));
    },
    rotateToken(token) {
      api.setTokens([{ token, user: USER, rules: KUBE_RULES }]);
      writeFileSync(join(account, "token"), token);
    },
    node: ({ nodeName }) => api.nodes.get(nodeName)!,
    annotations(host) {
      const all = Object.entries(bed.node(host).metadata.annotations ?? {});
      const ours = all.filter(([name]) => name.startsWith(ANNOTATIONS));
      return Object.fromEntries(ours.map(([name, value]) => [name.slice(ANNOTATIONS.length), value]));
    },
    annotate({ nodeName }, annotations) {
      const named = Object.entries(annotations).map(([name, value]) => [ANNOTATIONS + name, value]);
      api.nodes.patch(nodeName, { metadata: { annotations: Object.fromEntries(named) } });
    },
    kubeconfig(host) {
      const path = join(host.directory, "kubeconfig");
      const [server, user] = [`https://127.0.0.1:${host.line.port}`, { tokenFile: join(account, "token") }];
      const config = {
        "current-context": "here",
        contexts: [{ name: "here", context: { cluster: "c", user: "u" } }],
        clusters: [{ name: "c", cluster: { server, "certificate-authority": join(account, "ca.crt") } }],
        users: [{ name: "u", user }],
      };
      writeFileSync(path, JSON.stringify(config));
      return path;
    },
    condition(host) {
      return bed.node(host).status?.conditions?.find(({ type }) => type === "NetworkUnavailable");
    },
    start: (host, { args = [], env = { NODE_NAME: host.nodeName } } = {}) =>
      spawnFlanneld(t, host, {
        args: [
          ...["--kube-subnet-mgr", `--net-config-path=${configFile}`, `--subnet-file=${host.subnetFile}`],
          ...args,
        ],
        env: {
          ...env,
          KUBERNETES_SERVICE_HOST: "127.0.0.1",
          KUBERNETES_SERVICE_PORT: String(host.line.port),
        },
        through: withServiceAccount(account),
      }),
    async ready(host, options) {
      const flanneld = bed.start(host, options);
      await flanneld.logged(/flanneld is ready/);
      return flanneld;
    },
  };
  bed.writeConfig(config);
  bed.rotateToken("first");
  return bed;
}

function addIpv6(host: TestHost, address: string): void {
  host.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1");
  host.run("ip", "address", "add", `${address}/64`, "dev", "eth0", "nodad");
  host.run("ip", "-6", "route", "add", "default", "via", "fd00:7::fe");
}

/** A container on the host, as its subnet.env says. */
export const addPod = (t: TestContext, host: TestHost): Container =>
  addContainer(t, host, { env: () => parseSubnetEnv(readFileSync(host.subnetFile, "utf8")) });

/** Whether the host has a route of flannel's to this subnet. */
export const hasRoute = (host: TestHost, subnet: string, ...device: string[]): boolean =>
  host.json("ip", "-json", "route", "show", subnet, "proto", "70", ...device).length > 0;
