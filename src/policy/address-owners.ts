/**
 * Which pod has an address. Two pods can claim one: the address of a pod that ended is given to the next before the API
 * server knows, so the living one has it, and of two the one that was created later.
 */

import type { PodPhase, PolicyPod } from "./model.ts";

const RANK: Readonly<Record<PodPhase, number>> = { active: 2, terminating: 1, finished: 0 };

/** Whether its addresses are its own: those of host-network pods are the node's, those of finished pods anybody's. */
export const ownsAddresses = (pod: PolicyPod): boolean => pod.phase !== "finished" && !pod.isHostNetwork;

/** Follows pods as they come and go. */
export class AddressOwners {
  /** Almost always one pod; a list is in the order of preference. */
  readonly #claims = new Map<string, readonly PolicyPod[]>();

  ownerOf(address: string): PolicyPod | undefined {
    return this.#claims.get(address)?.[0];
  }

  /** Visits all addresses that pods have, and whose they are. */
  forEach(visit: (address: string, owner: PolicyPod) => void): void {
    for (const [address, claims] of this.#claims) visit(address, claims[0]!);
  }

  /** Replaces a pod by its next version. @returns the addresses whose owner changed, also to a new version of the same pod. */
  replace(before: PolicyPod | undefined, after: PolicyPod | undefined): readonly string[] {
    const touched = new Set<string>();
    if (before !== undefined && ownsAddresses(before)) for (const each of before.addresses) touched.add(each);
    if (after !== undefined && ownsAddresses(after)) for (const each of after.addresses) touched.add(each);
    return [...touched].filter((address) => {
      const old = this.#claims.get(address) ?? [];
      const rest = old.filter((pod) => pod !== before);
      const isClaimed = after !== undefined && ownsAddresses(after) && after.addresses.includes(address);
      const claims = isClaimed ? [...rest, after].sort(byPreference) : rest;
      if (claims.length === 0) this.#claims.delete(address);
      else this.#claims.set(address, claims);
      return claims[0] !== old[0];
    });
  }
}

const byPreference = (a: PolicyPod, b: PolicyPod): number =>
  RANK[b.phase] - RANK[a.phase] || b.createdAt - a.createdAt || (a.uid < b.uid ? -1 : 1);
