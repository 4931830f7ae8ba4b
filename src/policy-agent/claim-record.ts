/**
 * The claims of starting pods over a restart of flanneld: between the plugin's report and the API server's, only flanneld knows
 * their addresses. A file of a few lines in /run, written when they change; a malformed one counts as empty.
 */

import { isObject } from "../config/json-members.ts";
import type { Claim } from "./pod-table.ts";
import { parseStartingPod } from "./starting-pod.ts";

/** The file's text. */
export const formatClaims = (claims: readonly Claim[]): string =>
  `${JSON.stringify(claims.map(({ namespace, name, uid, addresses }) => ({ namespace, name, uid, addresses })))}\n`;

/** The claims in a text; undefined = there is no file. */
export function parseClaims(text: string | undefined): readonly Claim[] {
  let value: unknown;
  try {
    value = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  const items: readonly unknown[] = Array.isArray(value) ? value : [];
  return items.flatMap((item) => {
    const pod = isObject(item) ? parseStartingPod(JSON.stringify(item)) : "no object";
    return typeof pod === "string" || pod.uid === "" ? [] : [pod];
  });
}
