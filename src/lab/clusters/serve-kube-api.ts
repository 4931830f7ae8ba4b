/**
 * `flannelctl lab serve-kube-api`: the Kubernetes of a lab in one process. The API server, and what else flannel meets
 * of a cluster: kubelets that register a node for each host of the lab and report its containers as pods, and a controller that
 * gives nodes their podCIDRs.
 */

import { existsSync, readFileSync, watch } from "node:fs";
import { Klog, writeToStderr } from "../../base/klog.ts";
import { type Command, defineCommand } from "../../config/command.ts";
import { KubeApiServer, type KubeObjects } from "../../kube-server/kube-api-server.ts";
import { makeNode, makePod } from "../../kube-server/objects/node-object.ts";
import { KUBE_RULES, POLICY_RULES } from "../../lease/kube/rbac.ts";
import { type CniContainer, type Container, type Host, labDirectory } from "../plan/topology.ts";
import { readState, STATE_FILE } from "../record/lab-state.ts";
import { KUBE_API_PORT, type KubeApiConfig, podNetworksOf } from "./kube-files.ts";
import { assignPodCidrs } from "./pod-cidrs.ts";

/** Between looks for nodes that have no podCIDR. */
const CONTROLLER_MS = 50;
const EVERYTHING = [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }];

export const serveKubeApiCommand = (): Command =>
  defineCommand({
    summary: 'the API server of a lab with --kube, run by "lab up"',
    synopsis: "FILE",
    flags: {},
    takes: { words: ["FILE"] },
    run: ({ positional: [file] }) => serve(JSON.parse(readFileSync(file!, "utf8")) as KubeApiConfig),
  });

async function serve(config: KubeApiConfig): Promise<number> {
  const logger = new Klog({ write: writeToStderr, verbosity: 0, pid: process.pid });
  const stopped = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stopped.resolve());
  const { lab, host, cert, key, administratorToken, flannelToken, networkPolicy } = config;
  const rules = networkPolicy ? [...KUBE_RULES, ...POLICY_RULES] : KUBE_RULES;
  await using server = await KubeApiServer.start({
    host,
    port: KUBE_API_PORT,
    tls: { cert, key },
    tokens: [
      { token: administratorToken, user: "kubernetes-admin", rules: EVERYTHING },
      { token: flannelToken, user: "system:serviceaccount:kube-flannel:flannel", rules },
    ],
  });
  logger.info(`Serving the Kubernetes API of lab ${lab} at ${server.url}`);
  using _kubelets = followHosts(lab, server, logger);
  using _controller = controlPodCidrs(server.nodes, podNetworksOf(config));
  await stopped.promise;
  return 0;
}

/** Registers a node for each host that comes, and its containers as pods, and takes them away with the host. */
function followHosts(lab: string, { nodes, pods }: KubeApiServer, logger: Klog): Disposable {
  const known = new Set<string>();
  const look = (): void => {
    const hosts = readState(lab)?.topology.hosts;
    if (hosts === undefined) return; // the lab is being taken down
    for (const host of hosts) {
      if (known.has(host.name)) continue;
      known.add(host.name);
      if (nodes.get(host.name) === undefined) nodes.create(nodeOf(host));
      for (const { name } of host.containers) pods.create(podOf(name, host.name));
      logger.info(`Registered node ${host.name}`);
    }
    for (const name of known) {
      if (hosts.some((host) => host.name === name)) continue;
      known.delete(name);
      if (nodes.get(name) !== undefined) nodes.delete(name);
      for (const { metadata, spec } of pods.list()) {
        if (spec?.nodeName === name) pods.delete(metadata.name, metadata.namespace);
      }
      logger.info(`Deleted node ${name}`);
    }
  };
  const watcher = watch(labDirectory(lab), (_event, file) => {
    if (file === STATE_FILE) look();
  });
  look();
  const timer = setInterval(() => reportAddresses(lab, pods), CONTROLLER_MS);
  return {
    [Symbol.dispose]: () => {
      watcher.close();
      clearInterval(timer);
    },
  };
}

/** A pod before its container has an address; policies select it by its name or its host's. */
const podOf = (name: string, nodeName: string) =>
  makePod(name, { nodeName, labels: { app: name, host: nodeName }, phase: "Pending" });

/** What a kubelet does once the runtime has run the CNI plugin. */
function reportAddresses(lab: string, pods: KubeObjects): void {
  for (const host of readState(lab)?.topology.hosts ?? []) {
    for (const container of host.containers.filter(isCniContainer)) {
      const pod = pods.get(container.name);
      if (pod === undefined || pod.status?.podIP !== undefined) continue;
      const ips = readAddresses(container.attachment.resultFile);
      if (ips.length === 0) continue;
      const status = { phase: "Running", podIP: ips[0]!, podIPs: ips.map((ip) => ({ ip })) };
      pods.patch(container.name, { status });
    }
  }
}

const isCniContainer = (container: Container): container is CniContainer =>
  container.attachment.kind === "cni";

/** Of the plugin's result; none while the file is missing. */
function readAddresses(file: string): string[] {
  if (!existsSync(file)) return [];
  const { ips } = JSON.parse(readFileSync(file, "utf8")) as {
    readonly ips: readonly { readonly address: string }[];
  };
  return ips.map(({ address }) => address.replace(/\/.*/, ""));
}

const nodeOf = (host: Host) =>
  makeNode(host.name, {
    addresses: [
      ...host.addresses.map(({ address }) => ({ type: "InternalIP", address })),
      { type: "Hostname", address: host.name },
    ],
  });

function controlPodCidrs(nodes: KubeObjects, networks: ReturnType<typeof podNetworksOf>): Disposable {
  let seen = "";
  const look = (): void => {
    if (nodes.resourceVersion === seen) return;
    assignPodCidrs(nodes, networks);
    seen = nodes.resourceVersion;
  };
  const timer = setInterval(look, CONTROLLER_MS);
  look();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
