/** The cluster of a lab, by the kind of its datastore. */

import type { Topology } from "../plan/topology.ts";
import type { LabSetup } from "../record/lab-state.ts";
import type { Cluster, Programs } from "./cluster.ts";
import { etcdCluster } from "./etcd-cluster.ts";
import { kubeCluster } from "./kube-cluster.ts";

export function openCluster(
  { datastore: kind }: LabSetup,
  topology: Topology,
  { flannelctl }: Programs,
): Cluster {
  return kind === "kube" ? kubeCluster(topology, flannelctl) : etcdCluster({ kind, topology, flannelctl });
}
