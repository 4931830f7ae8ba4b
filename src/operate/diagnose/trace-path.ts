/**
 * The path of a packet as the kernel of this host would send it, object by object: where it comes from, the route that the kernel
 * chooses (RTM_GETROUTE, as `ip route get` asks), firewall, neighbour, FDB entry, and the same again for the tunnel's own packet.
 */

import { formatIp, type Ip } from "../../address/ip.ts";
import { messageOf } from "../../base/error.ts";
import type { Link } from "../../netlink/link.ts";
import { NUD_PERMANENT, NUD_REACHABLE } from "../../netlink/neighbour.ts";
import { type Route, RTN_BLACKHOLE, RTN_PROHIBIT, RTN_UNREACHABLE } from "../../netlink/route.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink.ts";
import type { RouteReport } from "../../status/api.ts";
import { type Fabric, findRoutes } from "./find-peer.ts";
import { tunnelOf } from "./tunnel-ports.ts";

/** One object on the path; `problem` = the packet dies here. */
export interface Hop {
  readonly object: "source" | "route" | "firewall" | "device" | "neighbour" | "fdb" | "tunnel" | "peer";
  readonly seen: string;
  readonly problem?: string;
}

/** The hops up to the one where the packet dies, or leaves this host. `from` undefined = from this host itself. */
export function tracePath(
  rtnetlink: Rtnetlink,
  fabric: Fabric,
  { from, to }: { readonly from: Ip | undefined; readonly to: Ip },
): readonly Hop[] {
  const hops: Hop[] = [];
  /** Whether the packet continues. */
  const add = (object: Hop["object"], seen: string, problem?: string): boolean => {
    hops.push(problem === undefined ? { object, seen } : { object, seen, problem });
    return problem === undefined;
  };
  const target = formatIp(to);
  const source = sourceOf(rtnetlink, from);
  if (!add("source", source.seen, source.problem)) return hops;
  const route = findRoute(rtnetlink, target, source.arrival);
  if (typeof route === "string") {
    add("route", `to ${target}`, route);
    return hops;
  }
  if (!walkRoute(rtnetlink, route, target, add)) return hops;
  const finding = [...fabric.status.notReadyReasons, ...fabric.status.notes].find((note) =>
    /^firewall\b/.test(note),
  );
  const isForwarded = source.arrival !== undefined;
  if (
    !add(
      "firewall",
      finding === undefined
        ? `${isForwarded ? "forwards" : "sends"} the packet: no rule of this host drops it`
        : "of this host",
      finding,
    )
  )
    return hops;
  const device = rtnetlink.link(route.oif!);
  if (device?.vxlan === undefined) {
    const peer = peerOf(fabric.routes, target);
    if (peer !== undefined && device?.name.startsWith("flannel")) walkTunnel(peer.publicIp, device);
    return hops;
  }
  const via = route.gateway ?? target;
  const neighbour = rtnetlink.neighbours({ ifindex: device.index }).find(({ address }) => address === via);
  if (
    !add(
      "neighbour",
      `${via} is ${neighbour?.mac ?? "unknown"} on ${device.name}`,
      neighbour?.mac === undefined ? "the VXLAN device has no entry for it: packets are dropped" : undefined,
    )
  )
    return hops;
  const entry = rtnetlink.fdb({ ifindex: device.index }).find(({ mac }) => mac === neighbour?.mac);
  if (
    !add(
      "fdb",
      `${neighbour?.mac} is behind ${entry?.destination ?? "nothing"}`,
      entry?.destination === undefined
        ? "the VXLAN device has no destination for it: packets are dropped"
        : undefined,
    )
  )
    return hops;
  walkTunnel(entry!.destination!, device);
  return hops;

  /** The tunnel's packet, to the peer's public IP. */
  function walkTunnel(publicIp: string, tunnelDevice: Link): void {
    const tunnel = tunnelOf(rtnetlink, fabric.status, tunnelDevice.name);
    add("tunnel", `${tunnelDevice.name} sends ${tunnel?.name ?? "its packets"} to ${publicIp}`);
    const outer = findRoute(rtnetlink, publicIp);
    if (typeof outer === "string") return void add("route", `to ${publicIp}`, outer);
    if (!walkRoute(rtnetlink, outer, publicIp, add)) return;
    const lower = rtnetlink.link(outer.oif!);
    if (lower === undefined || outer.type !== 1) return;
    const next = outer.gateway ?? publicIp;
    const known = rtnetlink.neighbours({ ifindex: lower.index }).find(({ address }) => address === next);
    const isUsable = known?.mac !== undefined;
    const state = known === undefined ? "not resolved yet" : stateOf(known.state);
    add(
      "neighbour",
      isUsable ? `${next} is ${known.mac} on ${lower.name} (${state})` : `${next} on ${lower.name}: ${state}`,
      known !== undefined && !isUsable ? "nothing answers address resolution for it" : undefined,
    );
  }
}

