/**
 * Reading members of a JSON object as Go's encoding/json does: the network config and its `Backend`, leases and their
 * backend data, the CNI plugin's config. Faults name the member.
 */

import { ConfigError } from "../base/error.ts";

/** A JSON object. */
export type Members = Readonly<Record<string, unknown>>;

/**
 * The value of a JSON text (RFC 8259). Members are in the order of their last occurrence: of `{"VNI":1,"vni":2,"VNI":3}`
 * {@link readMember} then reads 3, as Go does, where JSON.parse leaves "VNI" in the first place. Throws SyntaxError.
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  return hasSpellings(value) ? readTokens(text) : value;
}

/** Whether an object anywhere in `value` has a key in two spellings: only then the order of its members matters. */
function hasSpellings(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const keys = Array.isArray(value) ? [] : Object.keys(value).map((key) => key.toLowerCase());
  return new Set(keys).size < keys.length || Object.values(value).some(hasSpellings);
}

/** Reads a text that is known to be JSON. */
function readTokens(text: string): unknown {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\]]|[^\s{}[\],:"]+/g)!;
  let next = 0;
  const read = (): unknown => {
    const token = tokens[next++]!;
    if (token === "{") {
      const members = new Map<string, unknown>();
      while (tokens[next] !== "}") {
        const key = JSON.parse(tokens[next++]!) as string;
        members.delete(key);
        members.set(key, read());
      }
      next++;
      return Object.fromEntries(members);
    }
    if (token !== "[") return JSON.parse(token);
    const items: unknown[] = [];
    while (tokens[next] !== "]") items.push(read());
    next++;
    return items;
  };
  return read();
}

/**
 * The member called `name` in any spelling of upper and lower case. An exact match has no precedence: of several the last
 * one counts (https://pkg.go.dev/encoding/json#Unmarshal). `null` counts as absent and changes nothing.
 */
export function readMember(members: Members, name: string): unknown {
  const wanted = name.toLowerCase();
  let found: unknown;
  for (const [key, value] of Object.entries(members)) {
    if (key.toLowerCase() === wanted && value !== null) found = value;
  }
  return found;
}

/** true or false; absent gives `fallback`. Throws ConfigError. */
export function readBoolean(members: Members, key: string, fallback: boolean): boolean {
  const value = readMember(members, key) ?? fallback;
  if (typeof value !== "boolean") {
    throw new ConfigError(
      `network config: ${key} must be true or false (without quotes), but is ${kindOf(value)}`,
    );
  }
  return value;
}

/** A string; undefined = absent. Throws ConfigError. */
export function readText(members: Members, key: string): string | undefined {
  const value = readMember(members, key);
  if (value !== undefined && typeof value !== "string") {
    throw new ConfigError(`network config: ${key} must be a string in quotes, but is ${kindOf(value)}`);
  }
  return value;
}

/** Whether a JSON value is an object. */
export const isObject = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether lists and objects are nested in each other at most `levels` deep. */
export function isShallow(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return true;
  return levels > 0 && Object.values(value).every((inner) => isShallow(inner, levels - 1));
}

/** A value for a message: in quotes, cut when it is long. */
export const quote = (text: string): string =>
  JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

/** What a JSON value is, for messages: "a list", "the number 7". */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return typeof value === "string" ? `the string ${quote(value)}` : `the ${typeof value} ${String(value)}`;
}
