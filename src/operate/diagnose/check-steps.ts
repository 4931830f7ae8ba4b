/**
 * The steps of `flannelctl check` for one peer, in the order in which a packet needs them: lease, config, objects, firewall,
 * underlay, overlay, size. Each says what was seen, and what to do if it is wrong. A step that needs a failed one is skipped.
 */

import { formatIp, type Ip, parseIp } from "../../address/ip.ts";
import { parsePrefix } from "../../address/prefix.ts";
import { NUD_REACHABLE } from "../../netlink/neighbour.ts";
import type { RouteReport } from "../../status/api.ts";
import {
  type Context,
  type Finding,
  failed,
  ok,
  type PathResult,
  type PeerCheck,
  problemOf,
  reverseFilterFault,
  type Step,
  skipped,
} from "./check-finding.ts";
import { findObjectFault } from "./check-objects.ts";
import { checkOverlay, checkSize } from "./check-overlay.ts";
import type { DiagnosePorts } from "./diagnose-ports.ts";
import { findDuplicateAddress } from "./duplicate-address.ts";
import { firstEcho } from "./echo-series.ts";
import type { Fabric } from "./find-peer.ts";
import { reverseFilterDrops } from "./reverse-path.ts";

/** Checks one subnet of a peer. */
export async function checkPeer(
  ports: DiagnosePorts,
  fabric: Fabric,
  route: RouteReport,
): Promise<PeerCheck> {
  using rtnetlink = ports.openRtnetlink();
  const subnet = parsePrefix(route.subnet)!;
  const publicIp = parseIp(route.publicIp);
  const context: Context = { ports, fabric, route, subnet, publicIp, rtnetlink };
  const steps: Step[] = [];
  const add = (name: Step["name"], finding: Finding) => void steps.push({ name, ...finding });
  const isOk = (...names: Step["name"][]) =>
    names.every((name) => steps.find((step) => step.name === name)?.state === "ok");

  add("lease", await checkLease(context));
  add("config", checkConfig(context));
  add("objects", isOk("config") ? checkObjects(context) : skipped("no objects are desired for this peer"));
  add("firewall", checkFirewall(context));
  const under = publicIp === undefined ? undefined : await checkUnderlay(context, publicIp);
  add("underlay", under?.finding ?? skipped("the peer has no public IP"));
  const over = isOk("config", "objects") ? await checkOverlay(context, under) : undefined;
  add("overlay", over?.finding ?? skipped("packets to the peer have no path"));
  add(
    "size",
    over?.rttMs === undefined
      ? skipped("no packet passes")
      : await checkSize(context, over.rttMs, under?.rttMs),
  );
  const isReachable = !steps.some(({ state }) => state === "failed");
  return { peer: route.peer, subnet: route.subnet, publicIp: route.publicIp, isReachable, steps };
}

async function checkLease(context: Context): Promise<Finding> {
  const { fabric, route, publicIp } = context;
  const { lease } = fabric.status;
  if (lease === undefined || lease.subnets.length === 0)
    return failed(
      `this host has no lease: ${lease?.problem ?? "not acquired yet"}`,
      "see flannelctl status, and the log of flanneld on this host",
    );
  if (lease.problem !== undefined) return failed(lease.problem, "see the log of flanneld on this host");
  const duplicate = await findDuplicateAddress(context, lease.publicIps);
  if (duplicate !== undefined) return duplicate;
  if (publicIp === undefined)
    return failed("the peer's lease has no public IP", "start flanneld on the peer, or release its lease");
  return ok(
    `this host ${lease.subnets[0]} at ${lease.publicIps[0]}, peer ${route.subnet} at ${route.publicIp}`,
  );
}

