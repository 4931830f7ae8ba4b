/** What flanneld may do in a cluster, as the rules of its ClusterRole: all that the store needs, and no more. */

export interface KubeRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

export const KUBE_RULES: readonly KubeRule[] = [
  // Where the pod runs, unless NODE_NAME says so.
  { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
  { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
];
