/**
 * The alloc backend: this host acquires a lease, and something else carries the packets. Nothing is programmed for peers. Its
 * leases name no type and have no data, as Go flannel's.
 */

import type { Family } from "../address/ip.ts";
import type { Members } from "../config/json-members.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { Backend, BackendModule } from "./backend.ts";
import { familiesOf } from "./families.ts";

const TYPE = "alloc";

/** The alloc backend has no members of its own. */
export interface AllocConfig {
  readonly type: typeof TYPE;
}

/** The module of the type `alloc`: no devices, and no constraint on the families. */
export const alloc: BackendModule<AllocConfig> = {
  type: TYPE,
  devices: [],
  parse: (_members: Members, _families: readonly Family[]) => ({ type: TYPE }),
  deviceNames: () => [],
  create: createAllocBackend,
};

function createAllocBackend(): Backend {
  return {
    type: TYPE,
    published: { backendType: "", backendData: undefined, backendV6Data: undefined },
    notes: [],
    fixedMembers: {},
    asksForNextHops: false,
    checkHost: () => {},
    mtuBytes: ({ interfaceMtuBytes }) => interfaceMtuBytes,
    listeners: () => [],
    // Routes with flannel's mark that an earlier run with another backend left are removed.
    ownership: (network: NetworkFamilies) => ({
      devices: new Set(),
      networks: familiesOf(network).map(({ name }) => network[name]!.network),
    }),
    plan: () => ({ state: new Map(), problems: [] }),
  };
}
