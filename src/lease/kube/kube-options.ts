/** Options of the Kubernetes store: flags and environment as the daemon read them, ports, and times. */

import type { Logger } from "../../base/logger.ts";
import type { Timers } from "../../base/timers.ts";
import type { OutagePorts } from "../outage.ts";

/** The flags and environment variables of the store; `--kube-subnet-mgr` itself is decided before. */
export interface KubeStoreOptions {
  /** `--kube-api-url`: overrides the server of the kubeconfig. */
  readonly apiUrl?: string | undefined;
  /** `--kubeconfig-file`; without it and without a URL the credentials of the pod are used. */
  readonly kubeconfigFile?: string | undefined;
  /** `--kube-annotation-prefix`. */
  readonly annotationPrefix: string;
  /** `--net-config-path`. */
  readonly netConfigPath: string;
  /** `--set-node-network-unavailable`. */
  readonly setNodeNetworkUnavailable: boolean;
  /** NODE_NAME; without it the pod (POD_NAME, POD_NAMESPACE) names its node. */
  readonly nodeName?: string | undefined;
  readonly podName?: string | undefined;
  readonly podNamespace?: string | undefined;
  /** Where a pod finds its token and the authority of the API server; another place is for tests. */
  readonly serviceAccountDirectory?: string;
  readonly timings?: Partial<KubeTimings>;
}

/** All in ms; the defaults are right outside of tests. */
export interface KubeTimings {
  /** Longest wait for a connection. */
  readonly dialTimeoutMs: number;
  /** Longest silence of the server while it answers a request. */
  readonly requestTimeoutMs: number;
  /** How long a watch lasts until the server ends it: drawn from here up to twice as long. */
  readonly watchMs: number;
  /** Longest silence of a watch on which bookmarks come (about one a minute): after that it is dead. */
  readonly watchSilenceMs: number;
  /** First and longest pause between attempts to get a broken watch back, or to have a patch accepted. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** How often a missing podCIDR is logged again. */
  readonly waitReportMs: number;
  /** Longest pause before annotations are written again that others keep changing. */
  readonly contestMaxMs: number;
  /** How often net-conf.json is read although no change was notified. */
  readonly configPollMs: number;
}

export const DEFAULT_TIMINGS: KubeTimings = {
  dialTimeoutMs: 5_000,
  requestTimeoutMs: 30_000,
  watchMs: 300_000,
  watchSilenceMs: 180_000,
  retryMinMs: 200,
  retryMaxMs: 30_000,
  waitReportMs: 60_000,
  contestMaxMs: 60_000,
  configPollMs: 10_000,
};

/** What the store needs from outside; the defaults are the real ones. */
export interface KubePorts {
  readonly logger: Logger;
  readonly timers?: Timers;
  /** Wall-clock time in ms since the epoch. */
  readonly wallClockMs?: () => number;
  /** 0 ≤ random() < 1. */
  readonly random?: () => number;
  readonly onOutage?: OutagePorts["onOutage"];
  /** The address of the API server for a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** What has happened so far, for metrics and tests. */
export interface KubeCounters {
  /** Requests to the API server; a watch counts as one. */
  readonly requests: number;
  /** Events of nodes that the watch on all nodes has brought, bookmarks not counted. */
  readonly nodeEvents: number;
  /** Events that changed a lease. */
  readonly leaseChanges: number;
  /** Listings of all nodes after the first. */
  readonly relists: number;
  /** How often the own node's annotations were written again because others had changed them. */
  readonly annotationRepairs: number;
}
