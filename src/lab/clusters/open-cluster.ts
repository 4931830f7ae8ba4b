/** The cluster of a lab, by the kind of its datastore. */

import type { Topology } from "../plan/topology.ts";
import type { LabSetup } from "../record/lab-state.ts";
import { inAwsVpc } from "./aws-vpc.ts";
import type { Cluster, Programs } from "./cluster.ts";
import { etcdCluster } from "./etcd-cluster.ts";
import { kubeCluster } from "./kube-cluster.ts";

export function openCluster(
  { datastore: kind, backendType }: LabSetup,
  topology: Topology,
  { flannelctl }: Programs,
): Cluster {
  const cluster =
    kind === "kube" ? kubeCluster(topology, flannelctl) : etcdCluster({ kind, topology, flannelctl });
  return backendType === "aws-vpc" ? inAwsVpc(cluster, topology, flannelctl) : cluster;
}
