/** The interfaces, addresses and default routes of a host, as the choice of the external interface sees them. */

import type { Ip } from "../address/ip.ts";

/** An address of an interface, with the kernel's flags (linux/if_addr.h). */
export interface InterfaceAddress {
  readonly ip: Ip;
  /** In bits. */
  readonly prefixLength: number;
  /** RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST (linux/rtnetlink.h). */
  readonly scope: "global" | "link" | "host";
  /** IFA_F_PERMANENT: not from DHCP or router advertisements. */
  readonly permanent: boolean;
  /** IFA_F_SECONDARY of an IPv4 address: added after another one of the same subnet. */
  readonly secondary: boolean;
  /** IFA_F_TEMPORARY, the same bit of an IPv6 address: a privacy address (RFC 8981). */
  readonly temporary: boolean;
  /** IFA_F_DEPRECATED. */
  readonly deprecated: boolean;
  /** IFA_F_TENTATIVE: duplicate address detection is under way. */
  readonly tentative: boolean;
  /** IFA_F_DADFAILED: another host has this address. */
  readonly dadFailed: boolean;
}

export interface NetworkInterface {
  readonly index: number;
  readonly name: string;
  /** The kernel's name for the type of device (IFLA_INFO_KIND); undefined for hardware and lo. */
  readonly kind: string | undefined;
  /** ARPHRD_LOOPBACK. */
  readonly isLoopback: boolean;
  readonly mtuBytes: number;
  /** IFF_UP. */
  readonly up: boolean;
  /** Index of the bridge, bond or VRF that it is a port of. */
  readonly masterIndex: number | undefined;
  /** Index of the device that it is on top of, in this namespace. */
  readonly lowerIndex: number | undefined;
  /** In the kernel's order. */
  readonly addresses: readonly InterfaceAddress[];
}

/** A default route of the main table. */
export interface DefaultRoute {
  /** Indexes of its devices; more than one for a multipath route. */
  readonly indexes: readonly number[];
  /** Lower is better. */
  readonly metric: number;
  /** RTA_PREFSRC: the source address that it asks for. */
  readonly source: Ip | undefined;
}

/** What the choice is made from. */
export interface HostInterfaces {
  readonly interfaces: readonly NetworkInterface[];
  /** Of each family, in the kernel's order. */
  readonly defaultRoutes: { readonly ipv4: readonly DefaultRoute[]; readonly ipv6: readonly DefaultRoute[] };
  /** The route that packets to `ip` take, through the device `ifindex` if given; undefined = unreachable. */
  readonly lookupRoute: (
    ip: Ip,
    ifindex?: number,
  ) => { readonly ifindex: number; readonly source: Ip | undefined } | undefined;
}
