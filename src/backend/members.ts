/** Reading the members of the network config's `Backend` object, with errors that name the member and its range. */

import { ConfigError } from "../base/error.ts";
import { type Members, readMember } from "../config/json-members.ts";

/** An integer in `minimum`…`maximum`; absent or null gives `fallback`. Throws ConfigError. */
export function integerMember(
  members: Members,
  name: string,
  range: { readonly minimum: number; readonly maximum: number; readonly fallback: number },
): number {
  const value = readMember(members, name) ?? range.fallback;
  if (
    typeof value === "number" &&
    Number.isInteger(value) &&
    value >= range.minimum &&
    value <= range.maximum
  ) {
    return value;
  }
  throw new ConfigError(
    `network config: Backend.${name} must be a whole number from ${range.minimum} to ${range.maximum}, not ${JSON.stringify(value)}`,
  );
}

/** A string; absent or null gives `fallback`. Throws ConfigError, without the value: it may be a secret. */
export function textMember(members: Members, name: string, fallback: string): string {
  const value = readMember(members, name) ?? fallback;
  if (typeof value === "string") return value;
  throw new ConfigError(
    `network config: Backend.${name} must be a string in quotes, but is of type ${typeof value}`,
  );
}

/** true or false; absent or null gives false. Throws ConfigError. */
export const booleanMember = (members: Members, name: string): boolean =>
  optionalBooleanMember(members, name) ?? false;

/** true or false; absent or null gives undefined. Throws ConfigError. */
export function optionalBooleanMember(members: Members, name: string): boolean | undefined {
  const value = readMember(members, name);
  if (typeof value === "boolean" || value === undefined) return value;
  throw new ConfigError(
    `network config: Backend.${name} must be true or false, not ${JSON.stringify(value)}`,
  );
}
