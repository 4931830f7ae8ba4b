/**
 * What a host's kernel has, asked over one connection. Filters are given to the kernel (NETLINK_GET_STRICT_CHK, Linux 4.20) so
 * that a foreign full routing table stays there, and applied again here for kernels that ignore them.
 */

import { FAMILIES } from "../address/family.ts";
import type { Family } from "../address/ip.ts";
import { hasCode, isNotFound } from "../base/error.ts";
import { decodeAddress, getAddresses, type InterfaceAddress } from "./address.ts";
import type { NetlinkConnection } from "./connection.ts";
import { decodeLink, getLink, isDeviceMessage, type Link, type LinkRef } from "./link.ts";
import type { NetlinkMessage, NetlinkRequest } from "./message.ts";
import {
  decodeFdbEntry,
  decodeNeighbour,
  type FdbEntry,
  getFdb,
  getNeighbours,
  type Neighbour,
} from "./neighbour.ts";
import {
  type Arrival,
  decodeRoute,
  getRoutes,
  lookupRoute,
  type Route,
  type RouteFilter,
  routeProtocolOf,
} from "./route.ts";

const BOTH: readonly Family[] = FAMILIES.map(({ family }) => family);

/** Typed questions to rtnetlink. All methods throw NetlinkError when the kernel refuses. */
export class Rtnetlink implements Disposable {
  readonly connection: NetlinkConnection;

  /** Takes over the connection: closing closes it. */
  constructor(connection: NetlinkConnection) {
    this.connection = connection;
  }

  /** All devices. */
  links(): Link[] {
    return this.connection.dump(getLink()).filter(isDeviceMessage).map(decodeLink);
  }

  /** One device by name or index; undefined if there is none. */
  link(ref: LinkRef): Link | undefined {
    if (ref === "") return undefined;
    try {
      const [message] = this.connection.request(getLink(ref));
      return message === undefined ? undefined : decodeLink(message);
    } catch (error) {
      if (isNotFound(error) || hasCode(error, "ERANGE")) return undefined; // ERANGE: longer than any name
      throw error;
    }
  }

  /** Undefined if there is no device of that name. */
  linkByName(name: string): Link | undefined {
    return this.link(name);
  }

  /** Addresses of both families (one if given), of all devices (one if given). */
  addresses(filter: { readonly family?: Family; readonly ifindex?: number } = {}): InterfaceAddress[] {
    const messages = this.connection.dump(getAddresses(filter.family, filter.ifindex));
    return decodeAll(messages, decodeAddress).filter(
      (address) => filter.ifindex === undefined || address.ifindex === filter.ifindex,
    );
  }

  /** Routes of both families (one if given), narrowed by table, protocol and device. */
  routes(filter: RouteFilter & { readonly family?: Family } = {}): Route[] {
    return familiesOf(filter).flatMap((family) => {
      const messages = this.#dumpOrNothing(getRoutes(family, filter));
      const { protocol } = filter;
      const made =
        protocol === undefined ? messages : messages.filter((m) => routeProtocolOf(m) === protocol);
      return decodeAll(made, decodeRoute).filter(
        (route) =>
          (filter.table === undefined || route.table === filter.table) &&
          (filter.oif === undefined || usesDevice(route, filter.oif)),
      );
    });
  }

  /** Neighbours of both families (one if given), of all devices (one if given). */
  neighbours(filter: { readonly family?: Family; readonly ifindex?: number } = {}): Neighbour[] {
    return familiesOf(filter).flatMap((family) =>
      decodeAll(this.#dumpOrNothing(getNeighbours(family, filter.ifindex)), decodeNeighbour).filter(
        (neighbour) => filter.ifindex === undefined || neighbour.ifindex === filter.ifindex,
      ),
    );
  }

  /** Forwarding entries of one device. Nothing if the device is gone. */
  fdb({ ifindex }: { readonly ifindex: number }): FdbEntry[] {
    return decodeAll(this.#dumpOrNothing(getFdb(ifindex)), decodeFdbEntry).filter(
      (entry) => entry.ifindex === ifindex,
    );
  }

  /** The route that packets to `address` take, through the device with index `oif` or as forwarded ones if given; undefined if none leads there. */
  lookupRoute(address: string, oif?: number, arrival?: Arrival): Route | undefined {
    try {
      return decodeAll(this.connection.request(lookupRoute(address, oif, arrival)), decodeRoute)[0];
    } catch (error) {
      if (UNROUTED.some((code) => hasCode(error, code))) return undefined;
      throw error;
    }
  }

  close(): void {
    this.connection.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A filter that names a table or device which does not exist is an error to the kernel; here it is no match. */
  #dumpOrNothing(request: NetlinkRequest): NetlinkMessage[] {
    try {
      return this.connection.dump(request);
    } catch (error) {
      if (isNotFound(error)) return [];
      throw error;
    }
  }
}

/** What a lookup answers if there is no way: no route, `unreachable`, `prohibit`, `blackhole` (ip-route(8)). */
const UNROUTED = ["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL", "EXDEV"];

const familiesOf = (filter: { readonly family?: Family }): readonly Family[] =>
  filter.family === undefined ? BOTH : [filter.family];

const usesDevice = (route: Route, ifindex: number): boolean =>
  route.oif === ifindex || route.nextHops.some((hop) => hop.oif === ifindex);

function decodeAll<T>(
  messages: readonly NetlinkMessage[],
  decode: (message: NetlinkMessage) => T | undefined,
): T[] {
  const found: T[] = [];
  for (const message of messages) {
    const value = decode(message);
    if (value !== undefined) found.push(value);
  }
  return found;
}
