/**
 * What the cloud backends have in common: no tunnel and nothing in the kernel; the cloud's network routes each host's subnet
 * to it. A host plans the routes to its own subnets only, as in Go flannel, and its lease names no type and has no data.
 */

import { type Family, formatIp } from "../address/ip.ts";
import { formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Members } from "../config/json-members.ts";
import { keyOf, type StateObject } from "../state/objects.ts";
import type { Backend, BackendContext, BackendModule } from "./backend.ts";
import { accessKeyOf, type ConfiguredAccessKey, requireIpv4, routeTableIdsOf } from "./cloud-members.ts";
import { familiesOf } from "./families.ts";

/** What is particular to a cloud. */
export interface CloudRoutesOptions {
  /** `Backend.Type`. */
  readonly type: string;
  /** Ids of the route tables; empty = the one that the cloud associates with this host. */
  readonly tables: readonly string[];
  /** Key of the network config, in JSON; "" = environment, or a role of the instance. A secret. */
  readonly accessKey?: string;
  readonly fixedMembers: Backend["fixedMembers"];
  readonly notes?: readonly string[];
}

/** A backend with one cloud route for each own subnet and table. Throws ConfigError. */
export function createCloudRoutesBackend(
  { type, tables, accessKey = "", fixedMembers, notes = [] }: CloudRoutesOptions,
  { network, keys }: BackendContext,
): Backend {
  if (accessKey !== "" && keys === undefined)
    throw new ConfigError(`the ${type} backend needs an access key, which is not available here`);
  const accessKeyId = accessKey === "" ? "" : keys!.registerSecret(accessKey);
  const families = familiesOf(network);
  return {
    type,
    published: { backendType: "", backendData: undefined, backendV6Data: undefined },
    notes,
    fixedMembers,
    asksForNextHops: false,
    listeners: () => [],
    checkHost(host) {
      for (const { name, family } of families)
        if (host[name] === undefined)
          throw new ConfigError(
            `${type} needs an IPv${family} address on the external interface, to which the cloud routes packets for containers: ${host.interfaceName} has none`,
          );
    },
    mtuBytes: ({ interfaceMtuBytes }) => interfaceMtuBytes,
    ownership: (of) => ({
      devices: new Set(),
      networks: familiesOf(of).map(({ name }) => of[name]!.network),
    }),
    plan({ host, own }) {
      const state = new Map<string, StateObject>();
      for (const { name } of families) {
        const [subnet, address] = [own?.[name], host[name]];
        if (subnet === undefined || address === undefined) continue;
        for (const table of tables.length === 0 ? [""] : tables) {
          const object: StateObject = {
            kind: "cloud-route",
            ...{ cloud: type, table, accessKeyId },
            destination: formatPrefix(subnet),
            target: formatIp(address),
          };
          state.set(keyOf(object), object);
        }
      }
      return { state, problems: [] };
    },
  };
}

/** The members of `Backend` of a cloud whose requests are signed with an access key. */
interface KeyedCloudConfig<Type extends string> extends ConfiguredAccessKey {
  readonly type: Type;
  /** Ids of route tables; empty = that of the host's own subnet in the cloud. */
  readonly routeTableIds: readonly string[];
}

/**
 * The module of such a type, without devices, whose routes are IPv4 routes in tables with ids; `example` is one of these ids.
 * Its `parse` throws ConfigError for IPv6 and a malformed RouteTableID.
 */
export const keyedCloud = <Type extends string>(
  type: Type,
  example: string,
): BackendModule<KeyedCloudConfig<Type>> => ({
  type,
  devices: [],
  parse(members: Members, families: readonly Family[]) {
    requireIpv4(type, families);
    return { type, routeTableIds: routeTableIdsOf(members, example), ...accessKeyOf(members) };
  },
  deviceNames: () => [],
  create: ({ routeTableIds, accessKey, keyNotes }, context) =>
    createCloudRoutesBackend(
      {
        ...{ type, tables: routeTableIds, accessKey, notes: keyNotes },
        fixedMembers: { RouteTableID: routeTableIds.join(",") || "(detected)" },
      },
      context,
    ),
});
