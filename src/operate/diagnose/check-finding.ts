/** What the steps of a check have in common: their results, and what they examine. */

import type { Ip } from "../../address/ip.ts";
import type { Prefix } from "../../address/prefix.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink.ts";
import type { RouteReport } from "../../status/api.ts";
import type { DiagnosePorts } from "./diagnose-ports.ts";
import type { EchoOutcome } from "./echo-series.ts";
import type { Fabric } from "./find-peer.ts";

/** One step. `unknown`: it could not be found out. */
export interface Step {
  readonly name: "lease" | "config" | "objects" | "firewall" | "underlay" | "overlay" | "size";
  readonly state: "ok" | "failed" | "skipped" | "unknown";
  readonly seen: string;
  readonly advice?: string;
}

/** The steps of one peer's subnet. */
export interface PeerCheck {
  readonly peer: string;
  readonly subnet: string;
  readonly publicIp: string;
  readonly isReachable: boolean;
  readonly steps: readonly Step[];
}

/** What a step found. */
export type Finding = Omit<Step, "name">;

/** A step that passed. */
export const ok = (seen: string): Finding => ({ state: "ok", seen });
/** A step that failed, with the remedy. */
export const failed = (seen: string, advice: string): Finding => ({ state: "failed", seen, advice });
/** A step that was not run, with the reason. */
export const skipped = (seen: string): Finding => ({ state: "skipped", seen });

/** One subnet of a peer. */
export interface Context {
  readonly ports: DiagnosePorts;
  readonly fabric: Fabric;
  readonly route: RouteReport;
  readonly subnet: Prefix;
  readonly publicIp: Ip | undefined;
  readonly rtnetlink: Rtnetlink;
}

/** What was found on one path; the round-trip time if the peer answered. */
export interface PathResult {
  readonly finding: Finding;
  readonly rttMs?: number;
}

/** Why an echo was not answered. */
export const problemOf = (outcome: EchoOutcome): string =>
  "problem" in outcome ? outcome.problem : "answered";

/** The kernel dropped answers by rp_filter. */
export const reverseFilterFault = (count: number, what: string): Finding =>
  failed(
    `rp_filter of this host dropped ${count} packets while ${what} was probed`,
    "answers arrive on another interface than the route back uses: set net.ipv4.conf.all.rp_filter and that of the interface to 2, or correct the routes",
  );
