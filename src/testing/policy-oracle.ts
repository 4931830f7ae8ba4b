/**
 * NetworkPolicy as the Kubernetes documentation words it, evaluated slowly and obviously on the API's JSON: the oracle that the
 * compiled filter is compared with. It knows neither the parser nor the model of src/policy.
 */

export interface OracleSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: {
    key: string;
    operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
    values?: string[];
  }[];
}
export interface OraclePeer {
  podSelector?: OracleSelector;
  namespaceSelector?: OracleSelector;
  ipBlock?: { cidr: string; except?: string[] };
}
export interface OraclePort {
  protocol?: string;
  port?: number | string;
  endPort?: number;
}
export interface OraclePolicy {
  metadata: { namespace: string; name: string };
  spec: {
    podSelector: OracleSelector;
    policyTypes?: string[];
    ingress?: { from?: OraclePeer[]; ports?: OraclePort[] }[];
    egress?: { to?: OraclePeer[]; ports?: OraclePort[] }[];
  };
}
export interface OraclePod {
  metadata: { namespace: string; name: string; uid: string; labels: Record<string, string> };
  spec: {
    nodeName: string;
    hostNetwork?: boolean;
    containers: { ports: { name: string; containerPort: number; protocol: string }[] }[];
  };
  status: { phase: string; podIPs: { ip: string }[] };
}
export interface OracleCluster {
  nodeName: string;
  namespaces: { metadata: { name: string; labels: Record<string, string> } }[];
  pods: OraclePod[];
  policies: OraclePolicy[];
}
export interface OracleTraffic {
  source: string;
  destination: string;
  protocol: string;
  port: number;
}

/** Whether this node lets a connection's first packet pass: it enforces for its own pods only. */
export function isAllowedByOracle(cluster: OracleCluster, traffic: OracleTraffic): boolean {
  if (traffic.source === traffic.destination) return true;
  const from = podAt(cluster, traffic.source);
  const to = podAt(cluster, traffic.destination);
  if (from?.spec.nodeName === cluster.nodeName && !allows(cluster, from, "egress", traffic, to)) return false;
  if (to?.spec.nodeName === cluster.nodeName && !allows(cluster, to, "ingress", traffic, from)) return false;
  return true;
}

/** The pod that has an address of its own. */
const podAt = (cluster: OracleCluster, address: string): OraclePod | undefined =>
  cluster.pods.find(
    (pod) =>
      pod.spec.hostNetwork !== true &&
      pod.status.phase !== "Succeeded" &&
      pod.status.phase !== "Failed" &&
      pod.status.podIPs.some(({ ip }) => ip === address),
  );

function allows(
  cluster: OracleCluster,
  pod: OraclePod,
  direction: "ingress" | "egress",
  traffic: OracleTraffic,
  remote: OraclePod | undefined,
): boolean {
  const selecting = cluster.policies.filter(
    (policy) =>
      policy.metadata.namespace === pod.metadata.namespace &&
      directionsOf(policy).includes(direction) &&
      selects(policy.spec.podSelector, pod.metadata.labels),
  );
  if (selecting.length === 0) return true;
  const remoteAddress = direction === "ingress" ? traffic.source : traffic.destination;
  const destination = direction === "ingress" ? pod : remote;
  for (const policy of selecting) {
    for (const rule of policy.spec[direction] ?? []) {
      const peers = "from" in rule ? rule.from : "to" in rule ? rule.to : undefined;
      const peerMatches =
        peers === undefined ||
        peers.length === 0 ||
        peers.some((peer) => matchesPeer(cluster, peer, policy.metadata.namespace, remote, remoteAddress));
      const { ports } = rule;
      const portMatches =
        ports === undefined ||
        ports.length === 0 ||
        ports.some((port) => matchesPort(port, traffic, destination));
      if (peerMatches && portMatches) return true;
    }
  }
  return false;
}

function directionsOf({ spec }: OraclePolicy): string[] {
  const types = spec.policyTypes ?? [];
  if (types.length > 0) return types.map((type) => type.toLowerCase());
  return (spec.egress ?? []).length > 0 ? ["ingress", "egress"] : ["ingress"];
}

function selects(selector: OracleSelector, labels: Record<string, string>): boolean {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    if (labels[key] !== value) return false;
  }
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    const has = Object.hasOwn(labels, key);
    if (operator === "In" && !(has && values.includes(labels[key]!))) return false;
    if (operator === "NotIn" && has && values.includes(labels[key]!)) return false;
    if (operator === "Exists" && !has) return false;
    if (operator === "DoesNotExist" && has) return false;
  }
  return true;
}

function matchesPeer(
  cluster: OracleCluster,
  peer: OraclePeer,
  ownNamespace: string,
  remote: OraclePod | undefined,
  address: string,
): boolean {
  if (peer.ipBlock !== undefined) {
    const { cidr, except = [] } = peer.ipBlock;
    return isInside(address, cidr) && !except.some((each) => isInside(address, each));
  }
  if (remote === undefined) return false;
  if (peer.namespaceSelector === undefined) {
    if (remote.metadata.namespace !== ownNamespace) return false;
  } else {
    const namespace = cluster.namespaces.find(({ metadata }) => metadata.name === remote.metadata.namespace);
    if (namespace === undefined || !selects(peer.namespaceSelector, namespace.metadata.labels)) return false;
  }
  return selects(peer.podSelector ?? {}, remote.metadata.labels);
}

function matchesPort(port: OraclePort, traffic: OracleTraffic, destination: OraclePod | undefined): boolean {
  if ((port.protocol ?? "TCP") !== traffic.protocol) return false;
  if (port.port === undefined) return true;
  if (typeof port.port === "number")
    return traffic.port >= port.port && traffic.port <= (port.endPort ?? port.port);
  const named = destination?.spec.containers
    .flatMap(({ ports }) => ports)
    .find(({ name, protocol }) => name === port.port && protocol === traffic.protocol);
  return named !== undefined && named.containerPort === traffic.port;
}

/** Bit by bit. */
function isInside(address: string, cidr: string): boolean {
  const [base, length] = cidr.split("/");
  if (address.includes(":") !== base!.includes(":")) return false;
  return bitsOf(address).slice(0, Number(length)) === bitsOf(base!).slice(0, Number(length));
}

function bitsOf(address: string): string {
  if (!address.includes(":")) {
    return address
      .split(".")
      .map((octet) => Number(octet).toString(2).padStart(8, "0"))
      .join("");
  }
  const [head = "", tail = ""] = address.split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const zeros = address.includes("::") ? 8 - groups(head).length - groups(tail).length : 0;
  return [...groups(head), ...Array<string>(zeros).fill("0"), ...groups(tail)]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0"))
    .join("");
}
