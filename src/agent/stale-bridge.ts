/**
 * The best-known failure of a flannel node, seen from flanneld: a container bridge that still has the address of another
 * subnet, from an earlier subnet of this host or another installation. The bridge plugin then attaches no container to
 * it. It is reported while it lasts; with `--remove-stale-bridge` it is deleted where it has no port.
 */

import { FAMILIES } from "../address/family.ts";
import { formatIp } from "../address/ip.ts";
import { containsIp, formatPrefix, type Prefix } from "../address/prefix.ts";
import { FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { SubnetPair } from "../lease/lease.ts";
import { deleteLink } from "../netlink/link.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { readHostInterfaces } from "./host-interfaces.ts";
import type { HostInterfaces } from "./network-interface.ts";

/** The bridge plugin's default for `bridge` (containernetworking/plugins). */
const DEFAULT_BRIDGE = "cni0";

interface StaleBridge {
  readonly name: string;
  readonly index: number;
  /** What it has: "10.5.1.1/24". */
  readonly address: string;
  /** What it should be inside of. */
  readonly subnet: Prefix;
  readonly portCount: number;
}

/**
 * Bridges whose addresses of one family are all outside of this host's subnet although one is in a flannel network of
 * this host (current or former); of the bridge plugin's default bridge any IPv4 address counts, as the plugin refuses it.
 */
function findStaleBridges(host: HostInterfaces, own: SubnetPair, networks: readonly Prefix[]): StaleBridge[] {
  const bridges = host.interfaces.filter(({ kind }) => kind === "bridge");
  return bridges.flatMap(({ index, name, addresses }) => {
    for (const { family, name: familyName } of FAMILIES) {
      const subnet = own[familyName];
      const candidates = addresses.filter(({ ip, scope }) => ip.family === family && scope === "global");
      if (subnet === undefined || candidates.some(({ ip }) => containsIp(subnet, ip))) continue;
      const isByName = name === DEFAULT_BRIDGE && family === 4;
      const stale = candidates.find(({ ip }) => isByName || networks.some((one) => containsIp(one, ip)));
      if (stale === undefined || isUplink(host, index)) continue;
      const address = `${formatIp(stale.ip)}/${stale.prefixLength}`;
      const portCount = host.interfaces.filter(({ masterIndex }) => masterIndex === index).length;
      return [{ name, index, address, subnet, portCount }];
    }
    return [];
  });
}

/** The host's own network may overlap flannel's. */
const isUplink = ({ defaultRoutes }: HostInterfaces, index: number): boolean =>
  [...defaultRoutes.ipv4, ...defaultRoutes.ipv6].some(({ indexes }) => indexes.includes(index));

export interface StaleBridgesOptions {
  readonly rtnetlink: Rtnetlink;
  /** `--remove-stale-bridge`. */
  readonly isRemovalAllowed: boolean;
  /** Undefined before the host has a lease. */
  readonly own: () => SubnetPair | undefined;
  readonly networks: () => readonly Prefix[];
  /** Problems that are reported elsewhere: a bridge that one of them names is not reported again. */
  readonly problems: () => readonly string[];
  readonly logger: Logger;
}

export class StaleBridges {
  readonly #options: StaleBridgesOptions;
  /** Messages by the bridge's name. */
  #found = new Map<string, string>();

  constructor(options: StaleBridgesOptions) {
    this.#options = options;
  }

  /** One line for each, unless something else reports the bridge. */
  get notes(): string[] {
    return [...this.#found].filter(([name]) => !this.#isReported(name)).map(([, message]) => message);
  }

  /** Looks at the bridges that exist now. To be called when links, addresses or the own subnets changed. */
  check(): void {
    const { rtnetlink, own, networks, logger } = this.#options;
    const subnets = own();
    if (subnets === undefined) return;
    let stale: StaleBridge[];
    try {
      stale = findStaleBridges(readHostInterfaces(rtnetlink), subnets, networks());
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      return; // the reconciler reports a kernel that does not answer
    }
    const before = this.#found;
    this.#found = new Map();
    for (const bridge of stale) {
      if (this.#remove(bridge)) continue;
      const message = describe(bridge);
      this.#found.set(bridge.name, message);
      if (before.get(bridge.name) !== message && !this.#isReported(bridge.name))
        logger.warn(capital(message));
    }
    for (const name of before.keys())
      if (!this.#found.has(name)) logger.info(`Bridge "${name}" no longer has an address of another subnet`);
  }

  /** Whether it was deleted. */
  #remove({ name, index, address, portCount }: StaleBridge): boolean {
    const { rtnetlink, isRemovalAllowed, logger } = this.#options;
    if (!isRemovalAllowed || portCount > 0) return false;
    try {
      rtnetlink.connection.request(deleteLink(index));
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      logger.error(`Failed to delete bridge "${name}"; run 'ip link delete ${name}': ${messageOf(error)}`);
      return false;
    }
    logger.warn(`Deleted bridge "${name}", which had ${address} of another subnet and no port`);
    return true;
  }

  #isReported(name: string): boolean {
    return this.#options.problems().some((problem) => problem.includes(`bridge ${name} `));
  }
}

function describe({ name, address, subnet, portCount }: StaleBridge): string {
  const ports =
    portCount === 0
      ? "it has no port"
      : `it has ${portCount} port${portCount === 1 ? "" : "s"}: stop those containers first`;
  return (
    `bridge "${name}" has ${address}, but this host's subnet is ${formatPrefix(subnet)}: no container of this subnet can be ` +
    `attached to it (${ports}); delete it: ip link delete ${name}`
  );
}

const capital = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