function checkConfig({ fabric, route }: Context): Finding {
  const { status } = fabric;
  const backend = status.backend ?? "";
  if (route.backend !== "" && route.backend !== backend)
    return failed(
      `the peer runs backend "${route.backend}", this host "${backend}"`,
      "set Backend.Type in the network config and restart flanneld on every host",
    );
  if (route.state === "refused") {
    const reason = route.reason ?? "the peer's lease is unusable";
    const advice = /VNI/.test(reason)
      ? "hosts have to agree on Backend.VNI; restart flanneld on the host that has the old one"
      : "see flannelctl leases; restart flanneld on the peer, so that it publishes its lease again";
    return failed(reason, advice);
  }
  if (route.reason !== undefined && route.state === "programmed")
    return failed(route.reason, "see the reason; flanneld on the host that it names has to be changed");
  return ok(`backend ${backend} on both`);
}

function checkObjects({ route, subnet, publicIp, rtnetlink, fabric }: Context): Finding {
  if (route.state !== "programmed")
    return failed(
      `the route to ${route.subnet} is ${route.state}${route.reason === undefined ? "" : `: ${route.reason}`}`,
      "see flannelctl status and flannelctl plan",
    );
  const fault = findObjectFault(rtnetlink, { route, subnet, publicIp, backend: fabric.status.backend ?? "" });
  if (fault !== undefined) return failed(fault.seen, fault.advice);
  return ok(`route ${route.subnet}${route.via === undefined ? "" : ` via ${route.via}`} dev ${route.device}`);
}

/** What flanneld found in the rules of this host. */
function checkFirewall({ fabric }: Context): Finding {
  const { notes, notReadyReasons } = fabric.status;
  const finding = [...notReadyReasons, ...notes].find((note) => /^firewall\b/.test(note));
  if (finding === undefined) return ok("no rule of this host drops the network's or the tunnel's packets");
  const [seen, ...remedy] = finding.replace(/^firewall:? /, "").split("; ");
  return failed(seen!, remedy.join("; ") || "see flannelctl status");
}

async function checkUnderlay(
  { ports, fabric, rtnetlink, subnet }: Context,
  publicIp: Ip,
): Promise<PathResult> {
  const text = formatIp(publicIp);
  const external = fabric.status.externalInterface?.name ?? "";
  const hop = rtnetlink.lookupRoute(text);
  if (hop?.oif === undefined)
    return {
      finding: failed(
        `no route leads to ${text}`,
        "add a route, or start flanneld with --iface or --public-ip of a network that both hosts are in",
      ),
    };
  const device = rtnetlink.link(hop.oif)?.name ?? "";
  if (device !== external)
    return {
      finding: failed(
        `packets to ${text} leave through ${device}, but flanneld uses ${external}`,
        `start flanneld with --iface=${device} (or --iface-can-reach=${text}), or the peer with a --public-ip in the network of ${external}`,
      ),
    };
  const before = reverseFilterDrops(ports);
  const outcome = await firstEcho(ports, publicIp);
  if ("rttMs" in outcome)
    return { finding: ok(`${text} answers in ${outcome.rttMs.toFixed(2)} ms on ${device}`), ...outcome };
  const dropped = reverseFilterDrops(ports) - before;
  if (dropped > 0) return { finding: reverseFilterFault(dropped, text) };
  const isNeighbour = hop.gateway === undefined;
  const knows = rtnetlink
    .neighbours({ family: subnet.family, ifindex: hop.oif })
    .find(({ address }) => address === (hop.gateway ?? text));
  if (isNeighbour && knows?.mac === undefined)
    return {
      finding: failed(
        `${text} does not answer address resolution on ${device}`,
        "the peer is down, not connected to this network, or published an address of another interface: start its flanneld with the right --iface",
      ),
    };
  if (isNeighbour && (knows!.state & NUD_REACHABLE) !== 0)
    return {
      finding: {
        state: "unknown",
        seen: `${text} is there (address resolution on ${device}) but answers no ping`,
        advice: "ICMP is probably filtered; the next steps decide",
      },
    };
  const gateway = hop.gateway === undefined ? "" : ` through the gateway ${hop.gateway}`;
  return {
    finding: failed(
      `${text}${gateway}: ${problemOf(outcome)}`,
      "the peer is down, the network between does not route to it, or its public IP is wrong (--iface, --public-ip)",
    ),
  };
}
