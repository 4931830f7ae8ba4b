/** What the probes of both paths say together, and what an operator can do about it. A table, without memory. */

import type { PathState } from "./path.ts";

/** Whether packets get through to a peer, and if not, what is wrong. */
export type Verdict =
  | "unknown"
  | "reachable"
  | "underlay down"
  | "overlay down"
  | "packets too large"
  | "one direction";

/** What is known about a peer. */
export interface Evidence {
  /** Undefined = the backend has no overlay. */
  readonly overlay: PathState | undefined;
  readonly underlay: PathState;
  /** This host routes nothing to the peer's subnet. */
  readonly isRefused: boolean;
  /** Packets of the full size do not pass through the overlay, while small ones do. */
  readonly isTooLarge: boolean;
  /** The peer's own packets arrive through the overlay. */
  readonly isHeard: boolean;
}

/** The verdict on a peer; "unknown" as long as the evidence is incomplete. */
export function verdictOf({ overlay, underlay, isRefused, isTooLarge, isHeard }: Evidence): Verdict {
  if (overlay === "up") return isTooLarge ? "packets too large" : "reachable";
  if (underlay === "down") return overlay === "unknown" ? "unknown" : "underlay down";
  if (underlay === "unknown" || overlay === "unknown") return "unknown";
  if (overlay === "down") return isHeard ? "one direction" : "overlay down";
  return isRefused ? "unknown" : "reachable";
}

/** Whether an operator has to act. */
export const isFault = (verdict: Verdict): boolean => verdict !== "reachable" && verdict !== "unknown";

/** What advice depends on. */
export interface AdviceInput {
  readonly verdict: Verdict;
  /** Public IPs of this host and of the peer. */
  readonly own: string;
  readonly peer: string;
  /** Where the peers' tunnels receive: "UDP port 8472"; undefined without a tunnel. */
  readonly listener: string | undefined;
  /** Largest packets in bytes; 0 = not measured. */
  readonly overlayBytes: number;
  readonly underlayBytes: number;
  /** MTU for containers. */
  readonly mtuBytes: number;
}

/** One line; undefined if there is nothing to do. */
export function adviceFor(input: AdviceInput): string | undefined {
  const { verdict, own, peer, listener } = input;
  switch (verdict) {
    case "unknown":
    case "reachable":
      return undefined;
    case "underlay down":
      return `${peer} answers neither ICMP nor TCP from ${own}: the host is down, or the network between the two is`;
    case "overlay down":
      return listener === undefined
        ? `${peer} is up, but packets to its subnet are lost: check its routes, its firewall, and the network between ${own} and ${peer}`
        : `${listener} closed or filtered between ${own} and ${peer}, or flanneld on ${peer} uses another configuration`;
    case "one direction":
      return listener === undefined
        ? `packets from ${peer} arrive, but none from ${own} arrive there: check the firewall on ${peer}, and rp_filter`
        : `${listener} closed or filtered on ${peer}, or from ${own} to ${peer}: its packets arrive here`;
    case "packets too large":
      return adviceForSize(input);
  }
}

function adviceForSize({ own, peer, overlayBytes, underlayBytes, mtuBytes }: AdviceInput): string {
  const underlay =
    underlayBytes === 0 ? "" : `, the network between ${own} and ${peer} ${underlayBytes} bytes`;
  return `the overlay carries packets of ${overlayBytes} bytes${underlay}, but containers use an MTU of ${mtuBytes}: correct the MTU of the network or of the external interface, or set "MTU" in the backend's config to ${overlayBytes} or less`;
}
