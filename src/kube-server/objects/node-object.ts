/** Nodes, pods, namespaces and network policies that resemble those of a real cluster in content and size. */

import type { JsonObject, KubeAddress, KubeCondition, KubeObject } from "./kube-object.ts";
import { timestamp } from "./kube-object.ts";

/** What differs between the nodes of a test. */
export interface NodeOptions {
  /** spec.podCIDRs, and the first one as spec.podCIDR. Empty = the controller has not assigned any yet. */
  readonly podCIDRs?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Default: an InternalIP 192.0.2.1 and the node's name as Hostname. */
  readonly addresses?: readonly KubeAddress[];
  /** The approximate size of the node's list of images, in bytes. A node in use has about 8,000 bytes in total. */
  readonly paddingBytes?: number;
}

/** A node as its kubelet registers it before any network plugin has run: NetworkUnavailable. */
export function makeNode(name: string, options: NodeOptions = {}): KubeObject {
  const { podCIDRs = [], annotations = {}, labels = {}, paddingBytes = 0 } = options;
  const now = timestamp(Date.now());
  const condition = (type: string, status: string, reason: string, message: string): KubeCondition => ({
    type,
    status,
    lastHeartbeatTime: now,
    lastTransitionTime: now,
    reason,
    message,
  });
  const resources = { cpu: "2", "ephemeral-storage": "61255492Ki", memory: "4025916Ki", pods: "110" };
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        ...labels,
      },
      annotations: {
        "node.alpha.kubernetes.io/ttl": "0",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        ...annotations,
      },
    },
    spec: podCIDRs[0] === undefined ? {} : { podCIDR: podCIDRs[0], podCIDRs },
    status: {
      capacity: resources,
      allocatable: resources,
      conditions: [
        condition("NetworkUnavailable", "True", "NoRouteCreated", "Node created without a route"),
        condition(
          "MemoryPressure",
          "False",
          "KubeletHasSufficientMemory",
          "kubelet has sufficient memory available",
        ),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
      ],
      addresses: options.addresses ?? [
        { type: "InternalIP", address: "192.0.2.1" },
        { type: "Hostname", address: name },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
      nodeInfo: {
        machineID: "2f1b4c0a9d5e4f0e8a7b6c5d4e3f2a1b",
        systemUUID: "2f1b4c0a-9d5e-4f0e-8a7b-6c5d4e3f2a1b",
        bootID: "7d0c1f7e-5a63-4f53-9b1c-0a3f5c1d2e4f",
        kernelVersion: "6.1.0-18-amd64",
        osImage: "Debian GNU/Linux 12 (bookworm)",
        containerRuntimeVersion: "containerd://1.7.27",
        kubeletVersion: "v1.32.4",
        kubeProxyVersion: "v1.32.4",
        operatingSystem: "linux",
        architecture: "amd64",
      },
      images: images(paddingBytes),
    },
  };
}

/** What differs between the pods of a test. */
export interface PodOptions {
  readonly namespace?: string;
  readonly nodeName?: string;
  /** status.podIPs, and the first one as status.podIP. */
  readonly podIPs?: readonly string[];
  /** Of the container. */
  readonly ports?: readonly { name?: string; containerPort: number; protocol?: string }[];
  readonly hostNetwork?: boolean;
  /** Default "Running". */
  readonly phase?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A running pod of one container. */
export function makePod(name: string, options: PodOptions = {}): KubeObject {
  const { namespace = "default", nodeName, labels, annotations, podIPs = [], ports, hostNetwork } = options;
  const { phase = "Running" } = options;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, ...(labels && { labels }), ...(annotations && { annotations }) },
    spec: {
      containers: [{ name: "main", image: "registry.example/main:1", ...(ports && { ports }) }],
      restartPolicy: "Always",
      serviceAccountName: "default",
      ...(nodeName !== undefined && { nodeName }),
      ...(hostNetwork && { hostNetwork }),
    },
    status: {
      phase,
      ...(podIPs[0] !== undefined && { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) }),
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: [{ name: "main", image: "registry.example/main:1", ready: true, restartCount: 0 }],
    },
  };
}

/** An active namespace; it has the label that every namespace has. */
export function makeNamespace(name: string, labels: Readonly<Record<string, string>> = {}): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name, labels: { "kubernetes.io/metadata.name": name, ...labels } },
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  };
}

/** A NetworkPolicy (networking.k8s.io/v1) with this spec. */
export function makeNetworkPolicy(name: string, spec: JsonObject, namespace = "default"): KubeObject {
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name, namespace }, spec };
}

/** Each takes about 190 bytes. */
function images(bytes: number) {
  return Array.from({ length: Math.ceil(bytes / 190) }, (_, index) => {
    const repository = `registry.example/library/image-${index}`;
    const digest = (0x9e3779b97f4a7c15n * BigInt(index + 1)).toString(16).padStart(16, "0").slice(-16);
    return {
      names: [`${repository}@sha256:${digest.repeat(4)}`, `${repository}:v1.${index}`],
      sizeBytes: 1_000_000 + index,
    };
  });
}
