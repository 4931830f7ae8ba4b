/**
 * What the cloud backends have in common: no tunnel and nothing in the kernel; the cloud's network routes each host's subnet
 * to it. A host plans the routes to its own subnets only, as in Go flannel, and its lease names no type and has no data.
 */

import { formatIp } from "../address/ip.ts";
import { formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { keyOf, type StateObject } from "../state/objects.ts";
import type { Backend, BackendContext } from "./backend.ts";
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
