/** The containers of a host: joined to it by the lab itself, or by CNI plugins. */

import { existsSync } from "node:fs";
import type { Family } from "../../address/ip.ts";
import { messageOf } from "../../base/error.ts";
import { netnsPath } from "../../linux/netns.ts";
import type { ContainerNetwork } from "../plan/container-network.ts";
import type { CniContainer, Container, Host, VethContainer } from "../plan/topology.ts";
import { attach, attachedAddresses, detach } from "./container-runtime.ts";
import { makeBareContainer, makeContainer, makeContainerBridge } from "./lab-links.ts";

export interface ContainerAddress {
  readonly family: Family;
  readonly address: string;
}

/** Makes them, once the host has its subnet. Throws FlannelError. */
export async function makeContainers(
  host: Host,
  network: ContainerNetwork,
  cniPlugin: string,
): Promise<void> {
  const joined = host.containers.filter(isVeth);
  if (joined.length > 0) makeContainerBridge(host, network);
  for (const container of joined) makeContainer(container, host, network);
  for (const container of host.containers.filter(isCni)) {
    makeBareContainer(container, host);
    await attach(cniPlugin, host, container);
  }
}

/**
 * Runs the CNI plugins' DEL for the containers; the lab's own links disappear with the namespaces. Returns the failures, for
 * the user to read: none of them stops the removal.
 */
export async function detachContainers(host: Host, cniPlugin: string): Promise<string[]> {
  const faults: string[] = [];
  for (const container of host.containers.filter(isCni)) {
    if (attachedAddresses(container) === undefined || !existsSync(netnsPath(host.netns))) continue;
    try {
      await detach(cniPlugin, host, container);
    } catch (error) {
      faults.push(messageOf(error));
    }
  }
  return faults;
}

/** Its addresses as far as it has any, in the order of the families. */
export function addressesOfContainer(container: Container, network: ContainerNetwork): ContainerAddress[] {
  if (isVeth(container)) {
    const { addressOffset } = container.attachment;
    return network.families.map(({ family, addressAt }) => ({ family, address: addressAt(addressOffset) }));
  }
  const prefixes = isCni(container) ? (attachedAddresses(container) ?? []) : [];
  return prefixes.map((prefix) => ({
    family: prefix.includes(":") ? 6 : 4,
    address: prefix.replace(/\/.*/, ""),
  }));
}

const isVeth = (container: Container): container is VethContainer => container.attachment.kind === "veth";
const isCni = (container: Container): container is CniContainer => container.attachment.kind === "cni";
