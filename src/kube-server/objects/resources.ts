/** The kinds of object that the server has, and how each is selected and patched. */

import type { KubeObject } from "./kube-object.ts";

/** A kind of object (k8s.io/apimachinery/pkg/apis/meta/v1, APIResource). */
export interface Resource {
  /** The API group; "" = the core group. The version is v1 in all of them. */
  readonly group: string;
  /** In paths and rules: "nodes". */
  readonly name: string;
  readonly singularName: string;
  readonly shortNames: readonly string[];
  readonly kind: string;
  readonly isNamespaced: boolean;
  readonly hasStatus: boolean;
  readonly categories?: readonly string[];
  /** The fields that a field selector may name. A missing member is "". */
  readonly fields: Readonly<Record<string, (object: KubeObject) => string>>;
  /** Lists that a strategic merge patch merges instead of replacing them. */
  readonly mergedLists: MergedLists;
}

/**
 * Per member: the key of a list's elements ("" = they are plain values), and the lists inside a list's elements or an
 * object (the `patchStrategy` and `patchMergeKey` tags of k8s.io/api/core/v1/types.go; lists without tags are replaced).
 */
export interface MergedLists {
  readonly [member: string]: { readonly mergeKey?: string; readonly inside?: MergedLists };
}

const METADATA: MergedLists[string] = {
  inside: { ownerReferences: { mergeKey: "uid" }, finalizers: { mergeKey: "" } },
};

const CONTAINER: MergedLists = {
  env: { mergeKey: "name" },
  ports: { mergeKey: "containerPort" },
  volumeMounts: { mergeKey: "mountPath" },
  volumeDevices: { mergeKey: "devicePath" },
};

const text = (value: unknown): string => (value === undefined || value === null ? "" : String(value));

/** Nodes (k8s.io/api/core/v1). */
export const NODES: Resource = {
  group: "",
  name: "nodes",
  singularName: "node",
  shortNames: ["no"],
  kind: "Node",
  isNamespaced: false,
  hasStatus: true,
  fields: {
    "metadata.name": ({ metadata }) => metadata.name,
    "spec.unschedulable": ({ spec }) => String(spec?.unschedulable === true),
  },
  mergedLists: {
    metadata: METADATA,
    spec: { inside: { podCIDRs: { mergeKey: "" } } },
    status: { inside: { conditions: { mergeKey: "type" }, addresses: { mergeKey: "type" } } },
  },
};

/** Pods (k8s.io/api/core/v1). */
export const PODS: Resource = {
  group: "",
  name: "pods",
  singularName: "pod",
  shortNames: ["po"],
  kind: "Pod",
  isNamespaced: true,
  hasStatus: true,
  categories: ["all"],
  fields: {
    "metadata.name": ({ metadata }) => metadata.name,
    "metadata.namespace": ({ metadata }) => text(metadata.namespace),
    "spec.nodeName": ({ spec }) => text(spec?.nodeName),
    "spec.restartPolicy": ({ spec }) => text(spec?.restartPolicy),
    "spec.schedulerName": ({ spec }) => text(spec?.schedulerName),
    "spec.serviceAccountName": ({ spec }) => text(spec?.serviceAccountName),
    "spec.hostNetwork": ({ spec }) => String(spec?.hostNetwork === true),
    "status.phase": ({ status }) => text(status?.phase),
    "status.podIP": ({ status }) => text(status?.podIP),
    "status.nominatedNodeName": ({ status }) => text(status?.nominatedNodeName),
  },
  mergedLists: {
    metadata: METADATA,
    spec: {
      inside: {
        containers: { mergeKey: "name", inside: CONTAINER },
        initContainers: { mergeKey: "name", inside: CONTAINER },
        ephemeralContainers: { mergeKey: "name", inside: CONTAINER },
        volumes: { mergeKey: "name" },
        imagePullSecrets: { mergeKey: "name" },
        hostAliases: { mergeKey: "ip" },
        topologySpreadConstraints: { mergeKey: "topologyKey" },
        schedulingGates: { mergeKey: "name" },
        resourceClaims: { mergeKey: "name" },
      },
    },
    status: {
      inside: {
        conditions: { mergeKey: "type" },
        podIPs: { mergeKey: "ip" },
        hostIPs: { mergeKey: "ip" },
        resourceClaimStatuses: { mergeKey: "name" },
      },
    },
  },
};

/** Namespaces (k8s.io/api/core/v1). */
export const NAMESPACES: Resource = {
  group: "",
  name: "namespaces",
  singularName: "namespace",
  shortNames: ["ns"],
  kind: "Namespace",
  isNamespaced: false,
  hasStatus: true,
  fields: {
    "metadata.name": ({ metadata }) => metadata.name,
    "status.phase": ({ status }) => text(status?.phase),
  },
  mergedLists: { metadata: METADATA, status: { inside: { conditions: { mergeKey: "type" } } } },
};

/** Network policies (k8s.io/api/networking/v1). */
export const NETWORK_POLICIES: Resource = {
  group: "networking.k8s.io",
  name: "networkpolicies",
  singularName: "networkpolicy",
  shortNames: ["netpol"],
  kind: "NetworkPolicy",
  isNamespaced: true,
  hasStatus: false,
  fields: {
    "metadata.name": ({ metadata }) => metadata.name,
    "metadata.namespace": ({ metadata }) => text(metadata.namespace),
  },
  mergedLists: { metadata: METADATA },
};

/** All kinds that the server has. */
export const RESOURCES: readonly Resource[] = [NODES, PODS, NAMESPACES, NETWORK_POLICIES];

/** "v1", "networking.k8s.io/v1". */
export const apiVersionOf = ({ group }: Resource): string => (group === "" ? "v1" : `${group}/v1`);

/** The resource as messages name it: "pods", "networkpolicies.networking.k8s.io". */
export const qualifiedName = ({ group, name }: Resource): string =>
  group === "" ? name : `${name}.${group}`;
