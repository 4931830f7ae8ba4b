/** The steps of a check that send packets through the tunnel: whether any arrive, and how large they may be. */

import { formatIp, type Ip } from "../../address/ip.ts";
import { messageOf } from "../../base/error.ts";
import {
  type Context,
  type Finding,
  failed,
  ok,
  type PathResult,
  problemOf,
  reverseFilterFault,
  skipped,
} from "./check-finding.ts";
import { firstEcho, largestPacket } from "./echo-series.ts";
import { overlayAddress } from "./find-peer.ts";
import { ownSource } from "./ping-command.ts";
import { reverseFilterDrops } from "./reverse-path.ts";
import { tunnelOf } from "./tunnel-ports.ts";

const PORT_TIMEOUT_MS = 900;
/** The probes of flanneld meet the closed port, too, and use up most of the peer's ICMP errors (icmp_ratelimit). */
const TUNNEL_PORT_TIMEOUT_MS = 4_000;
/** A port that is practically never open (RFC 863); a host answers that it is closed. */
const DISCARD_PORT = 9;

/** Whether the peer answers through the tunnel; if not, why. */
export async function checkOverlay(context: Context, under: PathResult | undefined): Promise<PathResult> {
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
  if (tunnel === undefined || publicIp === undefined) {
    const advice =
      "packets between containers are routed by the network itself: it has to accept them, and the peer has to forward them (flannelctl check there)";
    if (route.probe?.verdict === "overlay down") return { finding: failed(seen, advice) };
    // The address is the containers' bridge, which a host without containers does not have.
    return {
      finding: {
        state: "unknown",
        seen: `${seen}; the peer may have no containers yet`,
        advice: `if it has: ${advice}`,
      },
    };
  }
  if (tunnel.udpPort === undefined)
    return { finding: failed(seen, `accept ${tunnel.name} on the peer and in the network between`) };
  const answer = await ports.askUdpPort(publicIp, tunnel.udpPort, TUNNEL_PORT_TIMEOUT_MS);
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

/** Whether packets of the containers' MTU pass. */
export async function checkSize(
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
