/**
 * Strategic merge patch: a merge patch in which some lists are merged by a key instead of replaced
 * (k8s.io/apimachinery/pkg/util/strategicpatch, with its directives `$patch`, `$setElementOrder`,
 * `$deleteFromPrimitiveList` and `$retainKeys`).
 */

import { badRequest, unprocessable } from "./kube-error.ts";
import { isJsonObject, type Json, type JsonObject, sameJson } from "./kube-object.ts";
import type { MergedLists } from "./resources.ts";

const DELETE_FROM_LIST = "$deleteFromPrimitiveList/";
const SET_ORDER = "$setElementOrder/";

/** Throws KubeError: BadRequest for an invalid directive, Unprocessable for a list element without its key. */
export function strategicMergePatch(
  target: JsonObject,
  patch: JsonObject,
  mergedLists: MergedLists,
): JsonObject {
  const { $patch, $retainKeys, ...members } = patch;
  if ($patch === "replace") return members;
  if ($patch === "delete") return {};
  if ($patch !== undefined && $patch !== "merge") throw unknownDirective($patch);

  const merged = new Map(Object.entries(target));
  if ($retainKeys !== undefined) {
    if (!Array.isArray($retainKeys)) throw badRequest("invalid patch format of retainKeys");
    for (const member of merged.keys()) if (!$retainKeys.includes(member)) merged.delete(member);
  }
  for (const [member, value] of Object.entries(members)) {
    if (member.startsWith(DELETE_FROM_LIST)) {
      const name = member.slice(DELETE_FROM_LIST.length);
      const list = merged.get(name);
      if (!Array.isArray(value)) throw badRequest("invalid patch format of primitive list");
      if (Array.isArray(list))
        merged.set(
          name,
          list.filter((item) => !value.includes(item)),
        );
    }
  }
  for (const [member, value] of Object.entries(members)) {
    if (member.startsWith(DELETE_FROM_LIST) || member.startsWith(SET_ORDER)) continue;
    if (value === null || value === undefined) merged.delete(member);
    else merged.set(member, mergeMember(merged.get(member), value, mergedLists[member]));
  }
  for (const [member, order] of Object.entries(members)) {
    if (!member.startsWith(SET_ORDER)) continue;
    const name = member.slice(SET_ORDER.length);
    const list = merged.get(name);
    if (!Array.isArray(order)) throw badRequest("invalid patch format of setElementOrder list");
    if (Array.isArray(list)) merged.set(name, ordered(list, order, mergedLists[name]?.mergeKey));
  }
  return Object.fromEntries(merged);
}

function mergeMember(target: Json | undefined, patch: Json, lists: MergedLists[string] | undefined): Json {
  if (isJsonObject(patch)) {
    return strategicMergePatch(isJsonObject(target) ? target : {}, patch, lists?.inside ?? {});
  }
  if (!Array.isArray(patch) || lists?.mergeKey === undefined) return patch;
  const list = Array.isArray(target) ? target : [];
  if (lists.mergeKey === "") return [...list, ...patch.filter((item) => !list.includes(item))];
  return mergeObjects(list, patch, lists.mergeKey, lists.inside ?? {});
}

function mergeObjects(
  target: readonly Json[],
  patch: readonly Json[],
  mergeKey: string,
  inside: MergedLists,
): Json[] {
  const elements = patch.map((element) => {
    if (!isJsonObject(element)) throw badRequest("invalid patch format of a list of objects");
    return element;
  });
  if (elements.some(({ $patch }) => $patch === "replace")) {
    return elements.filter(({ $patch }) => $patch === undefined);
  }
  let merged = [...target];
  for (const element of elements) {
    const key = element[mergeKey];
    if (key === undefined || key === null) {
      throw unprocessable(`map: ${JSON.stringify(element)} does not contain declared merge key: ${mergeKey}`);
    }
    const isSame = (item: Json) => isJsonObject(item) && item[mergeKey] === key;
    if (element.$patch === "delete") {
      merged = merged.filter((item) => !isSame(item));
      continue;
    }
    const index = merged.findIndex(isSame);
    const current = index < 0 ? {} : (merged[index] as JsonObject);
    const next = strategicMergePatch(current, element, inside);
    if (index < 0) merged.push(next);
    else merged[index] = next;
  }
  return merged;
}

/** Sorts the elements that `order` names; every other element stays behind its predecessor. */
function ordered(list: readonly Json[], order: readonly Json[], mergeKey: string | undefined): Json[] {
  const keyOf = (item: Json | undefined): Json | undefined =>
    mergeKey !== undefined && mergeKey !== "" && isJsonObject(item) ? item[mergeKey] : item;
  const places = list.map((item) => order.findIndex((expected) => sameJson(keyOf(expected), keyOf(item))));
  let place = -1;
  return list
    .map((item, index) => {
      if (places[index]! >= 0) place = places[index]!;
      return { item, place };
    })
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item);
}

const unknownDirective = (directive: Json) =>
  badRequest(`Unknown patch type found: ${JSON.stringify(directive)}`);
