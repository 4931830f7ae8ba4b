/**
 * Which interface of this host carries the tunnel traffic, and at what address peers reach it: a choice over data, made
 * in the order of the options `iface`, `iface-regex`, `iface-can-reach`; without them the interface that has the public
 * IP, else that of the default route. What must not be chosen: interface-refusal.ts; which address: host-address.ts.
 */

import { type Family, formatIp, type Ip, parseIp, sameIp } from "../address/ip.ts";
import type { Prefix } from "../address/prefix.ts";
import type { LocalAddress } from "../backend/backend.ts";
import { ConfigError } from "../base/error.ts";
import type { InterfaceOptions } from "../config/options.ts";
import { isUsable } from "./host-address.ts";
import { refusalOf, staysOnHost } from "./interface-refusal.ts";
import type { HostInterfaces, NetworkInterface } from "./network-interface.ts";
import { type SourceContext, TunnelSources } from "./tunnel-source.ts";

/** Which families the network config has enabled; at least one. */
export interface EnabledFamilies {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** What the choice takes into account besides the host's interfaces and the options. */
export interface ChoiceContext extends SourceContext {
  /** The flannel networks of this host, current and former: devices with their addresses are not external. */
  readonly networks?: readonly Prefix[];
}

/** The choice. A family that is not enabled has no addresses. */
export interface ExternalInterface {
  readonly name: string;
  readonly index: number;
  readonly mtuBytes: number;
  /** The host's own addresses that tunnels are bound to. */
  readonly ipv4: Ip | undefined;
  readonly ipv6: Ip | undefined;
  /** What is published: the addresses at which peers reach it. */
  readonly publicIp: Ip | undefined;
  readonly publicIpv6: Ip | undefined;
  /** Addresses of all interfaces: see {@link Host.localAddresses}. */
  readonly localAddresses?: readonly LocalAddress[];
}

/** No interface is usable. The message names what was tried and what the host has. */
export class NoInterfaceError extends ConfigError {
  /** What was tried and why it failed: stays the same when other interfaces come and go. */
  readonly attempts: string;

  constructor(failures: string, hints: string) {
    super(`no usable external interface. Tried ${failures}. ${hints}`);
    this.attempts = failures;
  }
}

/** Chooses. Throws {@link NoInterfaceError}, NetlinkError. */
export function chooseExternalInterface(
  host: HostInterfaces,
  options: InterfaceOptions,
  families: EnabledFamilies,
  context: ChoiceContext = {},
): ExternalInterface {
  const choice = new Choice(host, options, families, context);
  const failures: string[] = [];
  for (const { label, find } of choice.attempts()) {
    const found = find();
    const outcome = typeof found === "string" ? found : choice.finish(found);
    if (typeof outcome !== "string") return outcome;
    failures.push(`${label}: ${outcome}`);
  }
  throw new NoInterfaceError(
    failures.join("; "),
    `This host has ${describe(host.interfaces)}. ${hintFor(host.interfaces, families)}Name one of them with --iface`,
  );
}

interface Match {
  readonly link: NetworkInterface;
  /** The address that the option named. */
  readonly named?: Ip;
  /** The address that fits the pattern. */
  readonly matched?: Ip;
  /** The address by whose route the interface was found. */
  readonly towards?: Ip;
}

/** One way to find an interface; `find` returns the reason if it finds none. */
interface Attempt {
  readonly label: string;
  readonly find: () => Match | string;
}

class Choice {
  readonly #host: HostInterfaces;
  readonly #options: InterfaceOptions;
  readonly #families: readonly Family[];
  readonly #context: ChoiceContext;
  readonly #sources: TunnelSources;

  constructor(
    host: HostInterfaces,
    options: InterfaceOptions,
    families: EnabledFamilies,
    context: ChoiceContext,
  ) {
    this.#host = host;
    this.#options = options;
    this.#families = [...(families.ipv4 ? ([4] as const) : []), ...(families.ipv6 ? ([6] as const) : [])];
    this.#context = context;
    this.#sources = new TunnelSources(host, context);
  }

