/**
 * What network policies are compiled from and to, as plain data: pods, namespaces and policies as the API server has them
 * (networking.k8s.io/v1), and the filter that this node should have. parse-*.ts make the input from the API's JSON.
 *
 * Values never change: a changed pod or policy is a new object. The compiler recognises what is unchanged by identity.
 */

import type { Family, Ip } from "../address/ip.ts";

/** Protocols that a policy can name. */
export type PolicyProtocol = "TCP" | "UDP" | "SCTP";

/** Labels of a pod or namespace. A Map, because "constructor" is a valid label. */
export type Labels = ReadonlyMap<string, string>;

/** A port that a container gives a name. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: PolicyProtocol;
  readonly port: number;
}

/**
 * - `active`: pending or running.
 * - `terminating`: deleted, but its containers may still run; policies apply as before.
 * - `finished`: its containers have ended (Succeeded, Failed), and its addresses may belong to another pod.
 */
export type PodPhase = "active" | "terminating" | "finished";

/** What policies need to know of a pod. */
export interface PolicyPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Labels;
  /** In text form as `formatIp` writes it, of both families; empty until the pod has any. */
  readonly addresses: readonly string[];
  /** Whether it runs on this node. */
  readonly isLocal: boolean;
  /** Its addresses are the node's: no policy selects it, and no pod selector names it as a peer. */
  readonly isHostNetwork: boolean;
  readonly phase: PodPhase;
  /** Seconds since the epoch; of two pods with one address the later one has it. 0 = unknown. */
  readonly createdAt: number;
  /** In the order of the containers; the first with a name and protocol counts. */
  readonly ports: readonly NamedPort[];
}

export interface PolicyNamespace {
  readonly name: string;
  readonly labels: Labels;
}

/** One condition of a label selector; `Unknown` is an operator that this version does not know. */
export interface Requirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist" | "Unknown";
  readonly values: readonly string[];
}

/** All requirements have to hold; none = everything. `matchLabels` are requirements `In` with one value. */
export type LabelSelector = readonly Requirement[];

/** A range of addresses, both ends included. */
export interface AddressRange {
  readonly first: Ip;
  readonly last: Ip;
}

/** Whom a rule allows. */
export type PolicyPeer =
  | {
      readonly kind: "pods";
      /** Of the policy's own namespace if undefined. */
      readonly namespaces: LabelSelector | undefined;
      readonly pods: LabelSelector;
    }
  /** An `ipBlock` without its exceptions, in order and without overlaps. */
  | { readonly kind: "block"; readonly family: Family; readonly ranges: readonly AddressRange[] };

/** Which ports a rule allows. */
export type PolicyPort =
  /** `first` 0 and `last` 65535: every port of the protocol. */
  | {
      readonly kind: "range";
      readonly protocol: PolicyProtocol;
      readonly first: number;
      readonly last: number;
    }
  | { readonly kind: "named"; readonly protocol: PolicyProtocol; readonly name: string };

/** A rule allows what one of its peers and one of its ports matches. */
export interface PolicyRule {
  /** Undefined = everyone (the list is missing or empty in the API); empty = nobody (nothing in it could be understood). */
  readonly peers: readonly PolicyPeer[] | undefined;
  /** Undefined = everything, also protocols without ports; empty = nothing. */
  readonly ports: readonly PolicyPort[] | undefined;
}

/** A policy with its defaults resolved. */
export interface NetworkPolicy {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly podSelector: LabelSelector;
  /** Undefined = it says nothing about this direction; empty = it isolates and allows nothing. */
  readonly ingress: readonly PolicyRule[] | undefined;
  readonly egress: readonly PolicyRule[] | undefined;
  /** What could not be understood, with the member's path. It selects and isolates, and allows nothing. */
  readonly problems: readonly string[];
}

/** Everything that the filter of this node depends on. Keys are "namespace/name", of namespaces the name. */
export interface PolicyInput {
  readonly pods: ReadonlyMap<string, PolicyPod>;
  readonly namespaces: ReadonlyMap<string, PolicyNamespace>;
  readonly policies: ReadonlyMap<string, NetworkPolicy>;
}

/** Seen from the pod that a policy selects. */
export type Direction = "ingress" | "egress";

/**
 * - `addresses`: of pods.
 * - `address-ranges`: "10.0.0.0-10.0.255.255".
 * - `port-ranges`: "80-80".
 * - `endpoints`: "10.5.1.7 TCP 8080", the address and the port that a pod calls by a name.
 */
type FilterSetType = "addresses" | "address-ranges" | "port-ranges" | "endpoints";

/** A set of nftables. A changed set is a new object with the same name. */
export interface FilterSet {
  readonly name: string;
  readonly type: FilterSetType;
  readonly family: Family;
  /** Sorted by code unit, without duplicates. */
  readonly elements: readonly string[];
}

/** What a rule of a chain allows; all that is given has to match. */
export interface FilterRule {
  /** The remote end's address is in this set (`addresses` or `address-ranges`). */
  readonly peers?: string;
  readonly protocol?: PolicyProtocol;
  /** Destination port: a range, or a set (`port-ranges`). */
  readonly ports?: { readonly first: number; readonly last: number } | string;
  /** Destination address, protocol and port are in this set (`endpoints`). */
  readonly endpoints?: string;
  /** The policies that it comes from, as "namespace/name". */
  readonly policies: readonly string[];
}

/** Rules of all pods that the same policies select in the same way; what no rule allows is denied. Its name says its contents. */
export interface FilterChain {
  readonly name: string;
  readonly direction: Direction;
  readonly family: Family;
  readonly rules: readonly FilterRule[];
  /** All policies that isolate these pods, also those without a rule. */
  readonly policies: readonly string[];
}

/**
 * Which addresses of this node's subnets are pods that are known. Nothing passes to or from its other addresses: a pod whose
 * policies are not in effect yet may have one of them.
 */
interface NodePods {
  readonly ranges: readonly AddressRange[];
  readonly addresses: ReadonlySet<string>;
}

/** The filter that this node should have. Parts that did not change are the same objects as before. */
export interface DesiredFilter {
  /** The chain for each address of an isolated pod of this node. */
  readonly ingress: ReadonlyMap<string, string>;
  readonly egress: ReadonlyMap<string, string>;
  readonly chains: ReadonlyMap<string, FilterChain>;
  readonly sets: ReadonlyMap<string, FilterSet>;
  /** Undefined = addresses that are no pod's are not filtered. */
  readonly pods?: NodePods | undefined;
}
