/** Members of `Backend` that several cloud backends read. */

import type { Family } from "../address/ip.ts";
import { ConfigError } from "../base/error.ts";
import { type Members, readMember } from "../config/json-members.ts";
import { textMember } from "./members.ts";

/** The key of the network config, for a backend that signs its requests. */
export interface ConfiguredAccessKey {
  /** JSON of `{"id": …, "secret": …}`; "" = none. A secret. */
  readonly accessKey: string;
  /** What an operator should know about it. */
  readonly keyNotes: readonly string[];
}

/** `RouteTableID`, a string or a list; empty = none. `example` is an id with its prefix. Throws ConfigError. */
export function routeTableIdsOf(members: Members, example: string): readonly string[] {
  const value = readMember(members, "RouteTableID");
  if (value === undefined || value === null || value === "") return [];
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  const pattern = new RegExp(`^${example.split("-")[0]}-[0-9a-zA-Z]{1,40}$`);
  for (const id of ids) {
    if (typeof id === "string" && pattern.test(id)) continue;
    throw new ConfigError(
      `network config: Backend.RouteTableID must be the id of a route table ("${example}") or a list of them, not ${JSON.stringify(id).slice(0, 60)}`,
    );
  }
  return [...new Set(ids as readonly string[])];
}

/**
 * `AccessKeyID` and `AccessKeySecret`. One without the other is not used, as in Go flannel, which takes both from the environment
 * then. Throws ConfigError, without the value.
 */
export function accessKeyOf(members: Members): ConfiguredAccessKey {
  const id = textMember(members, "AccessKeyID", "").trim();
  const secret = textMember(members, "AccessKeySecret", "").trim();
  if (id !== "" && secret !== "") return { accessKey: JSON.stringify({ id, secret }), keyNotes: [] };
  if (id === "" && secret === "") return { accessKey: "", keyNotes: [] };
  const [given, missing] =
    id === "" ? ["AccessKeySecret", "AccessKeyID"] : ["AccessKeyID", "AccessKeySecret"];
  return {
    accessKey: "",
    keyNotes: [`Backend.${given} is not used, because Backend.${missing} is not set; set both or none`],
  };
}

/** Throws ConfigError unless the network has IPv4 only. */
export function requireIpv4(type: string, families: readonly Family[]): void {
  if (families.every((family) => family === 4)) return;
  throw new ConfigError(
    `network config: the ${type} backend routes IPv4 only: leave EnableIPv6 out and EnableIPv4 true, or use vxlan or wireguard`,
  );
}
