/**
 * The reconciler's port to what holds desired objects: observe, change, follow. One provider holds one or more kinds:
 * rtnetlink most of them (netlink-provider.ts), this process the udp backend's tunnel (datapath/tunnel-provider.ts).
 */

import type { FlannelError } from "../base/error.ts";
import type { StateChange, StateKind, StateObject, StateOperation } from "./objects.ts";
import type { Ownership } from "./operation.ts";

/**
 * Changes; or "overrun" = some were lost, so that everything has to be observed again; or "elsewhere" = something foreign
 * changed, so that what was refused may succeed now.
 */
export type Notice = readonly StateChange[] | "overrun" | "elsewhere";

/** Observes and changes the kinds that it holds. Failures are values or FlannelErrors; it never ends the reconciler. */
export interface Provider {
  /** In error messages: "the kernel". */
  readonly name: string;
  /** The kinds that it holds; no other provider holds them too. */
  readonly kinds: ReadonlySet<StateKind>;

  /** What it holds of ours, of the given kinds. Throws FlannelError when it cannot be asked. */
  observe(ownership: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]>;

  /**
   * Makes the changes in order; one result each, undefined = done. One failure does not block the others. An operation on a
   * device that has become a foreign one since it was observed is refused (EEXIST).
   */
  apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]>;

  /** Notices from now on (it is subscribed when this returns) until aborted. Throws FlannelError when it cannot follow. */
  watch(ownership: () => Ownership, signal: AbortSignal): AsyncIterable<Notice>;
}

/** What the providers hold of ours, of the given kinds. Throws FlannelError when one of those concerned cannot be asked. */
export async function observeAll(
  providers: readonly Provider[],
  ownership: Ownership,
  kinds: ReadonlySet<StateKind>,
): Promise<StateObject[]> {
  const concerned = providers.filter((provider) => !provider.kinds.isDisjointFrom(kinds));
  const observed = await Promise.all(concerned.map((provider) => provider.observe(ownership, kinds)));
  return observed.flat();
}
