/** Reading the members of the network config's `Backend` object, with errors that name the member and its range. */

import { ConfigError } from "../base/error.ts";
import type { BackendConfig } from "../config/network-config.ts";

/** Finds a member as Go's JSON does: an exact match first, else one that differs in case only. */
export function readMember(config: BackendConfig, name: string): unknown {
  if (name in config.members) return config.members[name];
  const lower = name.toLowerCase();
  const found = Object.keys(config.members).find((key) => key.toLowerCase() === lower);
  return found === undefined ? undefined : config.members[found];
}

/** An integer in `minimum`…`maximum`; absent or null gives `fallback`. */
export function integerMember(
  config: BackendConfig,
  name: string,
  range: { readonly minimum: number; readonly maximum: number; readonly fallback: number },
): number {
  const value = readMember(config, name) ?? range.fallback;
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

/** true or false; absent or null gives false. */
export const booleanMember = (config: BackendConfig, name: string): boolean =>
  optionalBooleanMember(config, name) ?? false;

/** true or false; absent or null gives undefined. */
export function optionalBooleanMember(config: BackendConfig, name: string): boolean | undefined {
  const value = readMember(config, name) ?? undefined;
  if (typeof value === "boolean" || value === undefined) return value;
  throw new ConfigError(
    `network config: Backend.${name} must be true or false, not ${JSON.stringify(value)}`,
  );
}