  attempts(): Attempt[] {
    const { iface, ifaceRegex, ifaceCanReach: target } = this.#options;
    const attempts: Attempt[] = [
      ...iface.map((text) => ({ label: `--iface=${text}`, find: () => this.#findNamed(text) })),
      ...ifaceRegex.map((pattern) => ({
        label: `--iface-regex=${pattern.source}`,
        find: () => this.#findMatching(pattern),
      })),
    ];
    if (target !== undefined)
      attempts.push({
        label: `--iface-can-reach=${formatIp(target)}`,
        find: () => this.#findReaching(target),
      });
    if (attempts.length > 0) return attempts;
    const held = this.#publicIps().filter((ip) => this.#sources.holders(ip).length > 0 || this.#isInUse(ip));
    if (held.length === 0) return [{ label: "the default route", find: () => this.#findDefault() }];
    const label = `the public IP ${held.map(formatIp).join(", ")}`;
    return [{ label, find: () => this.#findHolding(held) }];
  }

  /** The result for an interface that was found, or the reason why it cannot be used. */
  finish({ link, named, matched, towards }: Match): ExternalInterface | string {
    const refusal = this.#refusal(link);
    if (refusal !== undefined) return `${link.name} ${refusal}`;
    if (!link.up) return `${link.name} is down`;
    const addressOf = (family: Family): Ip | undefined => {
      const publicIp = this.#publicIp(family);
      return (
        (named?.family === family ? named : undefined) ??
        (publicIp !== undefined && this.#sources.canSendFrom(link, publicIp) ? publicIp : undefined) ??
        (matched?.family === family ? matched : undefined) ??
        this.#sources.addressOf(link, family, { towards })
      );
    };
    const lacking = this.#families.filter((family) => addressOf(family) === undefined);
    if (lacking.length > 0) return `${link.name} has no usable IPv${lacking.join(" and no IPv")} address`;
    const [ipv4, ipv6] = ([4, 6] as const).map((family) =>
      this.#families.includes(family) ? addressOf(family) : undefined,
    );
    return {
      name: link.name,
      index: link.index,
      mtuBytes: link.mtuBytes,
      ipv4,
      ipv6,
      publicIp: ipv4 && (this.#options.publicIp ?? ipv4),
      publicIpv6: ipv6 && (this.#options.publicIpv6 ?? ipv6),
    };
  }

  #findNamed(text: string): Match | string {
    const ip = parseIp(text);
    if (ip !== undefined) return this.#findHolding([ip]);
    const link = this.#host.interfaces.find(({ name }) => name === text);
    return link === undefined ? "there is no such interface" : { link };
  }

  /** The interface that has all of these addresses. What lo and its like have is reached through a real device below. */
  #findHolding(ips: readonly Ip[]): Match | string {
    const matches: Match[] = [];
    for (const ip of ips) {
      const holders = this.#sources.holders(ip);
      const link = holders.find((one) => !staysOnHost(one)) ?? holders[0];
      if (link === undefined) return "no interface has this address";
      if (!staysOnHost(link)) matches.push({ link, named: ip });
      else {
        if (!link.addresses.some((address) => sameIp(address.ip, ip) && isUsable(address)))
          return `${link.name} ${this.#refusal(link)}`;
        const lower = this.#deviceBelow(ip.family);
        if (lower === undefined)
          return `${link.name} has it, and there is no default route, whose device would carry its packets: name the device with --iface and the address with --public-ip`;
        matches.push({ link: lower, named: ip });
      }
    }
    const links = [...new Set(matches.map(({ link }) => link))];
    if (links.length > 1)
      return `different interfaces have them (${links.map(({ name }) => name).join(", ")})`;
    // Of two addresses on one interface `finish` uses each as the public one of its family.
    return matches.length === 1 ? matches[0]! : { link: links[0]! };
  }

  /** Addresses of all interfaces first, then names: a pattern like "10" must not stop at eth10. */
  #findMatching(pattern: RegExp): Match | string {
    const { interfaces } = this.#host;
    const usable = interfaces.filter((link) => link.up && this.#refusal(link) === undefined);
    for (const link of usable) {
      for (const family of this.#families) {
        const matched = this.#sources.addressOf(link, family, {
          accepts: (ip) => pattern.test(formatIp(ip)),
        });
        if (matched !== undefined) return { link, matched };
      }
    }
    const named = usable.filter(({ name }) => pattern.test(name));
    const link =
      named.find((one) => this.#families.every((family) => this.#sources.addressOf(one, family))) ?? named[0];
    if (link !== undefined) return { link };
    const refused = interfaces.find(
      ({ name, addresses, isLoopback }) =>
        !isLoopback && (pattern.test(name) || addresses.some(({ ip }) => pattern.test(formatIp(ip)))),
    );
    const reason = refused && this.#refusal(refused);
    return `matches no address and no name of an interface that is up${reason === undefined ? "" : `, except that ${refused!.name} ${reason}`}`;
  }

  #findReaching(target: Ip): Match | string {
    const ifindex = this.#host.lookupRoute(target)?.ifindex;
    const link = this.#host.interfaces.find(({ index }) => index === ifindex);
    return link === undefined ? "there is no route to it" : { link, towards: target };
  }

  /** The default routes of all families have to lead through one interface. */
  #findDefault(): Match | string {
    const candidates = new Map<Family, readonly number[]>();
    for (const family of this.#families) {
      const indexes = this.#defaultIndexes(family);
      if (indexes.length === 0) return `there is none for IPv${family}`;
      candidates.set(family, indexes);
    }
    const [first = [], ...others] = candidates.values();
    const common = first.filter((index) => others.every((indexes) => indexes.includes(index)));
    if (common.length === 0) {
      const all = new Set([...candidates.values()].map(([index]) => index));
      const names = this.#host.interfaces.filter(({ index }) => all.has(index)).map(({ name }) => name);
      return `those of IPv4 and IPv6 use different interfaces (${names.join(", ")})`;
    }
    // Of equal ones the current interface stays: the kernel's order changes when one of them is set again.
    const index = common.find((one) => one === this.#context.current?.index) ?? common[0];
    const link = this.#host.interfaces.find((one) => one.index === index);
    return link === undefined ? "its interface is missing" : { link };
  }

  /** Devices of the default routes with the lowest metric, without those that lead back through flannel's own. */
  #defaultIndexes(family: Family): number[] {
    const isCandidate = (index: number) => {
      const link = this.#host.interfaces.find((one) => one.index === index);
      return link === undefined || this.#refusal(link) === undefined;
    };
    const routes = this.#host.defaultRoutes[`ipv${family}`].map((route) => ({
      metric: route.metric,
      indexes: route.indexes.filter(isCandidate),
    }));
    const usable = routes.filter(({ indexes }) => indexes.length > 0);
    const metric = Math.min(...usable.map((route) => route.metric));
    return usable.filter((route) => route.metric === metric).flatMap(({ indexes }) => indexes);
  }

  #deviceBelow(family: Family): NetworkInterface | undefined {
    const [index] = this.#defaultIndexes(family);
    return this.#host.interfaces.find((one) => one.index === index);
  }

  #publicIp(family: Family): Ip | undefined {
    return family === 4 ? this.#options.publicIp : this.#options.publicIpv6;
  }

