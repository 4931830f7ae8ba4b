/** JSON merge patch (RFC 7386). */

import { isJsonObject, type Json } from "./kube-object.ts";

/** Applies a patch; the result shares the parts that the patch does not name with the target. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  const merged = new Map(Object.entries(isJsonObject(target) ? target : {}));
  for (const [member, value] of Object.entries(patch)) {
    if (value === null || value === undefined) merged.delete(member);
    else merged.set(member, mergePatch(merged.get(member), value));
  }
  return Object.fromEntries(merged);
}
