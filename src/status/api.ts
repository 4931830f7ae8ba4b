/**
 * What the status API answers, version 1: the one place that says so. The types of the code and the OpenAPI document
 * (openapi.ts) both come from these schemas. Within a version, members are only added.
 */

import { EXPLANATION, POD_POLICIES, POLICY_STATE } from "./api-policies.ts";
import {
  flag,
  type Infer,
  integer,
  list,
  number,
  numbersByName,
  object,
  oneOf,
  optional,
  text,
  time,
} from "./schema.ts";

const INTERFACE = object("The external interface.", {
  name: text("Its name."),
  mtuBytes: integer("Its MTU in bytes."),
  addresses: list(text("An IP address."), "The addresses that flannel uses on it."),
});

const LEASE = object("This host's lease.", {
  key: optional(text("Its key in the datastore; missing while there is no lease.")),
  subnets: list(
    text("A prefix, e.g. 10.5.1.0/24."),
    "The subnets of this host; empty while there is no lease.",
  ),
  publicIps: list(text("An IP address."), "The addresses at which peers reach this host."),
  backend: text("The backend's type in the lease; may be empty."),
  expiresAt: optional(time("When it expires; missing if it never does.")),
  problem: optional(text("Why this host has no valid lease; missing if it has one.")),
});

const STATUS = object("The state of this host.", {
  version: text("The version of flanneld."),
  host: text("The host's name."),
  startedAt: time("When flanneld was started."),
  isReady: flag("Whether the host is in sync."),
  notReadyReasons: list(text("A reason."), "Why the host is not ready; empty if it is."),
  notes: list(text("A note."), "What an operator should know although it does not make the host unready."),
  datastore: text("Where the network config is."),
  networks: list(text("A prefix."), "The flannel networks; empty before the network config is known."),
  backend: optional(text("The type of the backend.")),
  implementation: optional(
    oneOf(["kernel", "userspace"], "What carries the packets, if the backend has a choice (wireguard)."),
  ),
  mtuBytes: optional(integer("The MTU for containers, in bytes.")),
  externalInterface: optional(INTERFACE),
  lease: optional(LEASE),
  peers: integer("Hosts with a lease, this one not included."),
  peerProblems: integer("Peers that cannot be reached, or perhaps not."),
  kernel: object("What flanneld has programmed.", {
    objects: integer("Desired objects: devices, addresses, routes, neighbours and so on."),
    failures: integer("Objects that the kernel refused."),
    passes: integer("Passes of the reconciler since startup."),
    repairs: integer("Repairs of drift by the reconciler since startup."),
  }),
});

const PROBED_PATH = object("What the probes of one path saw.", {
  state: oneOf(
    ["unknown", "up", "down", "filtered"],
    "unknown: not probed yet; filtered: the peer answers no probe on this path, although packets get through.",
  ),
  since: optional(time("Since when it is in this state.")),
  lossRatio: optional(number("Share of the latest probes that were not answered, 0 to 1.")),
  rttMs: optional(
    object("Round-trip times of the latest answers, in milliseconds.", {
      min: number("The shortest."),
      mean: number("Their mean."),
      p99: number("Their 99th percentile."),
    }),
  ),
  largestPacketBytes: optional(
    integer("The largest IP packet that passes, in bytes; missing while it is not measured."),
  ),
});

const VERDICTS = [
  "unknown",
  "reachable",
  "underlay down",
  "overlay down",
  "packets too large",
  "one direction",
] as const;

const PROBE = object("Whether packets get through to a peer, in one family.", {
  family: oneOf(["ipv4", "ipv6"], "The family of the peer's subnet."),
  verdict: oneOf(VERDICTS, "What the probes of both paths say together."),
  advice: optional(text("What to do about it; missing if the peer is reachable, or not probed yet.")),
  underlay: PROBED_PATH,
  overlay: PROBED_PATH,
});

const ROUTE = object("How packets reach a peer's subnet.", {
  subnet: text("The peer's subnet."),
  peer: text("The key of the peer's lease."),
  publicIp: text("The address at which the peer is reached; empty if its lease has none."),
  backend: text("The backend's type in the peer's lease; may be empty."),
  via: optional(text("The gateway; missing if the route has none.")),
  device: optional(text("The device; missing if no route is desired.")),
  state: oneOf(
    ["programmed", "pending", "failed", "refused"],
    "programmed: in the kernel, or in a cloud's table by the peer itself; pending: not yet; failed: the kernel refused it; refused: the lease is unusable.",
  ),
  reason: optional(text("Why it is not programmed, or why the peer may be unreachable although it is.")),
  probe: optional(PROBE),
});

