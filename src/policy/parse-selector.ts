/**
 * Label selectors (apimachinery's meta/v1 LabelSelector) from the API's JSON. A requirement that cannot be understood stays as
 * one with the operator `Unknown`: whoever selects pods to isolate takes it as met, whoever looks for peers as not met.
 */

import type { LabelSelector, Labels, Requirement } from "./model.ts";

/** Collects what could not be understood: the path of the member, and why. */
export type ReportProblem = (path: string, problem: string) => void;

export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** For messages: what came instead, shortened. */
export const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? "undefined";
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};

/** Reports the members that this version does not know: each may narrow what is allowed. */
export function hasUnknownMembers(
  value: JsonObject,
  known: readonly string[],
  path: string,
  report: ReportProblem,
): boolean {
  const unknown = Object.keys(value).filter((member) => !known.includes(member));
  for (const member of unknown) report(`${path}.${member}`, "unknown member; update flanneld");
  return unknown.length > 0;
}

const UNKNOWN: Requirement = { key: "", operator: "Unknown", values: [] };
const OPERATORS = ["In", "NotIn", "Exists", "DoesNotExist"] as const;

/** Never fails: what is malformed becomes a requirement `Unknown`. `undefined` and `null` are the empty selector. */
export function parseSelector(value: unknown, path: string, report: ReportProblem): LabelSelector {
  if (value === undefined || value === null) return [];
  if (!isObject(value)) {
    report(path, `${show(value)} is no selector`);
    return [UNKNOWN];
  }
  const requirements: Requirement[] = [];
  if (hasUnknownMembers(value, ["matchLabels", "matchExpressions"], path, report)) requirements.push(UNKNOWN);
  const { matchLabels, matchExpressions } = value;
  if (isObject(matchLabels)) {
    for (const [key, label] of Object.entries(matchLabels)) {
      if (typeof label === "string") requirements.push({ key, operator: "In", values: [label] });
      else {
        report(`${path}.matchLabels[${key}]`, `${show(label)} is no text`);
        requirements.push(UNKNOWN);
      }
    }
  } else if (matchLabels !== undefined && matchLabels !== null) {
    report(`${path}.matchLabels`, `${show(matchLabels)} is no object`);
    requirements.push(UNKNOWN);
  }
  if (Array.isArray(matchExpressions)) {
    for (const [index, expression] of matchExpressions.entries()) {
      requirements.push(parseRequirement(expression, `${path}.matchExpressions[${index}]`, report));
    }
  } else if (matchExpressions !== undefined && matchExpressions !== null) {
    report(`${path}.matchExpressions`, `${show(matchExpressions)} is no list`);
    requirements.push(UNKNOWN);
  }
  return requirements;
}

function parseRequirement(value: unknown, path: string, report: ReportProblem): Requirement {
  const refuse = (problem: string): Requirement => {
    report(path, problem);
    return UNKNOWN;
  };
  if (!isObject(value)) return refuse(`${show(value)} is no requirement`);
  const { key, operator, values } = value;
  if (typeof key !== "string" || key === "") return refuse(`key ${show(key)} is no label`);
  const known = OPERATORS.find((each) => each === operator);
  if (known === undefined) return refuse(`unknown operator ${show(operator)}`);
  const list: unknown = values ?? [];
  if (!Array.isArray(list) || !list.every((each) => typeof each === "string"))
    return refuse(`values ${show(values)} is no list of texts`);
  const needsValues = known === "In" || known === "NotIn";
  if (needsValues && list.length === 0) return refuse(`${known} needs values`);
  if (!needsValues && list.length > 0) return refuse(`${known} takes no values`);
  return { key, operator: known, values: list };
}

/**
 * Whether labels fulfil a selector.
 * @param ifUnknown what counts for requirements that could not be understood
 */
export function matchesSelector(selector: LabelSelector, labels: Labels, ifUnknown: boolean): boolean {
  return selector.every(({ key, operator, values }) => {
    const label = labels.get(key);
    switch (operator) {
      case "In":
        return label !== undefined && values.includes(label);
      case "NotIn":
        return label === undefined || !values.includes(label);
      case "Exists":
        return label !== undefined;
      case "DoesNotExist":
        return label === undefined;
      default:
        return ifUnknown;
    }
  });
}
