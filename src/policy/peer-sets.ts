/**
 * The sets that pods are in: the addresses that a peer's selectors match, and the endpoints that they call by a port's name.
 * They follow the pods address by address, so that one changed pod costs a look at each set, not at each pod.
 */

import type { Family } from "../address/ip.ts";
import type { AddressOwners } from "./address-owners.ts";
import type {
  FilterSet,
  LabelSelector,
  NamedPort,
  PolicyNamespace,
  PolicyPod,
  PolicyProtocol,
} from "./model.ts";
import { matchesSelector } from "./parse-selector.ts";
import { lowerBound } from "./sorted-texts.ts";

/** Which pods a set contains. */
export interface PeerSelector {
  /** The one namespace, if the selector has none for namespaces. */
  readonly namespace: string | undefined;
  readonly namespaces: LabelSelector;
  readonly pods: LabelSelector;
  /** A port that pods call by this name: the set has endpoints then. */
  readonly port: { readonly name: string; readonly protocol: PolicyProtocol } | undefined;
}

/** All pods of all namespaces. */
export const EVERY_POD = { namespace: undefined, namespaces: [], pods: [] } as const;

/** The same text for selectors that mean the same. */
export function keyOfSelector({ namespace, namespaces, pods, port }: PeerSelector): string {
  const canonical = (selector: LabelSelector) =>
    selector.map(({ key, operator, values }) => JSON.stringify([key, operator, values.toSorted()])).sort();
  const where = namespace === undefined ? canonical(namespaces) : namespace;
  return JSON.stringify([where, canonical(pods), port?.name, port?.protocol]);
}

/** The number of a named port: the first container that has one of this name and protocol counts. */
export const portNamed = (
  ports: readonly NamedPort[],
  name: string,
  protocol: PolicyProtocol,
): number | undefined => ports.find((each) => each.name === name && each.protocol === protocol)?.port;

export const familyOfAddress = (address: string): Family => (address.includes(":") ? 6 : 4);

const byCodeUnit = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** One set in one family, with the memory that its changes need. */
export class PeerSet {
  readonly selector: PeerSelector;
  readonly #family: Family;
  readonly #name: string;
  /** Whether a namespace's labels match; forgotten when the namespace changes. */
  readonly #matches = new Map<string, boolean>();
  #set: FilterSet;
  /** The list is a copy that no caller has seen yet. */
  #isOpen = false;
  #elements: string[] = [];

  constructor(name: string, family: Family, selector: PeerSelector) {
    this.selector = selector;
    this.#name = name;
    this.#family = family;
    this.#set = {
      name,
      family,
      type: selector.port === undefined ? "addresses" : "endpoints",
      elements: this.#elements,
    };
  }

  forgetNamespace(name: string): void {
    this.#matches.delete(name);
  }

  /** Takes in all addresses; the set is empty so far. */
  fill(owners: AddressOwners, namespaces: ReadonlyMap<string, PolicyNamespace>): void {
    owners.forEach((address, owner) => {
      const element = this.#elementFor(address, owner, namespaces);
      if (element !== undefined && familyOfAddress(address) === this.#family) this.#elements.push(element);
    });
    this.#elements.sort(byCodeUnit);
  }

  /** Takes in that `address` belongs to `owner` now; undefined = to no pod. */
  update(
    address: string,
    owner: PolicyPod | undefined,
    namespaces: ReadonlyMap<string, PolicyNamespace>,
  ): void {
    if (familyOfAddress(address) !== this.#family) return;
    const element = owner && this.#elementFor(address, owner, namespaces);
    const isPlain = this.selector.port === undefined;
    const at = lowerBound(this.#elements, isPlain ? address : `${address} `);
    const found = this.#elements[at];
    const isThere = found !== undefined && (isPlain ? found === address : found.startsWith(`${address} `));
    if (isThere ? found === element : element === undefined) return;
    if (!this.#isOpen) this.#elements = this.#elements.slice();
    this.#isOpen = true;
    if (isThere && element !== undefined) this.#elements[at] = element;
    else if (isThere) this.#elements.splice(at, 1);
    else this.#elements.splice(at, 0, element!);
  }

  /** The set as it is now: the same object until it changes. */
  get current(): FilterSet {
    if (this.#isOpen) {
      this.#set = { ...this.#set, name: this.#name, elements: this.#elements };
      this.#isOpen = false;
    }
    return this.#set;
  }

  #elementFor(
    address: string,
    pod: PolicyPod,
    namespaces: ReadonlyMap<string, PolicyNamespace>,
  ): string | undefined {
    const { namespace, pods, port } = this.selector;
    if (
      namespace === undefined
        ? !this.#matchesNamespace(pod.namespace, namespaces)
        : namespace !== pod.namespace
    )
      return undefined;
    if (!matchesSelector(pods, pod.labels, false)) return undefined;
    if (port === undefined) return address;
    const number = portNamed(pod.ports, port.name, port.protocol);
    return number === undefined ? undefined : `${address} ${port.protocol} ${number}`;
  }

  #matchesNamespace(name: string, namespaces: ReadonlyMap<string, PolicyNamespace>): boolean {
    const known = this.#matches.get(name);
    if (known !== undefined) return known;
    const namespace = namespaces.get(name);
    // A namespace that is not known yet has labels that are not known: no selector of namespaces matches it.
    const matches =
      namespace !== undefined && matchesSelector(this.selector.namespaces, namespace.labels, false);
    this.#matches.set(name, matches);
    return matches;
  }
}