/** The route's line and its device; false if the packet dies. */
function walkRoute(
  rtnetlink: Rtnetlink,
  route: Route,
  target: string,
  add: (object: Hop["object"], seen: string, problem?: string) => boolean,
): boolean {
  const kinds: Readonly<Record<number, string>> = {
    [RTN_BLACKHOLE]: "blackhole",
    [RTN_UNREACHABLE]: "unreachable",
    [RTN_PROHIBIT]: "prohibit",
  };
  const device = route.oif === undefined ? undefined : rtnetlink.link(route.oif);
  const via = route.gateway === undefined ? "" : ` via ${route.gateway}`;
  const src = route.prefsrc === undefined ? "" : ` src ${route.prefsrc}`;
  const seen = `${target}${via} dev ${device?.name ?? "-"}${src} table ${route.table}`;
  if (!add("route", seen, kinds[route.type] && `the route is of type ${kinds[route.type]}`)) return false;
  if (device === undefined) return add("device", "none", "the route has no device");
  const problem = device.isUp
    ? device.operState === "down"
      ? "it has no carrier"
      : undefined
    : "it is down";
  return add(
    "device",
    `${device.name}${device.kind === undefined ? "" : ` (${device.kind})`}, MTU ${device.mtuBytes}`,
    problem,
  );
}

function findRoute(
  rtnetlink: Rtnetlink,
  target: string,
  arrival?: { source: string; iif: number },
): Route | string {
  try {
    return (
      rtnetlink.lookupRoute(target, undefined, arrival) ??
      "no route leads there, or rp_filter drops the source"
    );
  } catch (error) {
    return messageOf(error);
  }
}

/** An address of this host, or one behind a device: then the packet is forwarded. */
function sourceOf(
  rtnetlink: Rtnetlink,
  from: Ip | undefined,
): { readonly seen: string; readonly problem?: string; readonly arrival?: { source: string; iif: number } } {
  if (from === undefined) return { seen: "this host" };
  const source = formatIp(from);
  const own = rtnetlink.addresses({ family: from.family }).find(({ address }) => address === source);
  if (own !== undefined)
    return { seen: `${source}, an address of this host on ${rtnetlink.link(own.ifindex)?.name}` };
  const back = rtnetlink.lookupRoute(source);
  const device = back?.oif === undefined ? undefined : rtnetlink.link(back.oif);
  if (device === undefined) return { seen: source, problem: "no route leads back to it" };
  return { seen: `${source}, which arrives on ${device.name}`, arrival: { source, iif: device.index } };
}

/** The peer whose subnet has the address; undefined if none has. */
export function peerOf(routes: readonly RouteReport[], target: string): RouteReport | undefined {
  try {
    return findRoutes(routes, target)[0];
  } catch {
    return undefined;
  }
}

const stateOf = (state: number): string =>
  (state & NUD_PERMANENT) !== 0
    ? "permanent"
    : (state & NUD_REACHABLE) !== 0
      ? "reachable"
      : "not confirmed lately";
