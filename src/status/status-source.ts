/** Where the status server has its answers from. */

import type {
  DriftReport,
  LeaseReport,
  PathReport,
  PeerDetail,
  PeerReport,
  PendingChange,
  RouteReport,
  Status,
} from "./api.ts";
import type { Explanation, PodPolicies, PolicyState } from "./api-policies.ts";
import type { EventLog } from "./event-log.ts";
import type { Metric } from "./metrics-text.ts";

/** All of it is read at the moment of a request; undefined = not known yet. */
export interface StatusSource {
  readonly version: string;
  status(): Status;
  lease(): LeaseReport | undefined;
  /** Read lazily: with thousands of peers other work goes on meanwhile. */
  routes(): Iterable<RouteReport> | undefined;
  peers(): Iterable<PeerReport> | undefined;
  /** The peer with this lease key, or with this subnet; "absent" if there is none. */
  peer(keyOrSubnet: string): PeerDetail | "absent" | undefined;
  /** What is desired and not in place, as far as observed: nothing is observed for it. */
  plan(): Iterable<PendingChange> | undefined;
  /** The path to the peer with this key or subnet, or with this address in its subnet; "absent" if there is none. */
  path(to: string): PathReport | "absent" | undefined;
  drift(): DriftReport;
  metrics(): readonly Metric[];
  readonly events: EventLog;
  /** Undefined = this flanneld does not enforce network policies. */
  readonly policies?: PolicySource | undefined;
}

/** What is known of network policies; a fault is a text for the client: what it named does not exist, or is malformed. */
export interface PolicySource {
  /** Undefined = not known yet. */
  state(): Promise<PolicyState | undefined>;
  pod(name: string): Promise<PodPolicies | QueryFault | undefined>;
  explain(from: string, to: string, port: string): Explanation | QueryFault | undefined;
  /** Beside those of the status source. */
  metrics(): Promise<readonly Metric[]>;
}

/** Why a question has no answer. */
export interface QueryFault {
  readonly fault: string;
}
