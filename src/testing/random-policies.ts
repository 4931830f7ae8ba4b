/**
 * Random clusters for network policies, small enough that selectors, blocks and ports meet each other often. From a seed, so
 * that a failure can be repeated.
 */

import type { PolicyInput } from "../policy/model.ts";
import { createObjectParser } from "../policy/parse-objects.ts";
import { parseNetworkPolicy } from "../policy/parse-policy.ts";
import type {
  OracleCluster,
  OraclePeer,
  OraclePod,
  OraclePolicy,
  OraclePort,
  OracleSelector,
  OracleTraffic,
} from "./policy-oracle.ts";

/** A source of chance: below 1. */
export type Random = () => number;

/** Deterministic numbers from a seed (mulberry32). */
export function randomFrom(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const NAMESPACES = ["red", "green", "blue"];
const KEYS = ["app", "tier"];
const VALUES = ["a", "b", "c"];
/** Ports that traffic and rules use. */
const PORTS = [80, 81, 443, 8080];
const PROTOCOLS = ["TCP", "UDP", "SCTP"];
const NODES = ["here", "there"];

const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
const some = <T>(random: Random, max: number, make: () => T): T[] =>
  Array.from({ length: Math.floor(random() * (max + 1)) }, make);
const maybe = <T>(random: Random, chance: number, make: () => T): T | undefined =>
  random() < chance ? make() : undefined;
const defined = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;

const labels = (random: Random): Record<string, string> =>
  Object.fromEntries(KEYS.filter(() => random() < 0.7).map((key) => [key, pick(random, VALUES)]));

function selector(random: Random): OracleSelector {
  return defined<OracleSelector>({
    ...(random() < 0.5 ? { matchLabels: { [pick(random, KEYS)]: pick(random, VALUES) } } : {}),
    ...(random() < 0.4
      ? {
          matchExpressions: [
            random() < 0.6
              ? {
                  key: pick(random, KEYS),
                  operator: pick(random, ["In", "NotIn"] as const),
                  values: [pick(random, VALUES), pick(random, VALUES)],
                }
              : { key: pick(random, KEYS), operator: pick(random, ["Exists", "DoesNotExist"] as const) },
          ],
        }
      : {}),
  });
}

/** @param count pods; each has an IPv4 address 10.9.x.y, and most an IPv6 address fd09::x:y */
export function randomPods(random: Random, count: number): OraclePod[] {
  return Array.from({ length: count }, (_, index): OraclePod => {
    const isHost = random() < 0.08;
    const [high, low] = [Math.floor(index / 200), (index % 200) + 1];
    const address = isHost ? "192.0.2.10" : `10.9.${high}.${low}`;
    const ipv6 = isHost ? "2001:db8::10" : `fd09::${(high + 1).toString(16)}:${low.toString(16)}`;
    return {
      metadata: {
        namespace: pick(random, NAMESPACES),
        name: `pod-${index}`,
        uid: `uid-${index}`,
        labels: labels(random),
      },
      spec: defined({
        nodeName: pick(random, NODES),
        hostNetwork: isHost || undefined,
        containers: [
          {
            ports: some(random, 2, () => ({
              name: pick(random, ["web", "api"]),
              containerPort: pick(random, PORTS),
              protocol: pick(random, PROTOCOLS),
            })),
          },
        ],
      }),
      status: {
        phase: random() < 0.08 ? "Succeeded" : "Running",
        podIPs: [{ ip: address }, ...(random() < 0.8 ? [{ ip: ipv6 }] : [])],
      },
    };
  });
}

const block = (random: Random): OraclePeer => ({
  ipBlock: pick(random, [
    { cidr: "10.9.0.0/16", except: ["10.9.0.0/29"] },
    { cidr: "10.9.0.0/29", except: ["10.9.0.4/31", "10.9.0.2/32"] },
    { cidr: "0.0.0.0/0", except: ["10.9.0.0/16"] },
    { cidr: "0.0.0.0/0" },
    { cidr: "198.51.100.0/24" },
    { cidr: "fd09::/16", except: ["fd09::1:0/125"] },
    { cidr: "::/0", except: ["fd09::/16"] },
    { cidr: "10.9.0.3/32" },
  ]),
});

const peer = (random: Random): OraclePeer => {
  if (random() < 0.3) return block(random);
  const kind = random();
  return defined<OraclePeer>({
    ...(kind < 0.7 ? { podSelector: selector(random) } : {}),
    ...(kind > 0.4 ? { namespaceSelector: selector(random) } : {}),
  });
};

function port(random: Random): OraclePort {
  const kind = random();
  const protocol = random() < 0.2 ? {} : { protocol: pick(random, PROTOCOLS) };
  if (kind < 0.15) return protocol;
  if (kind < 0.4) return { ...protocol, port: pick(random, ["web", "api", "none"]) };
  if (kind < 0.6)
    return { ...protocol, port: pick(random, [1, 80, 81]), endPort: pick(random, [81, 443, 9000]) };
  return { ...protocol, port: pick(random, PORTS) };
}

export function randomPolicies(random: Random, count: number): OraclePolicy[] {
  return Array.from({ length: count }, (_, index): OraclePolicy => {
    const ingress = maybe(random, 0.7, () =>
      some(random, 2, () =>
        defined({
          from: maybe(random, 0.8, () => some(random, 2, () => peer(random))),
          ports: maybe(random, 0.6, () => some(random, 3, () => port(random))),
        }),
      ),
    );
    const egress = maybe(random, 0.5, () =>
      some(random, 2, () =>
        defined({
          to: maybe(random, 0.8, () => some(random, 2, () => peer(random))),
          ports: maybe(random, 0.6, () => some(random, 3, () => port(random))),
        }),
      ),
    );
    const policyTypes = maybe(random, 0.6, () =>
      pick(random, [["Ingress"], ["Egress"], ["Ingress", "Egress"], []]),
    );
    return {
      metadata: { namespace: pick(random, NAMESPACES), name: `policy-${index}` },
      spec: defined({ podSelector: selector(random), policyTypes, ingress, egress }),
    };
  });
}

export function randomCluster(random: Random, podCount: number, policyCount: number): OracleCluster {
  return {
    nodeName: "here",
    // "blue" exists for its pods only: the watch of namespaces may be late
    namespaces: NAMESPACES.filter((name) => name !== "blue" || random() < 0.7).map((name) => ({
      metadata: { name, labels: labels(random) },
    })),
    pods: randomPods(random, podCount),
    policies: randomPolicies(random, policyCount),
  };
}

/** Connections between pods, and with addresses that no pod has. */
export function randomTraffic(random: Random, cluster: OracleCluster, count: number): OracleTraffic[] {
  const addresses = cluster.pods.flatMap(({ status }) => status.podIPs.map(({ ip }) => ip));
  const ipv4 = [...addresses.filter((each) => !each.includes(":")), "198.51.100.7", "192.0.2.10"];
  const ipv6 = [...addresses.filter((each) => each.includes(":")), "2001:db8::7", "fd09::ffff:1"];
  return Array.from({ length: count }, () => {
    const list = random() < 0.6 ? ipv4 : ipv6;
    return {
      source: pick(random, list),
      destination: pick(random, list),
      protocol: pick(random, [...PROTOCOLS, "ICMP"]),
      port: pick(random, [...PORTS, 7]),
    };
  });
}

/** The cluster as the compiler takes it. */
export function inputOf(cluster: OracleCluster): PolicyInput {
  const parser = createObjectParser(cluster.nodeName);
  const input = { pods: new Map(), namespaces: new Map(), policies: new Map() };
  for (const json of cluster.pods) {
    const pod = parser.pod(json)!;
    input.pods.set(`${pod.namespace}/${pod.name}`, pod);
  }
  for (const json of cluster.namespaces) input.namespaces.set(json.metadata.name, parser.namespace(json)!);
  for (const json of cluster.policies) {
    const policy = parseNetworkPolicy(json)!;
    if (policy.problems.length > 0) throw new Error(policy.problems.join("; "));
    input.policies.set(`${policy.namespace}/${policy.name}`, policy);
  }
  return input;
}
