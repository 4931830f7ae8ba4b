/** Label and field selectors of lists and watches (k8s.io/apimachinery/pkg/labels and fields). */

import { badRequest } from "./kube-error.ts";
import type { KubeObject } from "./kube-object.ts";
import type { Resource } from "./resources.ts";

/** Whether an object matches. */
export type Selector = (object: KubeObject) => boolean;

/** Undefined = all objects. Throws KubeError BadRequest. */
export function parseSelectors(
  resource: Resource,
  fieldSelector: string,
  labelSelector: string,
  namespace: string | undefined,
): Selector | undefined {
  const terms = [...fieldTerms(resource, fieldSelector), ...labelTerms(labelSelector)];
  if (namespace !== undefined) terms.push(({ metadata }) => metadata.namespace === namespace);
  return terms.length === 0 ? undefined : (object) => terms.every((term) => term(object));
}

/** The name that a field selector requires; undefined = any. */
export const nameOf = (fieldSelector: string): string | undefined =>
  /(?:^|,)metadata\.name==?([^,=!]+)(?:,|$)/.exec(fieldSelector)?.[1];

function fieldTerms(resource: Resource, selector: string): Selector[] {
  return selector
    .split(",")
    .filter((term) => term !== "")
    .map((term) => {
      const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(term);
      if (match === null) throw badRequest(`invalid selector: '${selector}'; can't understand '${term}'`);
      const [, field, operator, value] = match as unknown as [string, string, string, string];
      const read = Object.hasOwn(resource.fields, field) ? resource.fields[field] : undefined;
      if (read === undefined) throw badRequest(`field label not supported: ${field}`);
      return (object) => (read(object) === value) === (operator !== "!=");
    });
}

const KEY = "[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?";
const EQUALITY = new RegExp(`^(${KEY})\\s*(==|=|!=)\\s*([-A-Za-z0-9_.]*)$`);
const SET = new RegExp(`^(${KEY})\\s+(in|notin)\\s*\\(([-A-Za-z0-9_.,\\s]*)\\)$`);
const EXISTS = new RegExp(`^(!?)\\s*(${KEY})$`);

function labelTerms(selector: string): Selector[] {
  return selector
    .split(/,(?![^(]*\))/)
    .map((term) => term.trim())
    .filter((term) => term !== "")
    .map((term) => {
      const equality = EQUALITY.exec(term);
      if (equality !== null) {
        const [, key, operator, value] = equality as unknown as [string, string, string, string];
        return (object) => (labelOf(object, key) === value) === (operator !== "!=");
      }
      const set = SET.exec(term);
      if (set !== null) {
        const [, key, operator, list] = set as unknown as [string, string, string, string];
        const values = list.split(",").map((value) => value.trim());
        return (object) => {
          const label = labelOf(object, key);
          return (label !== undefined && values.includes(label)) === (operator === "in");
        };
      }
      const exists = EXISTS.exec(term);
      if (exists === null) throw badRequest(`unable to parse requirement: found '${term}' in '${selector}'`);
      const [, not, key] = exists as unknown as [string, string, string];
      return (object) => (labelOf(object, key) !== undefined) === (not === "");
    });
}

function labelOf({ metadata }: KubeObject, key: string): string | undefined {
  const { labels } = metadata;
  return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
}
