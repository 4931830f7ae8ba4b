/** The lab's namespaces, and the links, addresses and routes between them. Synchronous, as the kernel is. */

import { closeSync, openSync } from "node:fs";
import { openRtnetlink } from "../../linux/netlink-socket.ts";
import { createNetns, netnsPath } from "../../linux/netns.ts";
import { readSysctl, writeSysctl } from "../../linux/sysctl.ts";
import { IFA_F_NODAD, newAddress } from "../../netlink/address.ts";
import { deleteLink, type LinkSpec, newLink, setLink } from "../../netlink/link.ts";
import { newRoute } from "../../netlink/route.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink.ts";
import type { ContainerNetwork } from "../plan/container-network.ts";
import type { Container, Host, Topology, VethContainer } from "../plan/topology.ts";

const CONTAINER_BRIDGE = "cni0";
const UPLINK = "eth0";

/** The hub, with a bridge for each segment. It routes between them if there are several, and for containers if `isRouter`. */
export function makeHub({ hub, segments }: Topology, isRouter = false): void {
  createNetns(hub.netns);
  using rtnl = openNode(hub.netns);
  for (const { bridge, gateways } of segments) {
    addLink(rtnl, { name: bridge, kind: "bridge" });
    if (isRouter) writeIfThere(hub.netns, `ipv4/conf/${bridge}/send_redirects`, "0");
    const index = bringUp(rtnl, hub.netns, bridge);
    for (const { prefix } of gateways) addAddress(rtnl, index, prefix);
  }
  if (segments.length > 1 || isRouter) forwardPackets(hub.netns);
  // A host that learned the way to a container from a redirect would reach it without the cloud's route.
  if (isRouter) writeIfThere(hub.netns, "ipv4/conf/all/send_redirects", "0");
}

/** A host on its segment that forwards packets, as a host of containers does. */
export function makeHost(host: Host, { hub, segments }: Topology): void {
  const { bridge, gateways } = segments[host.segment]!;
  createNetns(host.netns);
  plug(hub.netns, bridge, { port: host.name, netns: host.netns });
  using rtnl = openNode(host.netns);
  const uplink = bringUp(rtnl, host.netns, UPLINK);
  for (const { prefix } of host.addresses) addAddress(rtnl, uplink, prefix);
  for (const { family, address } of gateways) {
    const destination = family === 4 ? "0.0.0.0/0" : "::/0";
    rtnl.connection.request(newRoute({ destination, gateway: address, oif: uplink }));
  }
  forwardPackets(host.netns);
}

/** The bridge that containers of this host are on: what Docker or a CNI plugin makes from subnet.env. */
export function makeContainerBridge(host: Host, network: ContainerNetwork): void {
  using rtnl = openRtnetlink({ netns: netnsPath(host.netns) });
  const { mtuBytes } = network;
  addLink(rtnl, { name: CONTAINER_BRIDGE, kind: "bridge", mtuBytes });
  const bridge = bringUp(rtnl, host.netns, CONTAINER_BRIDGE);
  for (const family of network.families) addAddress(rtnl, bridge, family.prefixAt(1));
}

/** A namespace with nothing but lo, as a container runtime hands it to CNI plugins, whose devices work at once. */
export function makeBareContainer(container: Container, host: Host): void {
  createNetns(container.netns);
  openNode(container.netns).close();
  for (const { netns } of [container, host]) skipDad(netns, "default");
}

/** With a leg on the bridge of its host. */
export function makeContainer(container: VethContainer, host: Host, network: ContainerNetwork): void {
  createNetns(container.netns);
  const { mtuBytes } = network;
  const { hostPort, addressOffset } = container.attachment;
  plug(host.netns, CONTAINER_BRIDGE, { port: hostPort, netns: container.netns, mtuBytes });
  using rtnl = openNode(container.netns);
  const uplink = bringUp(rtnl, container.netns, UPLINK);
  for (const { prefixAt, addressAt, everything } of network.families) {
    addAddress(rtnl, uplink, prefixAt(addressOffset));
    rtnl.connection.request(newRoute({ destination: everything, gateway: addressAt(1), oif: uplink }));
  }
}

/** Takes the host's leg out of the hub; it can be repeated. */
export function unplugHost(host: Host, { hub }: Topology): void {
  using rtnl = openRtnetlink({ netns: netnsPath(hub.netns) });
  if (rtnl.linkByName(host.name) !== undefined) rtnl.connection.request(deleteLink(host.name));
}

/** A veth from a bridge to the uplink of another namespace. The end outside never exists elsewhere, so names cannot clash. */
function plug(
  bridgeNetns: string,
  bridge: string,
  to: { readonly port: string; readonly netns: string; readonly mtuBytes?: number },
): void {
  using rtnl = openRtnetlink({ netns: netnsPath(bridgeNetns) });
  const { port, mtuBytes } = to;
  const masterIndex = rtnl.linkByName(bridge)!.index;
  const netNsFd = openSync(netnsPath(to.netns), "r");
  try {
    const peer = { name: UPLINK, netNsFd, mtuBytes };
    addLink(rtnl, { name: port, kind: "veth", masterIndex, mtuBytes, up: true, peer });
  } finally {
    closeSync(netNsFd);
  }
}

/** A connection to a fresh namespace, whose lo is brought up. */
function openNode(netns: string): Rtnetlink {
  const rtnl = openRtnetlink({ netns: netnsPath(netns) });
  bringUp(rtnl, netns, "lo");
  return rtnl;
}

function forwardPackets(netnsName: string): void {
  for (const key of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]) writeIfThere(netnsName, key, "1");
}

/** `key`s of IPv6 are missing where the kernel has none. */
function writeIfThere(netnsName: string, key: string, value: string): void {
  const where = { netns: netnsPath(netnsName) };
  if (readSysctl(key, where) !== undefined) writeSysctl(key, value, where);
}

function addLink(rtnl: Rtnetlink, spec: LinkSpec): void {
  rtnl.connection.request(newLink(spec));
}

/**
 * IPv6 works at once: without duplicate address detection (RFC 4862 §5.4), during which a device has no link-local
 * address to ask its neighbours from. "default" = the devices yet to come.
 */
const skipDad = (netnsName: string, device: string): void =>
  writeIfThere(netnsName, `ipv6/conf/${device}/accept_dad`, "0");

/** Gives the index. */
function bringUp(rtnl: Rtnetlink, netnsName: string, name: string): number {
  skipDad(netnsName, name);
  rtnl.connection.request(setLink(name, { up: true }));
  return rtnl.linkByName(name)!.index;
}

function addAddress(rtnl: Rtnetlink, ifindex: number, prefix: string): void {
  const flags = prefix.includes(":") ? IFA_F_NODAD : 0;
  rtnl.connection.request(newAddress({ ifindex, prefix, flags }));
}
