/**
 * The steps of `flannelctl check` for one peer, in the order in which a packet needs them: lease, config, objects, firewall,
 * underlay, overlay, size. Each says what was seen, and what to do if it is wrong. A step that needs a failed one is skipped.
 */

import { formatIp, type Ip, parseIp } from "../../address/ip.ts";
import { type Prefix, parsePrefix } from "../../address/prefix.ts";
import { messageOf } from "../../base/error.ts";
import { NUD_REACHABLE } from "../../netlink/neighbour.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink.ts";
import type { RouteReport } from "../../status/api.ts";
import { findObjectFault } from "./check-objects.ts";
import type { DiagnosePorts } from "./diagnose-ports.ts";
import { type EchoOutcome, firstEcho, largestPacket } from "./echo-series.ts";
import { type Fabric, overlayAddress } from "./find-peer.ts";
import { ownSource } from "./ping-command.ts";
import { reverseFilterDrops } from "./reverse-path.ts";
import { tunnelOf } from "./tunnel-ports.ts";

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

const PORT_TIMEOUT_MS = 900;
const ARP_TIMEOUT_MS = 300;
/** A port that is practically never open (RFC 863); a host answers that it is closed. */
const DISCARD_PORT = 9;

type Finding = Omit<Step, "name">;

const ok = (seen: string): Finding => ({ state: "ok", seen });
const failed = (seen: string, advice: string): Finding => ({ state: "failed", seen, advice });
const skipped = (seen: string): Finding => ({ state: "skipped", seen });

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

