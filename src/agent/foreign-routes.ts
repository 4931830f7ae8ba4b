/**
 * Foreign routes that overlap the flannel network: reported in log and readiness notes while they exist. The kernel prefers
 * the longest prefix (RFC 1812, 5.2.4.3), so that a foreign route to a part of a peer's subnet captures its traffic, whatever
 * flanneld has programmed; it is not flanneld's to delete. A route that takes the very place of one of flanneld's is the
 * reconciler's matter.
 */

import { FAMILIES } from "../address/family.ts";
import { formatPrefix, overlaps, type Prefix, parsePrefix } from "../address/prefix.ts";
import { FlannelError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { SubnetPair } from "../lease/lease.ts";
import type { Notification } from "../netlink/monitor.ts";
import { type Route, RTN_BLACKHOLE, RTN_PROHIBIT, RTN_UNICAST, RTN_UNREACHABLE } from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { RTPROT_FLANNEL } from "../state/objects.ts";
import { foreignRoutes } from "./host-routes.ts";

/** Types of route besides unicast that take packets, as ip-route(8) names them. */
const DISCARDING: Readonly<Record<number, string>> = {
  [RTN_BLACKHOLE]: "blackhole",
  [RTN_UNREACHABLE]: "unreachable",
  [RTN_PROHIBIT]: "prohibit",
};
const TYPES = [RTN_UNICAST, RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT];
/** One change causes several notifications. */
const SETTLE_MS = 100;

export interface RouteAdviceInput {
  readonly network: NetworkFamilies;
  readonly own: SubnetPair;
  /** Subnets of the peers. */
  readonly peers: readonly SubnetPair[];
  /** Devices that flanneld created. */
  readonly devices: ReadonlySet<string>;
  /** Whether flanneld has a route of its own to exactly this destination. */
  readonly isPlanned: (destination: string) => boolean;
  /** Name of the interface that carries the traffic between hosts. */
  readonly externalInterface: string;
}

/** One line for each foreign route that overlaps the network, with the remedy. Throws NetlinkError. */
export function adviceOnRoutes(input: RouteAdviceInput, rtnetlink: Rtnetlink): string[] {
  const names = new Map<number, string>();
  const nameOf = (index: number): string => {
    if (!names.has(index)) names.set(index, rtnetlink.link(index)?.name ?? `#${index}`);
    return names.get(index)!;
  };
  return FAMILIES.flatMap(({ family, name }) => {
    const network = input.network[name]?.network;
    if (network === undefined) return [];
    const peers = input.peers.flatMap((subnets) => subnets[name] ?? []);
    return foreignRoutes(rtnetlink, family, TYPES).flatMap((route) => {
      const prefix = parsePrefix(route.destination);
      if (prefix === undefined || !overlaps(prefix, network) || input.isPlanned(route.destination)) return [];
      return adviceOn(route, prefix, { ...input, family: network, subnet: input.own[name], peers }, nameOf);
    });
  });
}

interface FamilyInput extends Omit<RouteAdviceInput, "network" | "own" | "peers"> {
  /** The flannel network. */
  readonly family: Prefix;
  readonly subnet: Prefix | undefined;
  readonly peers: readonly Prefix[];
}

function adviceOn(
  route: Route,
  prefix: Prefix,
  { family: network, subnet, peers, devices, externalInterface }: FamilyInput,
  nameOf: (index: number) => string,
): string[] {
  const discards = DISCARDING[route.type];
  const device = discards === undefined ? nameOf(route.oif ?? route.nextHops[0]?.oif ?? 0) : "";
  if (devices.has(device)) return [];
  const via = route.gateway === undefined ? "" : ` via ${route.gateway}`;
  const text =
    discards === undefined ? `${route.destination}${via} dev ${device}` : `${discards} ${route.destination}`;
  if (subnet !== undefined && isInside(prefix, subnet)) {
    // The container bridge has a route to the own subnet, or to a part of it.
    if (discards !== undefined || (via === "" && device !== externalInterface)) return [];
    return [
      `Subnet ${formatPrefix(subnet)} of this host overlaps its own route ${text}: containers and hosts there cannot reach each other; ` +
        "choose another network, or limit it with SubnetMin and SubnetMax and release this lease",
    ];
  }
  const captured = peers.find((peer) => isInside(prefix, peer));
  if (captured !== undefined) {
    return [
      `Foreign route ${text} captures traffic to peer subnet ${formatPrefix(captured)}; delete it (ip route del ${text}) or choose another network`,
    ];
  }
  // A route that discards what no longer prefix matches is a common default for private networks.
  if (discards !== undefined && prefix.length <= network.length) return [];
  return [
    `The flannel network ${formatPrefix(network)} overlaps this host's route ${text}: ` +
      "addresses in both can be reached on one side only; remove the route or choose another network",
  ];
}

const isInside = (prefix: Prefix, subnet: Prefix): boolean =>
  prefix.length >= subnet.length && overlaps(prefix, subnet);

export interface ForeignRoutesOptions {
  readonly rtnetlink: Rtnetlink;
  /** Undefined before the host has a lease. */
  readonly input: () => RouteAdviceInput | undefined;
  readonly logger: Logger;
  readonly timers: Timers;
}

export class ForeignRoutes {
  readonly #options: ForeignRoutesOptions;
  #lines: readonly string[] = [];
  #isDue = false;

  constructor(options: ForeignRoutesOptions) {
    this.#options = options;
  }

  /** One line for each route, as of the last check. */
  get notes(): readonly string[] {
    return this.#lines;
  }

  /** Takes notifications of this host: a check follows if they may concern such a route. */
  observe(notices: readonly Notification[]): void {
    if (notices.some((notice) => this.#isConcerned(notice))) this.schedule();
  }

  /** Checks soon; to be called when the peers have changed. */
  schedule(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#options.timers.after(SETTLE_MS, () => {
      this.#isDue = false;
      this.check();
    });
  }

  /** Looks at the routes that exist now, and logs what is new and what is gone. */
  check(): void {
    const { rtnetlink, input, logger } = this.#options;
    const current = input();
    if (current === undefined) return;
    const before = this.#lines;
    try {
      this.#lines = adviceOnRoutes(current, rtnetlink);
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      return; // the reconciler reports a kernel that does not answer
    }
    for (const line of this.#lines) if (!before.includes(line)) logger.warn(line);
    const gone = before.filter((line) => !this.#lines.includes(line)).length;
    if (gone > 0)
      logger.info(
        `Foreign routes that overlap the flannel network: ${gone} removed, ${this.#lines.length} left`,
      );
  }

  #isConcerned(notice: Notification): boolean {
    // The kernel deletes the IPv4 routes of a device that goes down or away without a notification for each.
    if (notice.type === "overrun" || notice.type === "link") return true;
    if (notice.type !== "route" || notice.value.protocol === RTPROT_FLANNEL) return false;
    const prefix = parsePrefix(notice.value.destination);
    const network = this.#options.input()?.network;
    return (
      prefix !== undefined &&
      [network?.ipv4, network?.ipv6].some(
        (config) => config !== undefined && overlaps(prefix, config.network),
      )
    );
  }
}