const TUNNEL = object("The IPsec tunnel to a peer.", {
  state: oneOf(
    ["established", "connecting", "missing"],
    "connecting: the hosts negotiate; missing: there is none, and it is initiated again.",
  ),
  association: optional(
    object("Its newest security association; missing unless it is established.", {
      cipher: text("The algorithm that encrypts, e.g. AES_GCM_16-128."),
      isInUdp: flag("Whether ESP is in UDP 4500."),
      sentBytes: integer("Bytes sent through it."),
      receivedBytes: integer("Bytes received through it."),
      ageSeconds: integer("Seconds since it was made."),
    }),
  ),
});

const PEER_FIELDS = {
  key: text("The key of its lease: the subnets in etcd, the node's name in Kubernetes."),
  subnets: list(text("A prefix."), "Its subnets."),
  publicIps: list(text("An IP address."), "The addresses at which it is reached."),
  backend: text("The type of its backend; may be empty."),
  problem: optional(text("Why it cannot be reached, or perhaps not.")),
  probes: optional(list(PROBE, "Of each family of its subnets; missing while probes are off.")),
  tunnel: optional(TUNNEL),
};

const PEER = object("A host with a lease.", PEER_FIELDS);

const PEER_OBJECT = object("An object that flanneld programs for a peer.", {
  kind: text("Its kind: route, neighbour, fdb and so on."),
  object: text("The object, in the words of ip(8) and bridge(8)."),
  state: oneOf(
    ["programmed", "pending", "failed"],
    "programmed: in place; pending: not yet; failed: the kernel refused it.",
  ),
  reason: optional(text("What the kernel answered.")),
});

const PEER_DETAIL = object("A host with a lease, and how packets reach it.", {
  ...PEER_FIELDS,
  routes: list(ROUTE, "The routes to its subnets."),
  objects: list(PEER_OBJECT, "What this host programs for it, in the order in which it is made."),
});

const PENDING_CHANGE = object("A change that flanneld has not made yet.", {
  action: oneOf(
    ["create", "replace", "remove", "blocked"],
    "blocked: a foreign object conflicts with desired ones; nothing is changed until it is gone.",
  ),
  kind: text("The kind of object: route, neighbour, firewall and so on."),
  object: text("The object, in the words of ip(8) and bridge(8)."),
  reason: optional(text("Why it was not done at once; missing if it is due now.")),
});

const CELL = object("What probes of one host say of one of its peers, in one family.", {
  peer: text("The key of the peer's lease."),
  family: oneOf(["ipv4", "ipv6"], "The family of the peer's subnet."),
  verdict: oneOf(VERDICTS, "What the probes say."),
  rttMs: optional(number("Mean round-trip time through the overlay, in milliseconds.")),
  lossRatio: optional(number("Share of the latest probes through the overlay without an answer, 0 to 1.")),
});

const ROW = object("What this host's probes say of its peers: its row of the matrix.", {
  key: optional(text("The key of this host's lease; missing while there is no lease.")),
  host: text("This host's name."),
  isProbing: flag("Whether there are results of probes; without, there are no cells."),
  cells: list(CELL, "A cell for each peer and family, or the worst if only some are requested."),
});

const MATRIX_ROW = object("A row of the matrix: what one host's probes say of its peers.", {
  key: text("The key of the host's lease; this host's is the first, and empty while there is no lease."),
  host: optional(text("The host's name; missing while it is unknown.")),
  at: optional(
    time("When the row was received from another host; missing for this host's, or if it is unknown."),
  ),
  reason: optional(text("Why the row is unknown, or no longer current.")),
  cells: list(CELL, "A cell for each peer and family that is known, or the worst."),
});

const PATH_OBJECT = object("An object of the kernel (or of flanneld) on the path.", {
  kind: text("Its kind: route, neighbour, fdb, link and so on."),
  what: text("The object, in the words of ip(8) and bridge(8)."),
  state: oneOf(
    ["programmed", "missing", "different", "failed"],
    "missing: not in the kernel; different: the kernel has another one; failed: the kernel refused it.",
  ),
  reason: optional(text("What the kernel answered, or what it has instead.")),
});

