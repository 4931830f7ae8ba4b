/** A large cluster for the benchmark of network policies: objects as the API server has them, and the compiler's input. */

import type { PolicyInput, PolicyPod } from "../../src/policy/model.ts";
import { createObjectParser } from "../../src/policy/parse-objects.ts";
import { parseNetworkPolicy } from "../../src/policy/parse-policy.ts";

export const PODS = 10_000;
export const POLICIES = 1_000;
const NAMESPACES = 100;
/** Of the pods every 40th runs here, three of each namespace; all are of the app that every policy selects. */
const LOCAL_EVERY = 40;
const APPS = 10;
const NODE = "here";

type Maps = {
  -readonly [K in keyof PolicyInput]: Map<
    string,
    PolicyInput[K] extends ReadonlyMap<string, infer V> ? V : never
  >;
};

const parser = createObjectParser(NODE);

/** Pod `index`: the address follows from it. */
export function podOf(index: number, app = Math.floor(index / NAMESPACES) % APPS): PolicyPod {
  return parser.pod({
    metadata: {
      namespace: `ns-${index % NAMESPACES}`,
      name: `pod-${index}`,
      uid: `uid-${index}`,
      labels: { app: `app-${app}`, "pod-template-hash": `${index % NAMESPACES}-${app}` },
    },
    spec: {
      nodeName: Math.floor(index / NAMESPACES) % LOCAL_EVERY === 0 ? NODE : "there",
      containers: [{ ports: [{ name: "http", containerPort: 8080 }] }],
    },
    status: { phase: "Running", podIPs: [{ ip: addressOf(index) }] },
  })!;
}
export const addressOf = (index: number): string => `10.${16 + (index >> 8)}.0.${index & 255}`;

/** Policy `index` of its namespace allows pods of one app, another namespace, and some block, on a few ports. */
export function policyOf(index: number, port = 80) {
  const app = Math.floor(index / NAMESPACES) % APPS;
  return parseNetworkPolicy({
    metadata: { namespace: `ns-${index % NAMESPACES}`, name: `policy-${index}`, uid: `policy-${index}` },
    spec: {
      podSelector: { matchExpressions: [{ key: "app", operator: "In", values: ["app-0", `app-${app}`] }] },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        {
          from: [
            { podSelector: { matchLabels: { app: `app-${(app + 1) % APPS}` } } },
            { namespaceSelector: { matchLabels: { team: `team-${index % 10}` } } },
          ],
          ports: [{ port }, { port: "http" }],
        },
        { from: [{ ipBlock: { cidr: "172.16.0.0/12", except: [`172.16.${index % 256}.0/24`] } }] },
      ],
      egress: [
        { to: [{ namespaceSelector: {} }], ports: [{ protocol: "UDP", port: 53 }] },
        { to: [{ podSelector: {} }] },
      ],
    },
  })!;
}

/** The whole cluster. */
export function largeInput(): Maps {
  const input: Maps = { pods: new Map(), namespaces: new Map(), policies: new Map() };
  for (let index = 0; index < PODS; index++) {
    const pod = podOf(index);
    input.pods.set(`${pod.namespace}/${pod.name}`, pod);
  }
  for (let index = 0; index < NAMESPACES; index++) {
    const labels = { team: `team-${index % 10}` };
    input.namespaces.set(`ns-${index}`, parser.namespace({ metadata: { name: `ns-${index}`, labels } })!);
  }
  for (let index = 0; index < POLICIES; index++) {
    const policy = policyOf(index);
    input.policies.set(`${policy.namespace}/${policy.name}`, policy);
  }
  return input;
}
