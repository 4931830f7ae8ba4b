/** Validation of network policies (k8s.io/kubernetes/pkg/apis/networking/validation, without the selectors' labels). */

import { BlockList, isIP } from "node:net";
import type { FieldProblem } from "./kube-error.ts";
import { isJsonObject, type Json, type JsonObject } from "./kube-object.ts";

const PROTOCOLS = ["TCP", "UDP", "SCTP"];
const POLICY_TYPES = ["Ingress", "Egress"];
const OPERATORS = ["In", "NotIn", "Exists", "DoesNotExist"];
/** IANA_SVC_NAME. */
const PORT_NAME = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*$/;

/** The problems of a policy's spec. */
export function* networkPolicyProblems(spec: JsonObject | undefined): Iterable<FieldProblem> {
  if (!isJsonObject(spec)) return;
  yield* selectorProblems("spec.podSelector", spec.podSelector);
  for (const [index, type] of listOf(spec.policyTypes).entries()) {
    if (!POLICY_TYPES.includes(String(type)))
      yield unsupported(`spec.policyTypes[${index}]`, type, POLICY_TYPES);
  }
  for (const [direction, peers] of [
    ["ingress", "from"],
    ["egress", "to"],
  ] as const) {
    for (const [index, rule] of listOf(spec[direction]).entries()) {
      if (!isJsonObject(rule)) continue;
      const place = `spec.${direction}[${index}]`;
      for (const [port, value] of listOf(rule.ports).entries())
        yield* portProblems(`${place}.ports[${port}]`, value);
      for (const [peer, value] of listOf(rule[peers]).entries())
        yield* peerProblems(`${place}.${peers}[${peer}]`, value);
    }
  }
}

function* portProblems(place: string, port: Json): Iterable<FieldProblem> {
  if (!isJsonObject(port)) return;
  const { protocol, port: value, endPort } = port;
  if (protocol !== undefined && !PROTOCOLS.includes(String(protocol)))
    yield unsupported(`${place}.protocol`, protocol, PROTOCOLS);
  const isNumber = typeof value === "number";
  if (isNumber && !isPort(value))
    yield wrong(`${place}.port`, value, "must be between 1 and 65535, inclusive");
  if (typeof value === "string" && !PORT_NAME.test(value))
    yield wrong(
      `${place}.port`,
      value,
      "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
  if (typeof endPort !== "number") return;
  if (value === undefined)
    yield required(`${place}.endPort`, "may not be specified when `port` is not specified");
  else if (!isNumber) yield required(`${place}.endPort`, "may not be specified when `port` is non-numeric");
  else if (endPort < value)
    yield wrong(`${place}.endPort`, endPort, "must be greater than or equal to `port`");
}

function* peerProblems(place: string, peer: Json): Iterable<FieldProblem> {
  if (!isJsonObject(peer)) return;
  const { podSelector, namespaceSelector, ipBlock } = peer;
  const given = [podSelector, namespaceSelector, ipBlock].filter((one) => one !== undefined && one !== null);
  if (given.length === 0) {
    yield { field: place, reason: "FieldValueRequired", message: "Required value: must specify a peer" };
    return;
  }
  yield* selectorProblems(`${place}.podSelector`, podSelector);
  yield* selectorProblems(`${place}.namespaceSelector`, namespaceSelector);
  if (!isJsonObject(ipBlock)) return;
  if (given.length > 1) {
    yield {
      field: place,
      reason: "FieldValueForbidden",
      message: "Forbidden: may not specify both ipBlock and another peer",
    };
  }
  const { cidr } = ipBlock;
  if (!isCidr(cidr)) {
    yield wrong(
      `${place}.ipBlock.cidr`,
      cidr,
      "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
    );
    return;
  }
  for (const [index, except] of listOf(ipBlock.except).entries()) {
    const field = `${place}.ipBlock.except[${index}]`;
    if (!isCidr(except))
      yield wrong(field, except, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    else if (!isWithin(except, cidr)) yield wrong(field, except, "must be a strict subset of `cidr`");
  }
}

function* selectorProblems(place: string, selector: Json | undefined): Iterable<FieldProblem> {
  if (!isJsonObject(selector)) return;
  for (const [index, expression] of listOf(selector.matchExpressions).entries()) {
    if (!isJsonObject(expression)) continue;
    const field = `${place}.matchExpressions[${index}]`;
    const { operator, values } = expression;
    const hasValues = listOf(values).length > 0;
    if (!OPERATORS.includes(String(operator)))
      yield wrong(`${field}.operator`, operator, "not a valid selector operator");
    else if ((operator === "In" || operator === "NotIn") && !hasValues)
      yield required(`${field}.values`, "must be specified when `operator` is 'In' or 'NotIn'");
    else if ((operator === "Exists" || operator === "DoesNotExist") && hasValues)
      yield {
        field: `${field}.values`,
        reason: "FieldValueForbidden",
        message: "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
      };
  }
}

function isCidr(value: Json | undefined): value is string {
  const [address = "", length = "", ...rest] = typeof value === "string" ? value.split("/") : [];
  const family = isIP(address);
  return (
    family !== 0 &&
    rest.length === 0 &&
    /^\d{1,3}$/.test(length) &&
    Number(length) <= (family === 4 ? 32 : 128)
  );
}

/** Whether a prefix is a smaller part of another. */
function isWithin(inner: string, outer: string): boolean {
  const [address, length] = inner.split("/") as [string, string];
  const [outerAddress, outerLength] = outer.split("/") as [string, string];
  const family = (text: string) => (isIP(text) === 4 ? "ipv4" : "ipv6");
  if (family(address) !== family(outerAddress) || Number(length) <= Number(outerLength)) return false;
  const block = new BlockList();
  block.addSubnet(outerAddress, Number(outerLength), family(outerAddress));
  return block.check(address, family(address));
}

const listOf = (value: Json | undefined): readonly Json[] => (Array.isArray(value) ? value : []);
const isPort = (value: number): boolean => Number.isInteger(value) && value >= 1 && value <= 65535;

const wrong = (field: string, value: Json | undefined, why: string): FieldProblem => ({
  field,
  reason: "FieldValueInvalid",
  message: `Invalid value: ${JSON.stringify(value ?? null)}: ${why}`,
});
const required = (field: string, why: string): FieldProblem => ({
  field,
  reason: "FieldValueRequired",
  message: `Required value: ${why}`,
});
const unsupported = (field: string, value: Json, supported: readonly string[]): FieldProblem => ({
  field,
  reason: "FieldValueInvalid",
  message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((text) => JSON.stringify(text)).join(", ")}`,
});
