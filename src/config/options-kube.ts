/** The Kubernetes API as the datastore: `--kube-subnet-mgr`, its flags, and the variables that name this node. */

import { ConfigError } from "../base/error.ts";
import { type Environment, parseBool } from "./flags.ts";
import { redactUrl } from "./flags-text.ts";
import type { FlagReader } from "./options-reader.ts";
import type { StoreFlags } from "./options-table.ts";

/** The nodes' annotations are the leases, their PodCIDRs the subnets, and a file the network config. */
export interface KubeDatastore {
  readonly kind: "kube";
  /** Replaces the server of the kubeconfig. Undefined, and no kubeconfig: the cluster that this pod is in. */
  readonly apiUrl: string | undefined;
  readonly kubeconfigFile: string | undefined;
  readonly annotationPrefix: string;
  readonly netConfigPath: string;
  /** NODE_NAME, POD_NAME, POD_NAMESPACE. */
  readonly nodeName: string | undefined;
  readonly podName: string | undefined;
  readonly podNamespace: string | undefined;
}

/** Undefined = Kubernetes is not the datastore. Throws ConfigError for the first fault. */
export function readKubeDatastore(
  read: FlagReader<StoreFlags>,
  environment: Environment,
): KubeDatastore | undefined {
  const { sources, values } = read.flags;
  if (!values["kube-subnet-mgr"]) {
    const given = CONNECTION.find((name) => read.text(name) !== undefined);
    if (given === undefined) return undefined;
    throw read.fault(given, "has no effect without --kube-subnet-mgr: give that too, or leave this out");
  }
  const other = OTHER_STORES.find((name) => sources[name] !== undefined);
  if (other !== undefined) {
    throw read.fault(
      other,
      `names another datastore, but ${sources["kube-subnet-mgr"]} asks for Kubernetes: leave one of the two out`,
    );
  }
  checkCacheVariables(environment);
  return {
    kind: "kube",
    apiUrl: readApiUrl(read),
    kubeconfigFile: read.text("kubeconfig-file"),
    annotationPrefix: read.required("kube-annotation-prefix"),
    netConfigPath: read.required("net-config-path"),
    nodeName: environment.NODE_NAME || undefined,
    podName: environment.POD_NAME || undefined,
    podNamespace: environment.POD_NAMESPACE || undefined,
  };
}

/** The other flags of Kubernetes also occur in unit files of hosts without it. */
const CONNECTION = ["kube-api-url", "kubeconfig-file"] as const;
/** Without etcd's: manifests written for etcd continue to work, as with Go's flanneld. */
const OTHER_STORES = ["datastore", "network", "embedded-listen", "embedded-data-dir"] as const;

function readApiUrl(read: FlagReader<StoreFlags>): string | undefined {
  const text = read.text("kube-api-url");
  if (text === undefined) return undefined;
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") {
    const shown = JSON.stringify(redactUrl(text));
    throw read.fault("kube-api-url", `${shown} is not of the form https://host:port`);
  }
  if (url.username !== "" || url.password !== "")
    throw read.fault(
      "kube-api-url",
      "must not contain user and password: put them into a kubeconfig (--kubeconfig-file)",
    );
  return text;
}

/**
 * Go flannel's settings of a cache that does not exist here: nothing depends on them, but a slip of the pen is not passed
 * over where Go's flanneld would not start.
 */
function checkCacheVariables({
  EVENT_QUEUE_DEPTH: depth = "",
  CONT_WHEN_CACHE_NOT_READY: goOn = "",
}: Environment): void {
  if (depth !== "" && !/^0*[1-9]\d*$/.test(depth))
    throw new ConfigError(`EVENT_QUEUE_DEPTH: ${JSON.stringify(depth)} is not a whole number above 0`);
  if (goOn !== "" && parseBool(goOn) === undefined)
    throw new ConfigError(`CONT_WHEN_CACHE_NOT_READY: ${JSON.stringify(goOn)} is neither true nor false`);
}
