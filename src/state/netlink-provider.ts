/** The provider of all kinds that rtnetlink(7) holds: dumps to observe, batches to change, notifications to follow. */

import { FlannelError } from "../base/error.ts";
import type { Link } from "../netlink/link.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import { monitor, type NotificationSource } from "../netlink/monitor.ts";
import { explain } from "./advice.ts";
import { isForeign, refuseForeign } from "./kinds/link.ts";
import type {
  NetlinkBatch,
  NetlinkHandling,
  NetlinkHost,
  NetlinkView,
  NoticeContext,
  ObjectNotification,
} from "./netlink-handling.ts";
import { KINDS, type StateChange, type StateKind, type StateObject, type StateOperation } from "./objects.ts";
import type { Ownership } from "./operation.ts";
import type { Notice, Provider } from "./provider.ts";

/** Operations between two turns of the event loop: about 10 ms of the kernel's time. */
const OPERATIONS_PER_TURN = 1000;

/** Kinds of foreign objects that can make the kernel refuse ours. */
const MAY_BE_IN_THE_WAY = new Set<string>(["link", "address", "route"]);

/** The netlink connection, the device settings and the source of notifications. */
export interface NetlinkProviderOptions extends NetlinkHost {
  /** Subscribes to the kernel's notifications from this call on. Throws FlannelError. */
  readonly openNotifications: () => NotificationSource;
}

const HANDLINGS = new Map(
  KINDS.flatMap(({ kind, netlink }) =>
    netlink === undefined ? [] : [[kind, netlink as unknown as NetlinkHandling<StateObject>] as const],
  ),
);

/** Holds all kinds that have a `netlink` part. Its requests are synchronous; long dumps and batches yield to the event loop. */
export class NetlinkProvider implements Provider {
  readonly name = "the kernel";
  readonly kinds: ReadonlySet<StateKind> = new Set(HANDLINGS.keys());
  readonly #options: NetlinkProviderOptions;
  /** Names of our devices by index, for notifications about a device that may have gone by then. */
  readonly #ownDevices = new Map<number, string>();
  /** Our names of devices, as of the last observation. */
  #names: ReadonlySet<string> = new Set();

  constructor(options: NetlinkProviderOptions) {
    this.#options = options;
  }

  async observe(ownership: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]> {
    const view = this.#view(ownership);
    const found: StateObject[] = [];
    for (const [kind, handling] of HANDLINGS) {
      if (!kinds.has(kind)) continue;
      for (const object of await handling.observe(view)) found.push(object);
    }
    return found;
  }

  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const results = new Array<FlannelError | undefined>(operations.length).fill(undefined);
    const { rtnetlink, yieldToOthers } = this.#options;
    const links = new Map<string, Link | undefined>();
    const indexOf = (device: string): number => {
      if (!links.has(device)) links.set(device, rtnetlink.link(device));
      const link = links.get(device);
      if (link === undefined) throw new FlannelError("ENODEV", `device ${device} does not exist`);
      // Only a route may lead through a foreign device, and then not through one of our names.
      if (this.#names.has(device)) refuseForeign(link);
      return link.index;
    };
    const batches = batchesOf(operations, { ...this.#options, indexOf });
    let requests: NetlinkRequest[] = [];
    let positions: number[] = [];
    const flush = () => {
      rtnetlink.connection.batch(requests).forEach((error, at) => {
        const position = positions[at]!;
        if (error !== undefined) results[position] ??= explain(operations[position]!, error, this.#options);
      });
      requests = [];
      positions = [];
    };
    for (const [position, operation] of operations.entries()) {
      try {
        const { kind } = operation.object;
        const { change } = HANDLINGS.get(kind)!;
        const batch = batches.get(kind)!;
        if (change.how === "at once") {
          flush();
          change.apply(operation, batch);
          if (kind === "link") links.clear();
        } else {
          for (const request of change.requests(operation, batch)) {
            requests.push(request);
            positions.push(position);
          }
        }
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        results[position] = explain(operation, error, this.#options);
      }
      if (requests.length >= OPERATIONS_PER_TURN) {
        flush();
        await yieldToOthers();
      }
    }
    flush();
    return results;
  }

  watch(ownership: () => Ownership, signal: AbortSignal): AsyncIterable<Notice> {
    const source = this.#options.openNotifications();
    const close = () => source[Symbol.dispose]();
    if (signal.aborted) close();
    else signal.addEventListener("abort", close, { once: true });
    return this.#notices(source, ownership);
  }

  #view(ownership: Ownership): NetlinkView {
    const { rtnetlink } = this.#options;
    const named = [...ownership.devices].flatMap((device) => rtnetlink.link(device) ?? []);
    const own = named.filter((link) => !isForeign(link));
    const names = new Map<number, string>();
    for (const { index, name } of named) {
      names.set(index, name);
      this.#ownDevices.set(index, name);
    }
    this.#names = ownership.devices;
    return {
      ...this.#options,
      ...{ named, own },
      ownership: { ...ownership, devices: new Set(own.map(({ name }) => name)) },
      nameOf(index) {
        if (index === undefined) return "";
        if (!names.has(index)) names.set(index, rtnetlink.link(index)?.name ?? `#${index}`);
        return names.get(index)!;
      },
    };
  }

  async *#notices(source: NotificationSource, ownership: () => Ownership): AsyncGenerator<Notice> {
    for await (const batch of monitor(source)) {
      const changes: StateChange[] = [];
      let isElsewhere = false;
      for (const notification of batch) {
        const read = notification.type === "overrun" ? undefined : this.#read(notification, ownership());
        if (read === undefined) yield "overrun";
        else if (read.length === 0) isElsewhere ||= MAY_BE_IN_THE_WAY.has(notification.type);
        else {
          const { portId } = notification as ObjectNotification;
          for (const change of read) changes.push({ ...change, portId });
        }
      }
      if (changes.length > 0) yield changes;
      if (isElsewhere) yield "elsewhere";
    }
  }

  /** Undefined = the kernel could not be asked what the notification is about. */
  #read(notification: ObjectNotification, ownership: Ownership): readonly StateChange[] | undefined {
    const { rtnetlink, settings } = this.#options;
    const context: NoticeContext = {
      ...{ settings, ownership, ownDevices: this.#ownDevices },
      nameOf: (index) => (index === undefined ? "" : (rtnetlink.link(index)?.name ?? "")),
    };
    try {
      const changes = HANDLINGS.get(notification.type)?.readNotice?.(notification, context) ?? [];
      return changes as readonly StateChange[];
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      return undefined;
    }
  }
}

/** By kind of object. */
function batchesOf(
  operations: readonly StateOperation[],
  host: Omit<NetlinkBatch, "createdCount">,
): ReadonlyMap<StateKind, NetlinkBatch> {
  const counts = new Map<StateKind, number>();
  for (const { action, object } of operations)
    counts.set(object.kind, (counts.get(object.kind) ?? 0) + (action === "create" ? 1 : 0));
  return new Map([...counts].map(([kind, createdCount]) => [kind, { ...host, createdCount }]));
}
