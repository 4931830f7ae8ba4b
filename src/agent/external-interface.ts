/**
 * Which interface of this host carries the tunnel traffic, and what address peers reach it at: a choice over data, made
 * in the order of the options `iface`, `iface-regex`, `iface-can-reach`, else by the default route.
 */

import { type Family, formatIp, type Ip, parseIp, sameIp } from "../address/ip.ts";
import { containsIp, parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { InterfaceOptions } from "../config/options.ts";

/** An address of an interface, with the kernel's flags (linux/if_addr.h). */
export interface InterfaceAddress {
  readonly ip: Ip;
  /** In bits. */
  readonly prefixLength: number;
  /** RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST (linux/rtnetlink.h). */
  readonly scope: "global" | "link" | "host";
  /** IFA_F_PERMANENT: not from DHCP or router advertisements. */
  readonly permanent: boolean;
  /** IFA_F_TEMPORARY: an IPv6 privacy address (RFC 8981). For IPv4 the same bit means “secondary”: leave it false. */
  readonly temporary: boolean;
  /** IFA_F_DEPRECATED. */
  readonly deprecated: boolean;
  /** IFA_F_TENTATIVE: duplicate address detection is under way. */
  readonly tentative: boolean;
  /** IFA_F_DADFAILED: somebody else has this address. */
  readonly dadFailed: boolean;
}

export interface NetworkInterface {
  readonly index: number;
  readonly name: string;
  readonly mtuBytes: number;
  /** IFF_UP. */
  readonly up: boolean;
  /** In the kernel's order. */
  readonly addresses: readonly InterfaceAddress[];
}

/** What the choice is made from. */
export interface HostInterfaces {
  readonly interfaces: readonly NetworkInterface[];
  /** Index of the interface of each family's default route. */
  readonly defaultRoutes: { readonly ipv4: number | undefined; readonly ipv6: number | undefined };
  /** The route the kernel would take to `ip`; undefined = unreachable. */
  readonly lookupRoute: (ip: Ip) => { readonly ifindex: number } | undefined;
}

/** Which families the network config has enabled; at least one. */
export interface EnabledFamilies {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** The choice. A family that is not enabled has no addresses. */
export interface ExternalInterface {
  readonly name: string;
  readonly index: number;
  readonly mtuBytes: number;
  /** The interface's own addresses: what tunnels are bound to. */
  readonly ipv4: Ip | undefined;
  readonly ipv6: Ip | undefined;
  /** What peers are told. */
  readonly publicIp: Ip | undefined;
  readonly publicIpv6: Ip | undefined;
}

/** Chooses. Throws ConfigError, naming everything that was tried and what there is. */
export function chooseExternalInterface(
  host: HostInterfaces,
  options: InterfaceOptions,
  families: EnabledFamilies,
): ExternalInterface {
  const failures: string[] = [];
  for (const { label, find } of attemptsOf(host, options, families)) {
    const found = find();
    const outcome = typeof found === "string" ? found : finish(found, options, families);
    if (typeof outcome !== "string") return outcome;
    failures.push(`${label}: ${outcome}`);
  }
  throw new ConfigError(
    `no usable external interface. Tried ${failures.join("; ")}. This host has ${describe(host.interfaces)}. ` +
      `${hintFor(host.interfaces, families)}Name one of them with --iface`,
  );
}

/** A host on which IPv6 is switched off has not even link-local addresses. */
function hintFor(interfaces: readonly NetworkInterface[], families: EnabledFamilies): string {
  const hasIpv6 = interfaces.some(({ addresses }) =>
    addresses.some(({ ip, scope }) => ip.family === 6 && scope !== "host"),
  );
  return !families.ipv6 || hasIpv6
    ? ""
    : "No interface has an IPv6 address: if IPv6 is switched off, 'sysctl -w net.ipv6.conf.all.disable_ipv6=0' and give the interface one; or take EnableIPv6 out of the network config. ";
}

/** An interface, and the address of it that the option pointed at, if it did. */
interface Match {
  readonly link: NetworkInterface;
  readonly pinned?: Ip;
}

/** One way to find an interface; `find` gives the reason if it finds none. */
interface Attempt {
  readonly label: string;
  readonly find: () => Match | string;
}

function attemptsOf(host: HostInterfaces, options: InterfaceOptions, families: EnabledFamilies): Attempt[] {
  const attempts: Attempt[] = [
    ...options.iface.map((text) => ({ label: `--iface=${text}`, find: () => findNamed(host, text) })),
    ...options.ifaceRegex.map((pattern) => ({
      label: `--iface-regex=${pattern.source}`,
      find: () => findMatching(host, pattern, families),
    })),
  ];
  const target = options.ifaceCanReach;
  if (target !== undefined) {
    attempts.push({ label: `--iface-can-reach=${formatIp(target)}`, find: () => findReaching(host, target) });
  }
  if (attempts.length === 0) {
    attempts.push({ label: "the default route", find: () => findDefault(host, families) });
  }
  return attempts;
}

function findNamed(host: HostInterfaces, text: string): Match | string {
  const ip = parseIp(text);
  if (ip === undefined) {
    const link = host.interfaces.find(({ name }) => name === text);
    return link === undefined ? "there is no such interface" : { link };
  }
  const link = host.interfaces.find(({ addresses }) => addresses.some((address) => sameIp(address.ip, ip)));
  return link === undefined ? "no interface has this address" : { link, pinned: ip };
}

/** Addresses of all interfaces first, then names: a pattern like "10" must not stop at eth10. */
function findMatching(host: HostInterfaces, pattern: RegExp, families: EnabledFamilies): Match | string {
  const usable = host.interfaces.filter(({ up }) => up);
  for (const link of usable) {
    for (const family of enabledOf(families)) {
      const pinned = rankedAddresses(link, family).find((ip) => pattern.test(formatIp(ip)));
      if (pinned !== undefined) return { link, pinned };
    }
  }
  const named = usable.filter(({ name }) => pattern.test(name));
  const link = named.find((one) => hasAllFamilies(one, families)) ?? named[0];
  return link === undefined ? "matches no address and no name of an interface that is up" : { link };
}

function findReaching(host: HostInterfaces, target: Ip): Match | string {
  const ifindex = host.lookupRoute(target)?.ifindex;
  const link = host.interfaces.find(({ index }) => index === ifindex);
  return link === undefined ? "there is no route to it" : { link };
}

function findDefault(host: HostInterfaces, families: EnabledFamilies): Match | string {
  const indexes = new Set<number>();
  for (const family of enabledOf(families)) {
    const index = host.defaultRoutes[`ipv${family}`];
    if (index === undefined) return `there is none for IPv${family}`;
    indexes.add(index);
  }
  const links = host.interfaces.filter(({ index }) => indexes.has(index));
  if (indexes.size > 1) {
    return `those of IPv4 and IPv6 use different interfaces (${links.map(({ name }) => name).join(", ")})`;
  }
  return links[0] === undefined ? "its interface is gone" : { link: links[0] };
}

/** The result for an interface that was found, or the reason why it will not do. */
function finish(
  { link, pinned }: Match,
  options: InterfaceOptions,
  families: EnabledFamilies,
): ExternalInterface | string {
  if (!link.up) return `${link.name} is down`;
  const addressOf = (family: Family): Ip | undefined =>
    pinned?.family === family ? pinned : rankedAddresses(link, family)[0];
  const lacking = enabledOf(families).filter((family) => addressOf(family) === undefined);
  if (lacking.length > 0) return `${link.name} has no usable IPv${lacking.join(" and no IPv")} address`;
  const ipv4 = families.ipv4 ? addressOf(4) : undefined;
  const ipv6 = families.ipv6 ? addressOf(6) : undefined;
  return {
    name: link.name,
    index: link.index,
    mtuBytes: link.mtuBytes,
    ipv4,
    ipv6,
    publicIp: families.ipv4 ? (options.publicIp ?? ipv4) : undefined,
    publicIpv6: families.ipv6 ? (options.publicIpv6 ?? ipv6) : undefined,
  };
}

const enabledOf = ({ ipv4, ipv6 }: EnabledFamilies): Family[] => [
  ...(ipv4 ? ([4] as const) : []),
  ...(ipv6 ? ([6] as const) : []),
];

const hasAllFamilies = (link: NetworkInterface, families: EnabledFamilies): boolean =>
  enabledOf(families).every((family) => rankedAddresses(link, family).length > 0);

/** The addresses that a tunnel may use, best first; the kernel's order decides between equals. */
function rankedAddresses(link: NetworkInterface, family: Family): Ip[] {
  return link.addresses
    .filter(({ ip, deprecated, dadFailed }) => ip.family === family && !deprecated && !dadFailed)
    .filter(({ ip, scope }) => scope !== "host" && !isIn(UNUSABLE, ip))
    .map((address) => ({ ip: address.ip, rank: rankOf(address) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ ip }) => ip);
}

/** Lower is better. A tentative address becomes usable within seconds, so that hardly counts. */
const rankOf = ({ ip, scope, permanent, temporary, tentative }: InterfaceAddress): number =>
  (scope === "link" || isIn(LINK_LOCAL, ip) ? 8 : 0) +
  (permanent ? 0 : 4) +
  (temporary ? 2 : 0) +
  (tentative ? 1 : 0);

/** RFC 3927, RFC 4291 §2.5.6. */
const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"].map((text) => parsePrefix(text)!);
/** Loopback, unspecified and multicast addresses (RFC 6890). */
const UNUSABLE = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8"].map(
  (text) => parsePrefix(text)!,
);

const isIn = (prefixes: typeof LINK_LOCAL, ip: Ip): boolean =>
  prefixes.some((prefix) => containsIp(prefix, ip));

/** "lo (127.0.0.1/8), eth1 (down, no address)". */
function describe(interfaces: readonly NetworkInterface[]): string {
  const parts = interfaces.map(({ name, up, addresses }) => {
    const texts = addresses.map(({ ip, prefixLength }) => `${formatIp(ip)}/${prefixLength}`);
    return `${name} (${[...(up ? [] : ["down"]), ...(texts.length > 0 ? texts : ["no address"])].join(", ")})`;
  });
  return parts.length === 0 ? "no interface" : parts.join(", ");
}