  #publicIps(): Ip[] {
    return this.#families.map((family) => this.#publicIp(family)).filter((ip) => ip !== undefined);
  }

  #isInUse(ip: Ip): boolean {
    const { current } = this.#context;
    return [current?.ipv4, current?.ipv6].some((used) => used !== undefined && sameIp(used, ip));
  }

  #refusal(link: NetworkInterface): string | undefined {
    return refusalOf(link, this.#host, this.#context.networks ?? []);
  }
}

/** A host on which IPv6 is switched off has not even link-local addresses. */
function hintFor(interfaces: readonly NetworkInterface[], families: EnabledFamilies): string {
  const hasIpv6 = interfaces.some(({ addresses }) =>
    addresses.some(({ ip, scope }) => ip.family === 6 && scope !== "host"),
  );
  return !families.ipv6 || hasIpv6
    ? ""
    : "No interface has an IPv6 address: if IPv6 is switched off, 'sysctl -w net.ipv6.conf.all.disable_ipv6=0' and give the interface one; or remove EnableIPv6 from the network config. ";
}

/** "lo (127.0.0.1/8), eth1 (down, no address)". */
function describe(interfaces: readonly NetworkInterface[]): string {
  const parts = interfaces.map(({ name, up, addresses }) => {
    const texts = addresses.map(({ ip, prefixLength }) => `${formatIp(ip)}/${prefixLength}`);
    return `${name} (${[...(up ? [] : ["down"]), ...(texts.length > 0 ? texts : ["no address"])].join(", ")})`;
  });
  return parts.length === 0 ? "no interface" : parts.join(", ");
}
