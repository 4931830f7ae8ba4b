/** The words that desired objects, their kinds and their providers share: ownership, one change to make, one change reported. */

import { containsPrefix, type Prefix, parsePrefix } from "../address/prefix.ts";

/** Any object of the desired state: plain data, discriminated by `kind`. */
export interface ObjectBase {
  readonly kind: string;
}

/**
 * How this flanneld's objects are distinguished from foreign ones, also from those of another flanneld with another network on the
 * same host: devices by name; routes by protocol number and a destination in an own network or on an own device, or because
 * they lead through an own device into an own network (what Go flannel left); addresses, settings, permanent neighbours and
 * FDB entries by their device. Unmarked routes through a gateway into an own network (RTPROT_BOOT: Go's host-gw, or an
 * operator's) are observed too; such a route is adopted if it is exactly the desired one, and left alone otherwise.
 */
export interface Ownership {
  readonly devices: ReadonlySet<string>;
  readonly networks: readonly Prefix[];
}

/** Whether the prefix is part of one of the networks; false if it is malformed. */
export function isWithin(prefix: string, networks: readonly Prefix[]): boolean {
  const parsed = parsePrefix(prefix);
  return (
    parsed !== undefined &&
    networks.some((network) => network.family === parsed.family && containsPrefix(network, parsed))
  );
}

/** One change to be made. `replace` carries the observed object, so that exactly that one is changed and nothing else. */
export type Operation<O extends ObjectBase> =
  /** `reclaims`: ours was there before, so that a foreign object that has taken its place since is replaced. */
  | { readonly action: "create"; readonly object: O; readonly reclaims?: true }
  | { readonly action: "replace"; readonly object: O; readonly previous: O }
  | { readonly action: "remove"; readonly object: O };

/**
 * What a provider reported about an object: `set` = it is now exactly this; `gone` = exactly this was removed;
 * `touched` = something happened to the object of this key (the other fields of `object` mean nothing).
 */
export interface Change<O extends ObjectBase> {
  readonly action: "set" | "gone" | "touched";
  readonly object: O;
  /** Port id of the netlink socket that made the change; 0 or undefined = unknown. */
  readonly portId?: number;
}
