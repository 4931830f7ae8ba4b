/** What the engine needs of its host, and what it reports. */

import type { AddressBytes, Family, Ip } from "../address/ip.ts";
import type { PathReport, ProbeTarget } from "./target-table.ts";
import type { Verdict } from "./verdict.ts";

/** What is the same for all peers. */
export interface ProbeContext {
  /** MTU for containers, and of the external interface. */
  readonly mtuBytes: number;
  readonly interfaceMtuBytes: number;
  /** "UDP port 8472"; undefined without a tunnel. */
  readonly listener: string | undefined;
  /** Whether each peer has its overlay address on a device of the backend. If not, silence there may mean that no bridge exists yet. */
  readonly hasDeviceAddress: boolean;
  readonly ownAddress: (family: Family) => string;
}

/** The host of the engine: what it sends with, and where it reports. */
export interface ProbePorts {
  /** A random number of 32 bits. */
  readonly random: () => number;
  /** Sends an echo request in an IP packet of this size, not to be fragmented; what cannot be sent is lost. `to` is valid during the call. */
  readonly send: (to: AddressBytes, sequence: number, nonce: number, sizeBytes: number) => void;
  /** Whether the host answers a protocol other than ICMP; undefined = too many hosts are being tested. */
  readonly answersOtherwise: (ip: Ip) => Promise<boolean> | undefined;
  readonly context: () => ProbeContext;
  readonly onVerdict: (change: VerdictChange) => void;
}

/** A verdict that changed; also "unknown" when a target with a fault is removed. */
export interface VerdictChange {
  readonly slot: number;
  readonly target: ProbeTarget;
  readonly before: Verdict;
  readonly verdict: Verdict;
}

/** All that the probes say about a target. */
export interface TargetReport {
  readonly target: ProbeTarget;
  readonly verdict: Verdict;
  readonly advice: string | undefined;
  readonly underlay: PathReport;
  readonly overlay: PathReport;
}
