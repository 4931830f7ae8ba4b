/**
 * The pods of the cluster as policies see them now: those of the watch, corrected by what the CNI plugin has reported. The
 * plugin knows a pod's addresses before the API server does, and what it reports is newer: a pod of this node that the API
 * server still lists with a reported address has lost it.
 */

import type { PolicyPod } from "../policy/model.ts";

/** "namespace/name" */
export const keyOf = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  `${namespace}/${name}`;

/** What the plugin reported of a pod: it has these addresses, whatever the API server says. */
export interface Claim {
  readonly namespace: string;
  readonly name: string;
  /** The UID in the API. */
  readonly uid: string;
  /** As `formatIp` writes them. */
  readonly addresses: readonly string[];
  /** The pod, if the watch has not brought it yet; without it only a pod of the watch is meant. */
  readonly pod?: PolicyPod | undefined;
}

/** Pods by "namespace/name". */
export class PodTable {
  readonly #watched = new Map<string, PolicyPod>();
  readonly #claims = new Map<string, Claim>();
  /** Who has reported an address last. */
  readonly #claimants = new Map<string, string>();
  readonly #effective = new Map<string, PolicyPod>();
  /** Keys of this node's pods. */
  readonly #local = new Set<string>();
  #shown: ReadonlyMap<string, PolicyPod> | undefined;

  /** A map that no longer changes; the same one as before if nothing has changed. */
  get pods(): ReadonlyMap<string, PolicyPod> {
    this.#shown ??= new Map(this.#effective);
    return this.#shown;
  }

  get claims(): readonly Claim[] {
    return [...this.#claims.values()];
  }

  /** Claims of pods that the watch has not brought: it may be behind, or they were deleted before it began. */
  get unseenClaims(): readonly Claim[] {
    return this.claims.filter((claim) => this.#watched.get(keyOf(claim))?.uid !== claim.uid);
  }

  /** As the API server has it. */
  watched(key: string): PolicyPod | undefined {
    return this.#watched.get(key);
  }

  /** The addresses of this node's pods: everything else in the node's subnets belongs to no pod that is known. */
  localAddresses(): Set<string> {
    const addresses = new Set<string>();
    for (const key of this.#local) {
      for (const address of this.#effective.get(key)!.addresses) addresses.add(address);
    }
    return addresses;
  }

  /** Replaces all pods of the watch. */
  snapshot(pods: readonly PolicyPod[]): void {
    const keys = new Set(pods.map(keyOf));
    for (const key of [...this.#watched.keys()]) if (!keys.has(key)) this.remove(key);
    for (const pod of pods) this.put(pod);
  }

  /** A pod was added or changed. */
  put(pod: PolicyPod): void {
    const key = keyOf(pod);
    const before = this.#watched.get(key);
    if (before !== undefined && samePod(before, pod)) return;
    this.#watched.set(key, pod);
    const claim = this.#claims.get(key);
    if (claim !== undefined && isSettled(claim, pod)) this.#drop(key);
    else if (claim?.uid === pod.uid && claim.pod !== undefined)
      this.#claims.set(key, { ...claim, pod: undefined });
    this.#refresh(key);
  }

  /** A pod was deleted. */
  remove(key: string): void {
    const pod = this.#watched.get(key);
    if (pod === undefined) return;
    this.#watched.delete(key);
    // A pod with the same name may have started already.
    if (this.#claims.get(key)?.uid === pod.uid) this.#drop(key);
    this.#refresh(key);
  }

  /** Its addresses are the pod's from now on, and no longer those of other pods of this node. */
  claim(claim: Claim): void {
    const key = keyOf(claim);
    this.#drop(key);
    this.#claims.set(key, claim);
    for (const address of claim.addresses) this.#claimants.set(address, key);
    this.#refreshLocal();
    this.#refresh(key);
  }

  /** The pod does not exist any more. */
  dropClaim(key: string): void {
    this.#drop(key);
  }

  #drop(key: string): void {
    const claim = this.#claims.get(key);
    if (claim === undefined) return;
    this.#claims.delete(key);
    for (const address of claim.addresses) {
      if (this.#claimants.get(address) === key) this.#claimants.delete(address);
    }
    this.#refreshLocal();
    this.#refresh(key);
  }

  #refreshLocal(): void {
    for (const key of [...this.#local]) this.#refresh(key);
  }

  #refresh(key: string): void {
    const before = this.#effective.get(key);
    const after = this.#compute(key);
    if (before === after || (before !== undefined && after !== undefined && samePod(before, after))) return;
    this.#shown = undefined;
    if (after === undefined) this.#effective.delete(key);
    else this.#effective.set(key, after);
    if (after?.isLocal === true && !after.isHostNetwork && after.phase !== "finished") this.#local.add(key);
    else this.#local.delete(key);
  }

  #compute(key: string): PolicyPod | undefined {
    const watched = this.#watched.get(key);
    const claim = this.#claims.get(key);
    if (claim !== undefined) {
      const pod = watched?.uid === claim.uid ? watched : (claim.pod ?? watched);
      if (pod === undefined) return undefined;
      // A later claim may have taken an address.
      const addresses = claim.addresses.filter((address) => this.#claimants.get(address) === key);
      return { ...pod, addresses, isLocal: true };
    }
    if (watched?.isLocal !== true || watched.isHostNetwork) return watched;
    const addresses = watched.addresses.filter((address) => !this.#claimants.has(address));
    return addresses.length === watched.addresses.length ? watched : { ...watched, addresses };
  }
}

/** Whether the API server knows now what the plugin reported, or the pod has ended. */
const isSettled = (claim: Claim, pod: PolicyPod): boolean =>
  pod.phase === "finished" ||
  (pod.uid !== claim.uid && claim.pod === undefined) ||
  (pod.uid === claim.uid && claim.addresses.every((address) => pod.addresses.includes(address)));

/** Equal labels and ports are mostly the same objects. */
function samePod(a: PolicyPod, b: PolicyPod): boolean {
  return (
    a === b ||
    (a.uid === b.uid &&
      a.isLocal === b.isLocal &&
      a.isHostNetwork === b.isHostNetwork &&
      a.phase === b.phase &&
      a.createdAt === b.createdAt &&
      sameTexts(a.addresses, b.addresses) &&
      (a.labels === b.labels || sameTexts([...a.labels].flat(), [...b.labels].flat())) &&
      (a.ports === b.ports || JSON.stringify(a.ports) === JSON.stringify(b.ports)))
  );
}

const sameTexts = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((text, index) => text === b[index]);
