/** Reading the JSON of a cloud's answers. They come from outside: what is missing or of another type is undefined or empty. */

import { printable } from "../base/printable.ts";
import { type HttpAnswer, notUnderstood } from "./http.ts";

export type Json = Readonly<Record<string, unknown>>;

/** Longest text of an answer that is shown in a message. */
const LONGEST_SHOWN = 400;

/** The object in an answer's body. Throws CloudError NOT_UNDERSTOOD, or UNAVAILABLE for a server error without one. */
export function readJson(url: URL, answer: HttpAnswer): Json {
  let value: unknown;
  try {
    value = JSON.parse(answer.body);
  } catch {
    throw notUnderstood(url, answer, "JSON");
  }
  if (!isObject(value)) throw notUnderstood(url, answer, "JSON");
  return value;
}

/** The value at the end of a path of members. */
export const valueAt = (json: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>(
    (value, name) => (isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined),
    json,
  );

/** "" if it is no string. */
export function textAt(json: unknown, ...path: readonly string[]): string {
  const value = valueAt(json, ...path);
  return typeof value === "string" ? value : "";
}

/** The objects of an array; empty if it is none. */
export function objectsAt(json: unknown, ...path: readonly string[]): Json[] {
  const value = valueAt(json, ...path);
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** Text of an answer for a message: one line, not endless, no full stop. */
export const shown = (text: string): string =>
  printable(text.trim().replaceAll(/\s+/g, " ")).slice(0, LONGEST_SHOWN).replace(/\.$/, "");

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