const PATH = object("How packets get from containers of this host to those of a peer.", {
  peer: text("The key of the peer's lease."),
  problem: optional(text("Why the peer cannot be reached, or perhaps not.")),
  externalInterface: INTERFACE,
  ways: list(
    object("The path to one subnet of the peer.", {
      from: optional(text("This host's subnet; missing while there is no lease.")),
      to: text("The peer's subnet."),
      publicIp: text("The address at which the peer is reached; empty if its lease has none."),
      objects: list(PATH_OBJECT, "In the order in which a packet meets them."),
    }),
    "One for each subnet of the peer.",
  ),
});

const DRIFT_ENTRY = object("A repair of what something else had changed.", {
  at: time("When it was repaired."),
  kind: text("The kind of object: route, neighbour, firewall and so on."),
  what: text("The object, and what was wrong with it."),
  tookMs: number("Milliseconds from the first sign until it was repaired."),
  by: optional(text("The process that changed it; missing if unknown.")),
});

const EVENT = object("Something that happened.", {
  at: time("When."),
  type: oneOf(["peer", "lease", "drift", "readiness", "probe"], "What it concerns."),
  message: text("What happened, for people."),
  key: optional(text("The key of the lease that it concerns.")),
  subnets: optional(list(text("A prefix."), "The subnets of that lease.")),
});

const DRIFT = object("The latest repairs.", {
  counts: numbersByName("Repairs by kind of object, since startup."),
  entries: list(DRIFT_ENTRY, "The latest 1,000, oldest first."),
});

/** The answer of /v1/status. */
export type Status = Infer<typeof STATUS>;
/** The answer of /v1/lease. */
export type LeaseReport = Infer<typeof LEASE>;
/** An item of /v1/routes. */
export type RouteReport = Infer<typeof ROUTE>;
/** An item of /v1/peers. */
export type PeerReport = Infer<typeof PEER>;
/** The answer of /v1/peers/KEY. */
export type PeerDetail = Infer<typeof PEER_DETAIL>;
/** An item of /v1/plan. */
export type PendingChange = Infer<typeof PENDING_CHANGE>;
/** The state of the tunnel to a peer, with the ipsec backend. */
export type TunnelReport = Infer<typeof TUNNEL>;
/** What the probes say about a peer, in one family. */
export type ProbeReport = Infer<typeof PROBE>;
/** The answer of /v1/drift. */
export type DriftReport = Infer<typeof DRIFT>;
/** A cell of the matrix: one host probes another. */
export type Cell = Infer<typeof CELL>;
/** The answer of /v1/probes: the row of one host. */
export type Row = Infer<typeof ROW>;
/** An item of /v1/matrix. */
export type MatrixRow = Infer<typeof MATRIX_ROW>;
/** The answer of /v1/path. */
export type PathReport = Infer<typeof PATH>;
/** The data of an event of /v1/events. */
export type StatusEvent = Infer<typeof EVENT>;

/** What each path answers, by its name in the OpenAPI document. */
export const ENDPOINTS = {
  "/v1/status": { name: "Status", schema: STATUS },
  "/v1/lease": { name: "Lease", schema: LEASE },
  "/v1/routes": { name: "Routes", schema: list(ROUTE, "All routes to peers.") },
  "/v1/peers": { name: "Peers", schema: list(PEER, "All peers.") },
  "/v1/peers/{key}": { name: "PeerDetail", schema: PEER_DETAIL },
  "/v1/plan": {
    name: "Plan",
    schema: list(PENDING_CHANGE, "What flanneld would change now, in order; empty if the host is in sync."),
  },
  "/v1/probes": { name: "Row", schema: ROW },
  "/v1/matrix": { name: "Matrix", schema: list(MATRIX_ROW, "Rows of this host and of others.") },
  "/v1/path": { name: "Path", schema: PATH },
  "/v1/drift": { name: "Drift", schema: DRIFT },
  "/v1/events": { name: "Event", schema: EVENT },
  "/v1/policies": { name: "Policies", schema: POLICY_STATE },
  "/v1/policies/pod": { name: "PodPolicies", schema: POD_POLICIES },
  "/v1/policies/explain": { name: "Explanation", schema: EXPLANATION },
} as const;