interface Context {
  readonly ports: DiagnosePorts;
  readonly fabric: Fabric;
  readonly route: RouteReport;
  readonly subnet: Prefix;
  readonly publicIp: Ip | undefined;
  readonly rtnetlink: Rtnetlink;
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

/** By ARP on the external interface: another host that answers for an address of ours, or two for the peer's. */
async function findDuplicateAddress(
  { ports, fabric, publicIp, rtnetlink }: Context,
  ownIps: readonly string[],
): Promise<Finding | undefined> {
  const link = rtnetlink.link(fabric.status.externalInterface?.name ?? "");
  if (link?.mac === undefined) return undefined;
  const device = { ifindex: link.index, mac: link.mac };
  // Also the answers of other interfaces of this host on the same link (arp_ignore) are no duplicates.
  const ownMacs = new Set(rtnetlink.links().map(({ mac }) => mac));
  const answering = async (ip: Ip | undefined) => {
    if (ip?.family !== 4) return [];
    try {
      const macs = await ports.arpProbe(device, ip, ARP_TIMEOUT_MS);
      return macs.filter((mac) => !ownMacs.has(mac));
    } catch {
      return []; // no CAP_NET_RAW, or a device without ARP
    }
  };
  for (const text of ownIps) {
    const [mac] = await answering(parseIp(text));
    if (mac !== undefined)
      return failed(
        `${mac} also uses this host's address ${text} on ${link.name}`,
        "two hosts have one address; give one of them another and restart its flanneld",
      );
  }
  const macs = await answering(publicIp);
  if (publicIp === undefined || macs.length < 2) return undefined;
  return failed(
    `${macs.join(" and ")} both use the peer's address ${formatIp(publicIp)} on ${link.name}`,
    "two hosts have one address; give one of them another and restart its flanneld",
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

interface PathResult {
  readonly finding: Finding;
  readonly rttMs?: number;
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

const problemOf = (outcome: EchoOutcome): string => ("problem" in outcome ? outcome.problem : "answered");

const reverseFilterFault = (count: number, what: string): Finding =>
  failed(
    `rp_filter of this host dropped ${count} packets while ${what} was probed`,
    "answers arrive on another interface than the route back uses: set net.ipv4.conf.all.rp_filter and that of the interface to 2, or correct the routes",
  );

async function checkOverlay(context: Context, under: PathResult | undefined): Promise<PathResult> {
  const { ports, fabric, route, subnet, publicIp } = context;
  const target = overlayAddress(subnet, fabric.status.backend ?? "");
  const source = ownSource(ports, fabric.status, subnet.family);
  const text = formatIp(target);
  const before = reverseFilterDrops(ports);
  const outcome = await firstEcho(ports, target, source);
  if ("rttMs" in outcome) {
    const fault = await findChecksumFault(context, target);
    if (fault !== undefined) return { finding: fault, rttMs: outcome.rttMs };
    return { finding: ok(`${text} answers in ${outcome.rttMs.toFixed(2)} ms`), rttMs: outcome.rttMs };
  }
  const seen = `${text}: ${problemOf(outcome)}`;
  if (under?.finding.state === "failed") return { finding: skipped(`${seen}; the underlay is down`) };
  const dropped = reverseFilterDrops(ports) - before;
  if (dropped > 0) return { finding: reverseFilterFault(dropped, text) };
  const tunnel = tunnelOf(context.rtnetlink, fabric.status, route.device);
  if (route.probe?.verdict === "one direction" && route.probe.advice !== undefined)
    return { finding: failed(`${seen}; packets pass in one direction only`, route.probe.advice) };
  if (tunnel === undefined || publicIp === undefined)
    return {
      finding: failed(
        seen,
        "packets between containers are routed by the network itself: it has to accept them, and the peer has to forward them (flannelctl check there)",
      ),
    };
  if (tunnel.udpPort === undefined)
    return { finding: failed(seen, `accept ${tunnel.name} on the peer and in the network between`) };
  const answer = await ports.askUdpPort(publicIp, tunnel.udpPort, PORT_TIMEOUT_MS);
  const where = `UDP port ${tunnel.udpPort} of ${route.publicIp}`;
  if (answer === "refused")
    return {
      finding: failed(
        `${seen}; ${where} is closed: nothing receives there`,
        `start flanneld on the peer; if it runs, it uses another port (Backend.Port) or its device is gone: run flannelctl check there`,
      ),
    };
  if (answer === "unreachable")
    return { finding: failed(`${seen}; a firewall rejects ${where}`, `accept ${tunnel.name} there`) };
  return {
    finding: failed(
      `${seen}, although ${route.publicIp} is up; ${where} swallows packets`,
      `accept ${tunnel.name} in the peer's firewall and in the network between, in both directions; then run flannelctl check on the peer`,
    ),
  };
}

/** Pings pass whatever computes checksums; TCP and UDP do not if the hardware leaves wrong ones in tunnelled packets. */
async function findChecksumFault({ ports, route }: Context, target: Ip): Promise<Finding | undefined> {
  const [tcp, udp] = await Promise.all([
    ports.askTcpPort(target, DISCARD_PORT, PORT_TIMEOUT_MS),
    ports.askUdpPort(target, DISCARD_PORT, PORT_TIMEOUT_MS),
  ]);
  if (tcp !== "silent" || udp !== "silent") return undefined;
  const device = route.device ?? "";
  const seen = `${formatIp(target)} answers pings, but neither TCP nor UDP`;
  if (ports.hasChecksumOffload(device) === true)
    return failed(
      `${seen}; ${device} leaves checksums to the hardware (tx-checksum-ip-generic on)`,
      `set Backend.DisableTxChecksum to true, or run "ethtool -K ${device} tx-checksum-ip-generic off" on both hosts; if it stays, a firewall on the peer drops them`,
    );
  return failed(seen, "a firewall on the peer drops TCP and UDP that arrive from the tunnel");
}

async function checkSize(
  context: Context,
  overlayMs: number,
  underlayMs: number | undefined,
): Promise<Finding> {
  const { ports, fabric, route, subnet, publicIp, rtnetlink } = context;
  const target = overlayAddress(subnet, fabric.status.backend ?? "");
  const needed = fabric.status.mtuBytes;
  if (needed === undefined) return { state: "unknown", seen: "the MTU is not known yet" };
  try {
    const source = ownSource(ports, fabric.status, subnet.family);
    const options = { mostBytes: needed, rttMs: overlayMs, ...(source && { source }) };
    const largest = await largestPacket(ports, target, options);
    if (largest === needed) return ok(`packets of ${needed} bytes pass, the MTU for containers`);
    const device = rtnetlink.linkByName(route.device ?? "");
    if (device !== undefined && device.mtuBytes < needed && largest === device.mtuBytes)
      return failed(
        `the MTU of ${device.name} is ${device.mtuBytes}, that for containers ${needed}`,
        `set the MTU of ${device.name} to ${needed}, or restart flanneld`,
      );
    const outer = fabric.status.externalInterface?.mtuBytes ?? needed;
    const below =
      publicIp === undefined || underlayMs === undefined
        ? undefined
        : await largestPacket(ports, publicIp, { mostBytes: outer, rttMs: underlayMs });
    const advice =
      below === undefined || below >= outer
        ? `check the MTU of the tunnel's device on the peer; else set Backend.MTU so that containers get ${largest ?? 0}`
        : `the network between carries ${below} of the ${outer} bytes that ${fabric.status.externalInterface?.name} promises: raise its MTU, or set Backend.MTU to ${below} in the network config`;
    return failed(
      `packets of more than ${largest ?? 0} bytes are lost, ${needed} is the MTU for containers`,
      advice,
    );
  } catch (error) {
    return { state: "unknown", seen: messageOf(error) };
  }
}
