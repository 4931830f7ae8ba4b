/** A lab's Kubernetes cluster, as its hosts see it: flanneld as in the DaemonSet, but for what a pod brings along. */

import { parseNetworkConfig } from "../../config/network-config.ts";
import type { Topology } from "../plan/topology.ts";
import { startDaemon } from "../record/lab-processes.ts";
import type { Cluster } from "./cluster.ts";
import { listensOn, waitForDaemon } from "./daemons.ts";
import { KUBE_API_PORT, kubeFiles, writeKubeFiles } from "./kube-files.ts";

/** `flannelctl`: path of the program that serves the API. */
export function kubeCluster({ name, hub, networkPolicy }: Topology, flannelctl: string): Cluster {
  const files = kubeFiles(name);
  return {
    async create(networkConfig, onStart, signal) {
      await writeKubeFiles(name, hub, networkConfig, parseNetworkConfig(networkConfig), networkPolicy);
      const args = ["lab", "serve-kube-api", files.server];
      const server = startDaemon({ netns: hub.netns, program: flannelctl, args, logFile: files.log });
      await onStart(server, "kube");
      const isListening = (): true | undefined => (listensOn(server.pid, KUBE_API_PORT) ? true : undefined);
      await waitForDaemon("the API server", server, files.log, isListening, signal);
    },
    flanneldSettings: (host) => ({
      flags: [
        "--kube-subnet-mgr",
        `--kubeconfig-file=${files.flanneldKubeconfig}`,
        `--net-config-path=${files.networkConfig}`,
        "--ip-masq",
        ...(networkPolicy ? ["--network-policy"] : []),
      ],
      environment: { NODE_NAME: host.name },
    }),
    async forget() {}, // its node goes when it is no longer in the lab's state
  };
}
