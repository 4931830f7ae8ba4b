/**
 * A NetworkPolicy (networking.k8s.io/v1) from the API's JSON. The API server checks policies, so what is malformed here is a
 * newer or a foreign API: whatever cannot be understood isolates as far as it can, allows nothing, and is reported.
 */

import type { NetworkPolicy, PolicyPeer, PolicyPort, PolicyProtocol, PolicyRule } from "./model.ts";
import { parseBlock } from "./parse-block.ts";
import {
  hasUnknownMembers,
  isObject,
  type JsonObject,
  parseSelector,
  type ReportProblem,
  show,
} from "./parse-selector.ts";

/** More problems than this are counted, not listed. */
const MAX_PROBLEMS = 20;

/** Undefined only if it has no name or namespace: it then selects nothing that could be told. Never throws. */
export function parseNetworkPolicy(json: unknown): NetworkPolicy | undefined {
  const metadata = isObject(json) && isObject(json.metadata) ? json.metadata : {};
  const { namespace, name, uid } = metadata;
  if (typeof namespace !== "string" || typeof name !== "string" || namespace === "" || name === "") return;
  const problems: string[] = [];
  let problemCount = 0;
  const report: ReportProblem = (path, problem) => {
    if (++problemCount <= MAX_PROBLEMS) problems.push(`${path}: ${problem}`);
  };
  const given = (json as JsonObject).spec;
  if (given !== undefined && given !== null && !isObject(given))
    report("spec", `${show(given)} is no object`);
  const spec = isObject(given) ? given : {};
  // A member that this version does not know may narrow everything in it.
  const members = ["podSelector", "policyTypes", "ingress", "egress"];
  const isUnderstood = !hasUnknownMembers(spec, members, "spec", report);
  const types = parseTypes(spec, report);
  const rules = (direction: "ingress" | "egress") =>
    types[direction] ? parseRules(isUnderstood ? spec[direction] : [], direction, report) : undefined;
  const policy = {
    namespace,
    name,
    uid: typeof uid === "string" ? uid : "",
    podSelector: parseSelector(spec.podSelector, "spec.podSelector", report),
    ingress: rules("ingress"),
    egress: rules("egress"),
  };
  if (problemCount > MAX_PROBLEMS) problems.push(`and ${problemCount - MAX_PROBLEMS} more`);
  return { ...policy, problems };
}

/** `policyTypes` defaults to Ingress, and Egress if there are egress rules. Malformed ones isolate in both directions. */
function parseTypes(
  spec: JsonObject,
  report: ReportProblem,
): { readonly ingress: boolean; readonly egress: boolean } {
  const types: unknown = spec.policyTypes;
  const hasEgress = Array.isArray(spec.egress) ? spec.egress.length > 0 : spec.egress != null;
  if (types === undefined || types === null || (Array.isArray(types) && types.length === 0))
    return { ingress: true, egress: hasEgress };
  if (!Array.isArray(types) || types.some((type) => type !== "Ingress" && type !== "Egress")) {
    report("spec.policyTypes", `${show(types)} is no list of Ingress and Egress; it isolates both`);
    return { ingress: true, egress: true };
  }
  return { ingress: types.includes("Ingress"), egress: types.includes("Egress") };
}

function parseRules(value: unknown, direction: "ingress" | "egress", report: ReportProblem): PolicyRule[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) {
    report(`spec.${direction}`, `${show(value)} is no list`);
    return [];
  }
  const peerMember = direction === "ingress" ? "from" : "to";
  return value.flatMap((rule: unknown, index): PolicyRule[] => {
    const path = `spec.${direction}[${index}]`;
    if (!isObject(rule)) {
      report(path, `${show(rule)} is no rule`);
      return [];
    }
    if (hasUnknownMembers(rule, [peerMember, "ports"], path, report)) return [];
    return [
      {
        peers: parseList(rule[peerMember], `${path}.${peerMember}`, parsePeer, report),
        ports: parseList(rule.ports, `${path}.ports`, parsePort, report),
      },
    ];
  });
}

type ParseItem<T> = (value: unknown, path: string, report: ReportProblem) => T | undefined;

/** Undefined for a missing or empty list, which allows everything; without the items that cannot be understood. */
function parseList<T>(
  value: unknown,
  path: string,
  parseItem: ParseItem<T>,
  report: ReportProblem,
): T[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) {
    report(path, `${show(value)} is no list`);
    return [];
  }
  if (value.length === 0) return undefined;
  return value.flatMap((item, index) => parseItem(item, `${path}[${index}]`, report) ?? []);
}

function parsePeer(value: unknown, path: string, report: ReportProblem): PolicyPeer | undefined {
  if (!isObject(value)) {
    report(path, `${show(value)} is no peer`);
    return undefined;
  }
  if (hasUnknownMembers(value, ["podSelector", "namespaceSelector", "ipBlock"], path, report)) return;
  const isGiven = (member: string) => value[member] !== undefined && value[member] !== null;
  const hasPods = isGiven("podSelector");
  const hasNamespaces = isGiven("namespaceSelector");
  if (isGiven("ipBlock")) {
    if (!hasPods && !hasNamespaces) return parseBlock(value.ipBlock, `${path}.ipBlock`, report);
    report(path, "ipBlock excludes selectors; it allows nothing");
    return undefined;
  }
  if (!hasPods && !hasNamespaces) {
    report(path, "a peer needs podSelector, namespaceSelector or ipBlock; it allows nothing");
    return undefined;
  }
  return {
    kind: "pods",
    namespaces: hasNamespaces
      ? parseSelector(value.namespaceSelector, `${path}.namespaceSelector`, report)
      : undefined,
    pods: parseSelector(value.podSelector, `${path}.podSelector`, report),
  };
}

const PROTOCOLS: readonly PolicyProtocol[] = ["TCP", "UDP", "SCTP"];
const isPortNumber = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65535;

function parsePort(value: unknown, path: string, report: ReportProblem): PolicyPort | undefined {
  const refuse = (problem: string): undefined => report(path, `${problem}; it allows nothing`) as undefined;
  if (!isObject(value)) return refuse(`${show(value)} is no port`);
  if (hasUnknownMembers(value, ["protocol", "port", "endPort"], path, report)) return undefined;
  const { port, endPort } = value;
  const protocol = PROTOCOLS.find((each) => each === (value.protocol ?? "TCP"));
  if (protocol === undefined) return refuse(`unknown protocol ${show(value.protocol)}`);
  if (port === undefined || port === null) {
    if (endPort !== undefined && endPort !== null) return refuse("endPort needs port");
    return { kind: "range", protocol, first: 0, last: 65535 };
  }
  if (typeof port === "string") {
    if (endPort !== undefined && endPort !== null) return refuse("endPort excludes a named port");
    // The API's IntOrString: "80" is a name, which no container can have.
    return port === "" ? refuse("the name is empty") : { kind: "named", protocol, name: port };
  }
  if (!isPortNumber(port)) return refuse(`${show(port)} is no port`);
  if (endPort === undefined || endPort === null) return { kind: "range", protocol, first: port, last: port };
  if (!isPortNumber(endPort) || endPort < port)
    return refuse(`endPort ${show(endPort)} is no port from ${port} on`);
  return { kind: "range", protocol, first: port, last: endPort };
}
