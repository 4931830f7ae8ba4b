/**
 * `flannelctl lab serve-kube-api`: the Kubernetes of a lab in one process. The API server, and what else flannel meets
 * of a cluster: kubelets that register a node for each host of the lab, and a controller that gives nodes their podCIDRs.
 */

import { readFileSync, watch } from "node:fs";
import { Klog, writeToStderr } from "../../base/klog.ts";
import { type Command, defineCommand } from "../../config/command.ts";
import { KubeApiServer, type KubeObjects } from "../../kube-server/kube-api-server.ts";
import { makeNode } from "../../kube-server/objects/node-object.ts";
import { KUBE_RULES } from "../../lease/kube/rbac.ts";
import { type Host, labDirectory } from "../plan/topology.ts";
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
  const { lab, host, cert, key, administratorToken, flannelToken } = config;
  await using server = await KubeApiServer.start({
    host,
    port: KUBE_API_PORT,
    tls: { cert, key },
    tokens: [
      { token: administratorToken, user: "kubernetes-admin", rules: EVERYTHING },
      { token: flannelToken, user: "system:serviceaccount:kube-flannel:flannel", rules: KUBE_RULES },
    ],
  });
  logger.info(`Serving the Kubernetes API of lab ${lab} at ${server.url}`);
  using _kubelets = followHosts(lab, server.nodes, logger);
  using _controller = controlPodCidrs(server.nodes, podNetworksOf(config));
  await stopped.promise;
  return 0;
}

/** Registers a node for each host that comes, and takes it away with the host. */
function followHosts(lab: string, nodes: KubeObjects, logger: Klog): Disposable {
  const known = new Set<string>();
  const look = (): void => {
    const hosts = readState(lab)?.topology.hosts;
    if (hosts === undefined) return; // the lab is being taken down
    for (const host of hosts) {
      if (known.has(host.name)) continue;
      known.add(host.name);
      if (nodes.get(host.name) === undefined) nodes.create(nodeOf(host));
      logger.info(`Registered node ${host.name}`);
    }
    for (const name of known) {
      if (hosts.some((host) => host.name === name)) continue;
      known.delete(name);
      if (nodes.get(name) !== undefined) nodes.delete(name);
      logger.info(`Deleted node ${name}`);
    }
  };
  const watcher = watch(labDirectory(lab), (_event, file) => {
    if (file === STATE_FILE) look();
  });
  look();
  return { [Symbol.dispose]: () => watcher.close() };
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
