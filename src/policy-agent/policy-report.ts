/** Network policies as an operator sees them: what is in effect, what a pod's policies allow, and why a connection is denied. */

import { formatIp, parseIp } from "../address/ip.ts";
import { PolicyCompiler } from "../policy/compile.ts";
import { judge } from "../policy/judge.ts";
import type { DesiredFilter, Direction, FilterChain, FilterRule, PolicyPod } from "../policy/model.ts";
import type { Denial } from "../policy/policy-filter.ts";
import type { Explanation, PodPolicies, PolicyState } from "../status/api-policies.ts";
import { type Metric, single } from "../status/metrics-text.ts";
import type { PolicySource, QueryFault } from "../status/status-source.ts";
import { DenialTotals } from "./denial-totals.ts";
import { keyOf } from "./pod-table.ts";
import type { PolicyAgent } from "./policy-agent.ts";

const DIRECTIONS: readonly Direction[] = ["egress", "ingress"];
/** Elements of a set that are listed. */
const MAX_ELEMENTS = 10;

/** The answers of the status API; everything is read at the moment of a request. */
export function policySource(agent: PolicyAgent, digest: (text: string) => string): PolicySource {
  const totals = new DenialTotals();
  return {
    state: () => state(agent),
    pod: (name) => podPolicies(agent, name),
    explain: (from, to, port) => explain(agent, digest, { from, to, port }),
    metrics: () => metrics(agent, totals),
  };
}

async function metrics(
  { cluster, keeper, pods, filter }: PolicyAgent,
  totals: DenialTotals,
): Promise<Metric[]> {
  const { applied } = keeper;
  if (applied !== undefined) totals.take(await filter.denials(), applied);
  const isInEffect = applied !== undefined && keeper.problem === undefined;
  return [
    single(
      "gauge",
      "flannel_policy_in_effect",
      "Whether all known network policies are in the kernel.",
      isInEffect ? 1 : 0,
    ),
    single(
      "gauge",
      "flannel_policy_policies",
      "Network policies of the cluster.",
      cluster?.input.policies.size ?? 0,
    ),
    single("gauge", "flannel_policy_pods", "Pods of the cluster that are known.", pods.pods.size),
    single(
      "counter",
      "flannel_policy_changes_total",
      "Passes that changed the packet filter.",
      keeper.passes,
    ),
    totals.metric,
  ];
}

async function state(agent: PolicyAgent): Promise<PolicyState | undefined> {
  const { cluster, keeper, pods, filter } = agent;
  const applied = keeper.applied;
  if (cluster === undefined || cluster.missing.size > 0) return undefined;
  const { policies } = cluster.input;
  const local = [...pods.pods.values()].filter(({ isLocal }) => isLocal);
  const denied = await deniedByAddress(agent);
  const selected = new Map<string, { directions: Set<Direction>; pods: Set<string>; denied: number }>();
  const isolated = new Set<string>();
  for (const pod of local) {
    for (const [direction, address, chain] of chainsOf(applied, pod)) {
      isolated.add(keyOf(pod));
      for (const policy of chain.policies) {
        const entry = selected.get(policy) ?? { directions: new Set(), pods: new Set(), denied: 0 };
        entry.directions.add(direction);
        entry.pods.add(keyOf(pod));
        entry.denied += denied.get(`${direction} ${address}`) ?? 0;
        selected.set(policy, entry);
      }
    }
  }
  const concerned = [...policies].filter(([key, { problems }]) => selected.has(key) || problems.length > 0);
  return {
    isInEffect: applied !== undefined && keeper.problem === undefined,
    ...(keeper.problem !== undefined && { problem: keeper.problem }),
    pods: pods.pods.size,
    localPods: local.length,
    isolatedPods: isolated.size,
    policies: policies.size,
    changes: keeper.passes,
    cutConnections: filter.cutCount,
    selecting: concerned.map(([key, { namespace, name, problems }]) => ({
      namespace,
      name,
      directions: [...(selected.get(key)?.directions ?? [])],
      pods: [...(selected.get(key)?.pods ?? [])].sort(),
      deniedPackets: selected.get(key)?.denied ?? 0,
      problems: [...problems],
    })),
  };
}

