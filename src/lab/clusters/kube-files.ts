/** The files of a lab's Kubernetes cluster: what its API server serves with, and what lets others in. */

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Prefix } from "../../address/prefix.ts";
import { formatPrefix, parsePrefix } from "../../address/prefix.ts";
import type { NetworkFamilies } from "../../config/network-config.ts";
import { writeFileAtomic } from "../../linux/files.ts";
import { type Hub, labDirectory } from "../plan/topology.ts";
import { makeCertificate } from "./certificate.ts";

/** kube-apiserver's. */
export const KUBE_API_PORT = 6443;

export const kubeFiles = (lab: string) => {
  const directory = labDirectory(lab);
  return {
    /** For kubectl: may do everything. */
    kubeconfig: join(directory, "kubeconfig"),
    /** For the flannelds: may do what flannel's ClusterRole allows. */
    flanneldKubeconfig: join(directory, "flanneld.kubeconfig"),
    networkConfig: join(directory, "net-conf.json"),
    /** {@link KubeApiConfig}. */
    server: join(directory, "kube-api.json"),
    log: join(directory, "kube.log"),
  };
};

/** Options of the API server of a lab. */
export interface KubeApiConfig {
  readonly lab: string;
  readonly host: string;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  readonly administratorToken: string;
  readonly flannelToken: string;
  /** Whether the flannelds may read what network policies need. */
  readonly networkPolicy: boolean;
  /** Of which each node gets a subnet. */
  readonly podNetworks: readonly { readonly network: string; readonly subnetLength: number }[];
}

/** Writes all of them. Throws FlannelError. */
export async function writeKubeFiles(
  lab: string,
  hub: Hub,
  networkConfig: string,
  network: NetworkFamilies,
  networkPolicy = false,
): Promise<void> {
  const files = kubeFiles(lab);
  const { family, address } = hub.addresses[0]!;
  const { cert, key } = await makeCertificate(labDirectory(lab), `flannel-lab-${lab}`, address);
  const config: KubeApiConfig = {
    lab,
    host: address,
    cert,
    key,
    administratorToken: randomBytes(32).toString("base64url"),
    flannelToken: randomBytes(32).toString("base64url"),
    networkPolicy,
    podNetworks: [network.ipv4, network.ipv6]
      .filter((own) => own !== undefined)
      .map((own) => ({ network: formatPrefix(own.network), subnetLength: own.subnetLength })),
  };
  const server = `https://${family === 4 ? address : `[${address}]`}:${KUBE_API_PORT}`;
  const secrets: [string, string][] = [
    [files.server, JSON.stringify(config)],
    [files.networkConfig, networkConfig],
    [files.kubeconfig, kubeconfig(server, cert, "kubernetes-admin", config.administratorToken)],
    [files.flanneldKubeconfig, kubeconfig(server, cert, "flannel", config.flannelToken)],
  ];
  for (const [file, text] of secrets) await writeFileAtomic(file, `${text}\n`, 0o600);
}

/** The pod networks as prefixes. */
export const podNetworksOf = (config: KubeApiConfig): { network: Prefix; subnetLength: number }[] =>
  config.podNetworks.map(({ network, subnetLength }) => ({ network: parsePrefix(network)!, subnetLength }));

/** As JSON, which is YAML too. */
function kubeconfig(server: string, authority: string, user: string, token: string): string {
  const name = "lab";
  const cluster = { server, "certificate-authority-data": Buffer.from(authority).toString("base64") };
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster }],
    users: [{ name: user, user: { token } }],
    contexts: [{ name, context: { cluster: name, user } }],
    "current-context": name,
  };
  return JSON.stringify(config, undefined, 2);
}
