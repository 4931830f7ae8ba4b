/**
 * A host's interfaces, addresses and routes in memory, behind a real {@link Rtnetlink}: answers and notifications are
 * the messages that the kernel would send (rtnetlink(7)). What the agent does not request is left out: an address
 * has one connected route, and nothing expires.
 */

import { parseIp } from "../address/ip.ts";
import { containsIp, formatPrefix, parsePrefix } from "../address/prefix.ts";
import { type AddressSpec, deleteAddress, newAddress, RTM_GETADDR } from "../netlink/address.ts";
import { NetlinkConnection } from "../netlink/connection.ts";
import { decodeLink, deleteLink, type LinkSettings, RTM_GETLINK, setLink } from "../netlink/link.ts";
import { type NetlinkMessage, type NetlinkRequest, NLM_F_DUMP, writeRequest } from "../netlink/message.ts";
import type { NotificationSource, ReceivedNotifications } from "../netlink/monitor.ts";
import {
  decodeRoute,
  deleteRoute,
  newRoute,
  type RouteSpec,
  RTM_GETROUTE,
  RTPROT_KERNEL,
} from "../netlink/route.ts";
import { Rtnetlink } from "../netlink/rtnetlink.ts";
import { Writer } from "../netlink/writer.ts";
import { FakeNetlinkSocket, type FakeReply } from "./fake-netlink-socket.ts";

// asm-generic/errno-base.h, asm-generic/errno.h
const ENODEV = 19;
const EOPNOTSUPP = 95;
const ENETUNREACH = 101;

export class FakeHost {
  readonly rtnetlink: Rtnetlink = new Rtnetlink(
    new NetlinkConnection(new FakeNetlinkSocket((request) => this.#answer(request))),
  );
  /** While set, every request fails with this errno. */
  errno = 0;
  readonly #links = new Map<number, LinkSettings & { readonly name: string }>();
  readonly #addresses = new Map<string, AddressSpec>();
  readonly #routes = new Map<string, RouteSpec>();
  readonly #sources = new Set<(received: ReceivedNotifications) => void>();

  /** Creates or changes an interface. */
  setLink(index: number, settings: LinkSettings & { readonly name: string }): void {
    this.#links.set(index, settings);
    this.notify([setLink(index, settings)]);
  }

  removeLink(index: number): void {
    this.#links.delete(index);
    this.notify([deleteLink(index)]);
  }

  /** Adds an address and the route to its network. */
  addAddress(spec: AddressSpec): void {
    this.#addresses.set(spec.prefix, spec);
    this.notify([newAddress(spec)]);
    const destination = networkOf(spec.prefix);
    this.addRoute({ destination, oif: spec.ifindex, protocol: RTPROT_KERNEL });
  }

  removeAddress(prefix: string): void {
    const spec = this.#addresses.get(prefix)!;
    this.#addresses.delete(prefix);
    this.removeRoute(networkOf(prefix));
    this.notify([deleteAddress(spec)]);
  }

  addRoute(spec: RouteSpec): void {
    this.addRouteSilently(spec);
    this.notify([newRoute(spec)]);
  }

  /** Without a notification, as a policy rule (ip-rule(8)) changes where packets go. */
  addRouteSilently(spec: RouteSpec): void {
    this.#routes.set(spec.destination, spec);
  }

  removeRoute(destination: string): void {
    this.#routes.delete(destination);
    this.notify([deleteRoute({ destination })]);
  }

  /** Sends notifications of these changes, as made by the socket with this port id. */
  notify(changes: readonly NetlinkRequest[], portId = 0): void {
    this.#send({ datagrams: changes.map((change) => datagramOf(change, portId)), overrun: false });
  }

  /** Loses notifications. */
  overrun(): void {
    this.#send({ datagrams: [], overrun: true });
  }

  /** Number of open sources. */
  get sources(): number {
    return this.#sources.size;
  }

  openNotifications(): NotificationSource {
    const queue: ReceivedNotifications[] = [];
    let waiter: (() => void) | undefined;
    let isClosed = false;
    const receive = (received: ReceivedNotifications) => {
      queue.push(received);
      waiter?.();
    };
    this.#sources.add(receive);
    return {
      async next() {
        while (queue.length === 0 && !isClosed) {
          await new Promise<void>((resolve) => {
            waiter = resolve;
          });
        }
        return isClosed ? undefined : queue.shift();
      },
      [Symbol.dispose]: () => {
        isClosed = true;
        this.#sources.delete(receive);
        waiter?.();
      },
    };
  }

  #send(received: ReceivedNotifications): void {
    for (const receive of this.#sources) receive(received);
  }

  #answer(request: NetlinkMessage): FakeReply {
    if (this.errno !== 0) return { errno: this.errno };
    const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
    switch (request.type) {
      case RTM_GETLINK: {
        if (isDump) return reply(Array.from(this.#links, ([index, link]) => setLink(index, link)));
        const { index, name } = decodeLink(request);
        const found = [...this.#links].find((entry) => entry[0] === index || entry[1].name === name);
        return found === undefined ? { errno: ENODEV } : reply([setLink(...found)]);
      }
      case RTM_GETADDR:
        return reply(Array.from(this.#addresses.values(), (spec) => newAddress(spec)));
      case RTM_GETROUTE:
        return isDump ? this.#dumpRoutes(request) : this.#lookUpRoute(request);
      default:
        return { errno: EOPNOTSUPP };
    }
  }

  #dumpRoutes(request: NetlinkMessage): FakeReply {
    const family = decodeRoute(request)?.family;
    const routes = [...this.#routes.values()].filter(
      ({ destination }) => parsePrefix(destination)?.family === family,
    );
    return reply(routes.map((spec) => newRoute(spec)));
  }

  /** By the longest prefix. */
  #lookUpRoute(request: NetlinkMessage): FakeReply {
    const destination = decodeRoute(request)!.destination;
    const ip = parseIp(destination.split("/")[0]!)!;
    const [route] = [...this.#routes.values()]
      .map((spec) => ({ spec, prefix: parsePrefix(spec.destination)! }))
      .filter(({ prefix }) => containsIp(prefix, ip))
      .sort((a, b) => b.prefix.length - a.prefix.length);
    return route === undefined ? { errno: ENETUNREACH } : reply([newRoute({ ...route.spec, destination })]);
  }
}

/** "192.168.7.1/24" → "192.168.7.0/24". */
const networkOf = (prefix: string): string => formatPrefix(parsePrefix(prefix)!);

const reply = (objects: readonly NetlinkRequest[]): FakeReply => ({
  objects: objects.map(({ type, layout, body }) => {
    const writer = new Writer();
    layout.encode(writer, body);
    return { type, payload: writer.written.slice() };
  }),
});

/** A notification looks like the request that would have caused the change, with the port id of its sender. */
function datagramOf(request: NetlinkRequest, portId: number): Uint8Array {
  const writer = new Writer();
  writeRequest(writer, request, 0, 0);
  writer.patchU32(12, portId); // nlmsg_pid
  return writer.written.slice();
}
