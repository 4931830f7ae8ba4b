/** The rules of flanneld's ClusterRole: what the store needs, and no more. */

/** A PolicyRule of rbac.authorization.k8s.io/v1. */
export interface KubeRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** Compared with the manifests and the chart by a test; the test API server refuses everything else. */
export const KUBE_RULES: readonly KubeRule[] = [
  // The node of the pod, without NODE_NAME.
  { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
  { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
];

/** What network policies need beyond that, in a ClusterRole of its own: granted only where they are switched on. */
export const POLICY_RULES: readonly KubeRule[] = [
  { apiGroups: [""], resources: ["pods", "namespaces"], verbs: ["list", "watch"] },
  { apiGroups: ["networking.k8s.io"], resources: ["networkpolicies"], verbs: ["list", "watch"] },
];
