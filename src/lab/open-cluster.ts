/** The cluster of a lab, by the kind of its datastore. */

import type { Cluster, Programs } from "./cluster.ts";
import { etcdCluster } from "./etcd-cluster.ts";
import { kubeCluster } from "./kube-cluster.ts";
import type { LabSetup } from "./state.ts";
import type { Topology } from "./topology.ts";

export function openCluster(
  { datastore: kind }: LabSetup,
  topology: Topology,
  { flannelctl }: Programs,
): Cluster {
  return kind === "kube" ? kubeCluster(topology, flannelctl) : etcdCluster({ kind, topology, flannelctl });
}