async function podPolicies(agent: PolicyAgent, name: string): Promise<PodPolicies | QueryFault | undefined> {
  const { cluster, keeper, pods } = agent;
  if (cluster === undefined || cluster.missing.size > 0) return undefined;
  const pod = findPod(pods.pods, name);
  if (pod === undefined) return { fault: noPod(name) };
  const filter = keeper.applied;
  const denied = await deniedByAddress(agent);
  const isStarting = pods.claims.some((claim) => keyOf(claim) === keyOf(pod));
  return {
    namespace: pod.namespace,
    name: pod.name,
    addresses: [...pod.addresses],
    isLocal: pod.isLocal,
    isHostNetwork: pod.isHostNetwork,
    state: isStarting ? "starting" : pod.phase === "terminating" ? "terminating" : "active",
    sides: DIRECTIONS.map((direction) => {
      const chains = [...chainsOf(filter, pod)].filter(([each]) => each === direction);
      const policies = new Set(chains.flatMap(([, , chain]) => chain.policies));
      return {
        direction,
        isIsolated: chains.length > 0,
        policies: [...policies],
        allows: chains.flatMap(([, , chain]) =>
          chain.rules.map((rule) => describeRule(filter!, chain, rule)),
        ),
        deniedPackets: pod.addresses.reduce(
          (sum, address) => sum + (denied.get(`${direction} ${address}`) ?? 0),
          0,
        ),
      };
    }),
  };
}

interface Question {
  readonly from: string;
  readonly to: string;
  readonly port: string;
}

/** Judged by a filter that has both ends, wherever they run: this node's has its own pods only. */
function explain(
  { cluster, pods }: PolicyAgent,
  digest: (text: string) => string,
  { from, to, port }: Question,
): Explanation | QueryFault | undefined {
  if (cluster === undefined || cluster.missing.size > 0) return undefined;
  const { namespaces, policies } = cluster.input;
  const ends = [from, to].map((text) => endOf(pods.pods, text));
  for (const end of ends) if ("fault" in end) return end;
  const [source, target] = ends as [End, End];
  const asked = parsePort(port, target.pod);
  if ("fault" in asked) return asked;
  const pair = commonFamily(source, target);
  if (pair === undefined) return { fault: `${from} and ${to} have no addresses of one family` };
  const both = new Map(
    [...pods.pods].map(([key, pod]) => [key, { ...pod, isLocal: pod === source.pod || pod === target.pod }]),
  );
  const filter = new PolicyCompiler(digest).compile({ pods: both, namespaces, policies });
  const [sourceAddress, destination] = pair;
  const verdict = judge(filter, { source: sourceAddress, destination, ...asked });
  const notes: string[] = [];
  if (source.pod?.isHostNetwork || target.pod?.isHostNetwork)
    notes.push("a pod with the node's network is no pod for policies: only ipBlock matches its address");
  if (sourceAddress === destination) notes.push("a pod always reaches itself");
  if (source.pod === undefined && target.pod?.isLocal)
    notes.push("connections from the node of the pod itself are always allowed");
  return {
    from: source.pod === undefined ? sourceAddress : keyOf(source.pod),
    to: target.pod === undefined ? destination : keyOf(target.pod),
    source: sourceAddress,
    destination,
    ...asked,
    isAllowed: verdict.isAllowed,
    ends: DIRECTIONS.map((direction) => {
      const { pod } = direction === "egress" ? source : target;
      const end = verdict.ends.find((each) => each.direction === direction);
      return {
        direction,
        ...(pod !== undefined && { pod: keyOf(pod) }),
        isIsolated: end !== undefined,
        isAllowed: end === undefined || end.allowedBy !== undefined,
        policies: [...(end?.chain.policies ?? [])],
        allowedBy: [...(end?.allowedBy?.policies ?? [])],
      };
    }),
    notes,
  };
}

/** One end of a connection. */
interface End {
  readonly pod: PolicyPod | undefined;
  readonly addresses: readonly string[];
}

