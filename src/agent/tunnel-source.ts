/** The source addresses of tunnels: which of this host's addresses the packets on an interface carry. */

import { type Family, type Ip, parseIp, sameIp } from "../address/ip.ts";
import { type AddressEvidence, chooseAddress, isUsable } from "./host-address.ts";
import { staysOnHost } from "./interface-refusal.ts";
import type { HostInterfaces, NetworkInterface } from "./network-interface.ts";

export interface SourceContext {
  /** The choice in effect; undefined at startup. */
  readonly current?:
    | { readonly index: number; readonly ipv4: Ip | undefined; readonly ipv6: Ip | undefined }
    | undefined;
  /** Addresses that tunnels used before a restart. */
  readonly previousAddresses?: readonly Ip[];
  /** Whether the lease of another host has this address. */
  readonly isPeerAddress?: (ip: Ip) => boolean;
}

export class TunnelSources {
  readonly #host: HostInterfaces;
  readonly #context: SourceContext;

  constructor(host: HostInterfaces, context: SourceContext) {
    this.#host = host;
    this.#context = context;
  }

  /** The best address for packets through `link`, to `towards` if given, among those that `accepts`. */
  addressOf(
    link: NetworkInterface,
    family: Family,
    { accepts, towards }: { readonly accepts?: (ip: Ip) => boolean; readonly towards?: Ip | undefined } = {},
  ): Ip | undefined {
    const { current, previousAddresses = [], isPeerAddress = () => false } = this.#context;
    const used =
      current === undefined
        ? previousAddresses
        : current.index === link.index
          ? [current.ipv4, current.ipv6]
          : [];
    const kernelSource = () => this.#kernelSource(link, family, towards);
    const routes = () => this.#host.defaultRoutes[`ipv${family}`];
    const evidence: AddressEvidence = {
      inUse: used.filter((ip) => ip !== undefined),
      isPeerAddress,
      kernelSource,
      routeSource: () => routes().find(({ indexes }) => indexes.includes(link.index))?.source,
    };
    const chosen = chooseAddress(link.addresses, family, evidence, accepts);
    if (chosen !== undefined || accepts !== undefined) return chosen;
    // An unnumbered interface (BGP to the host): its packets carry the address on lo that the route names.
    const source = kernelSource();
    return source !== undefined && this.canSendFrom(link, source) ? source : undefined;
  }

  #kernelSource(link: NetworkInterface, family: Family, towards: Ip | undefined): Ip | undefined {
    const destination = towards?.family === family ? towards : ANY_DESTINATION[family];
    const route = this.#host.lookupRoute(destination, link.index);
    return route?.ifindex === link.index ? route.source : undefined;
  }

  /** Whether packets through the interface can have this source: it has the address, or lo or the like has. */
  canSendFrom(link: NetworkInterface, ip: Ip): boolean {
    return this.holders(ip).some(
      (holder) =>
        (holder === link || staysOnHost(holder)) &&
        holder.addresses.some((address) => sameIp(address.ip, ip) && isUsable(address)),
    );
  }

  /** The interfaces that have the address. */
  holders(ip: Ip): NetworkInterface[] {
    return this.#host.interfaces.filter(({ addresses }) =>
      addresses.some((address) => sameIp(address.ip, ip)),
    );
  }
}

/** Stands for all hosts beyond the link: addresses of documentation (RFC 5737, RFC 3849). */
const ANY_DESTINATION = { 4: parseIp("192.0.2.1")!, 6: parseIp("2001:db8::1")! } as const;