function endOf(pods: ReadonlyMap<string, PolicyPod>, text: string): End | QueryFault {
  const pod = findPod(pods, text);
  if (pod !== undefined) {
    return pod.addresses.length === 0
      ? { fault: `pod ${keyOf(pod)} has no address yet` }
      : { pod, addresses: pod.addresses };
  }
  const ip = parseIp(text);
  return ip === undefined ? { fault: noPod(text) } : { pod: undefined, addresses: [formatIp(ip)] };
}

const noPod = (text: string): string =>
  `no pod ${JSON.stringify(text.slice(0, 100))}; write NAMESPACE/NAME, NAME in the namespace default, or an address`;

/** By "namespace/name", by name in the namespace default, or by address. */
function findPod(pods: ReadonlyMap<string, PolicyPod>, text: string): PolicyPod | undefined {
  const named = pods.get(text.includes("/") ? text : `default/${text}`);
  if (named !== undefined) return named;
  const ip = parseIp(text);
  if (ip === undefined) return undefined;
  const address = formatIp(ip);
  for (const pod of pods.values()) if (!pod.isHostNetwork && pod.addresses.includes(address)) return pod;
  return undefined;
}

/** "80", "53/udp", "udp/53", or the name of one of the pod's ports. */
function parsePort(
  text: string,
  pod: PolicyPod | undefined,
): { readonly protocol: string; readonly port: number } | QueryFault {
  const numbers = /^(?:(\d{1,5})(?:\/(tcp|udp|sctp))?|(tcp|udp|sctp)\/(\d{1,5}))$/i.exec(text);
  if (numbers !== null) {
    const port = Number(numbers[1] ?? numbers[4]);
    const protocol = (numbers[2] ?? numbers[3] ?? "tcp").toUpperCase();
    if (port >= 1 && port <= 65_535) return { protocol, port };
  }
  const named = pod?.ports.find(({ name }) => name === text);
  if (named !== undefined) return { protocol: named.protocol, port: named.port };
  return {
    fault: `${JSON.stringify(text.slice(0, 100))} is no port: write 80, 53/udp, or the name of a port of the pod in TO`,
  };
}

function commonFamily(source: End, target: End): readonly [string, string] | undefined {
  for (const address of source.addresses) {
    const other = target.addresses.find((each) => each.includes(":") === address.includes(":"));
    if (other !== undefined) return [address, other];
  }
  return undefined;
}

/** The chains of a pod's addresses. */
function* chainsOf(
  filter: DesiredFilter | undefined,
  pod: PolicyPod,
): Iterable<readonly [Direction, string, FilterChain]> {
  for (const direction of DIRECTIONS) {
    for (const address of pod.addresses) {
      const chain = filter?.chains.get(filter[direction].get(address) ?? "");
      if (chain !== undefined) yield [direction, address, chain];
    }
  }
}

/** "from 10.5.1.7, 10.5.2.9 to TCP 80 (shop/web)". */
function describeRule(filter: DesiredFilter, chain: FilterChain, rule: FilterRule): string {
  const { peers, protocol, ports, endpoints, policies } = rule;
  const word = chain.direction === "ingress" ? "from" : "to";
  const end = peers === undefined ? `${word} everyone` : `${word} ${elementsOf(filter, peers)}`;
  const range =
    ports === undefined
      ? ""
      : typeof ports === "string"
        ? ` ${elementsOf(filter, ports)}`
        : ` ${ports.first === ports.last ? ports.first : `${ports.first}-${ports.last}`}`;
  const what =
    endpoints !== undefined
      ? ` at ${elementsOf(filter, endpoints)}`
      : protocol === undefined
        ? ""
        : `, ${protocol}${range}`;
  return `${end}${what} (${policies.join(", ")})`;
}

function elementsOf({ sets }: DesiredFilter, name: string): string {
  const elements = sets.get(name)?.elements ?? [];
  if (elements.length === 0) return "nobody";
  const rest = elements.length - MAX_ELEMENTS;
  return `${elements.slice(0, MAX_ELEMENTS).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

/** By "direction address". */
async function deniedByAddress(agent: PolicyAgent): Promise<ReadonlyMap<string, number>> {
  if (agent.keeper.applied === undefined) return new Map();
  const denials: readonly Denial[] = await agent.filter.denials();
  return new Map(denials.map(({ direction, address, packets }) => [`${direction} ${address}`, packets]));
}
