/** The kernel port over rtnetlink: dumps for looking, batches for changing. */

import { FlannelError } from "../base/error.ts";
import type { Link } from "../netlink/link.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import { monitor, type NotificationSource } from "../netlink/monitor.ts";
import { decodeRoute, getRoutes, RT_TABLE_MAIN, RTPROT_BOOT, routeProtocolOf } from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type {
  Change,
  DeviceSettings,
  Kernel,
  KernelNotice,
  Operation,
  Ownership,
  TunMaker,
} from "./kernel.ts";
import { explain } from "./kernel-advice.ts";
import { applyLink, isForeign, refuseForeign } from "./kernel-links.ts";
import { changeOf } from "./kernel-notices.ts";
import {
  stateOfAddress,
  stateOfFdbEntry,
  stateOfLink,
  stateOfNeighbour,
  stateOfRoute,
} from "./kernel-objects.ts";
import { hasManyRoutes, requestsOf } from "./kernel-requests.ts";
import {
  type DeviceSetting,
  RTPROT_FLANNEL,
  SETTING_NAMES,
  type StateKind,
  type StateObject,
} from "./objects.ts";

/** Operations between two turns of the event loop: about 10 ms of the kernel's time. */
const OPERATIONS_PER_TURN = 1000;

export interface NetlinkKernelOptions {
  readonly rtnetlink: Rtnetlink;
  readonly settings: DeviceSettings;
  /** Where it is missing, no TUN devices can be made. */
  readonly makeTun?: TunMaker;
  /** Subscribes to kernel notifications from this call on. */
  readonly openNotifications: () => NotificationSource;
  /** Lets other work go on between parts of a long one. */
  readonly breathe: () => Promise<void>;
}

export class NetlinkKernel implements Kernel {
  readonly #rtnetlink: Rtnetlink;
  readonly #settings: DeviceSettings;
  readonly #makeTun: TunMaker | undefined;
  readonly #openNotifications: () => NotificationSource;
  readonly #breathe: () => Promise<void>;
  /** Names of the devices of ours by index, for notices about a device that may be gone by then. */
  readonly #ownDevices = new Map<number, string>();
  /** Our names of devices, as of the last look. */
  #names: ReadonlySet<string> = new Set();

  constructor(options: NetlinkKernelOptions) {
    this.#rtnetlink = options.rtnetlink;
    this.#settings = options.settings;
    this.#makeTun = options.makeTun;
    this.#openNotifications = options.openNotifications;
    this.#breathe = options.breathe;
  }

  async observe(ownership: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]> {
    const rtnetlink = this.#rtnetlink;
    const found: StateObject[] = [];
    const add = (object: StateObject | undefined) => {
      if (object !== undefined) found.push(object);
    };
    const names = new Map<number, string>();
    const nameOf = (index: number | undefined): string => {
      if (index === undefined) return "";
      let name = names.get(index);
      if (name === undefined) {
        name = rtnetlink.link(index)?.name ?? `#${index}`;
        names.set(index, name);
      }
      return name;
    };
    const links = [...ownership.devices].flatMap((device) => rtnetlink.link(device) ?? []);
    for (const { index, name } of links) {
      names.set(index, name);
      this.#ownDevices.set(index, name);
    }
    if (kinds.has("link")) {
      for (const link of links) add(stateOfLink(link, nameOf(link.vxlan?.lowerIndex)));
    }
    // What stands on another's device of our name is as little ours as the device.
    const own = links.filter((link) => !isForeign(link));
    const owned = { ...ownership, devices: new Set(own.map(({ name }) => name)) };
    this.#names = ownership.devices;
    if (kinds.has("route")) {
      // First, so that where one of ours goes to the same destination, ours is what is seen.
      for (const route of rtnetlink.routes({ table: RT_TABLE_MAIN, protocol: RTPROT_BOOT })) {
        add(stateOfRoute(route, nameOf(route.oif), owned));
      }
    }
    for (const { index, name: device } of own) {
      if (kinds.has("setting")) found.push(...this.#settingsOf(device));
      if (kinds.has("address")) {
        for (const address of rtnetlink.addresses({ ifindex: index })) add(stateOfAddress(address, device));
      }
      if (kinds.has("neighbour")) {
        for (const neighbour of rtnetlink.neighbours({ ifindex: index }))
          add(stateOfNeighbour(neighbour, device));
        await this.#breathe();
      }
      if (kinds.has("fdb")) {
        for (const entry of rtnetlink.fdb({ ifindex: index })) add(stateOfFdbEntry(entry, device));
        await this.#breathe();
      }
      if (kinds.has("route")) {
        for (const family of [4, 6] as const) {
          for (const message of rtnetlink.connection.dump(
            getRoutes(family, { table: RT_TABLE_MAIN, oif: index }),
          )) {
            if (routeProtocolOf(message) === RTPROT_FLANNEL) continue; // found below, on whatever device
            const route = decodeRoute(message);
            if (route?.oif === index) add(stateOfRoute(route, device, owned));
          }
        }
      }
    }
    if (kinds.has("route")) {
      for (const route of rtnetlink.routes({ table: RT_TABLE_MAIN, protocol: RTPROT_FLANNEL })) {
        add(stateOfRoute(route, nameOf(route.oif), owned));
      }
    }
    return found;
  }

  async apply(operations: readonly Operation[]): Promise<(FlannelError | undefined)[]> {
    const results = new Array<FlannelError | undefined>(operations.length).fill(undefined);
    const links = new Map<string, Link | undefined>();
    const indexOf = (device: string): number => {
      if (!links.has(device)) links.set(device, this.#rtnetlink.link(device));
      const link = links.get(device);
      if (link === undefined) throw new FlannelError("ENODEV", `device ${device} does not exist`);
      // Only a route may lead through another's device, and then not through one of our name.
      if (this.#names.has(device)) refuseForeign(link);
      return link.index;
    };
    const areManyRoutes = hasManyRoutes(operations);
    let requests: NetlinkRequest[] = [];
    let positions: number[] = [];
    const flush = () => {
      this.#rtnetlink.connection.batch(requests).forEach((error, at) => {
        const position = positions[at]!;
        if (error !== undefined) results[position] ??= explain(operations[position]!, error);
      });
      requests = [];
      positions = [];
    };
    for (const [position, operation] of operations.entries()) {
      try {
        const { object } = operation;
        if (object.kind === "link") {
          flush();
          links.clear();
          applyLink(this.#rtnetlink, this.#makeTun, operation);
        } else if (object.kind === "setting") {
          indexOf(object.device);
          this.#settings.write(object.device, object.name, object.on);
        } else {
          for (const request of requestsOf(operation, indexOf, areManyRoutes)) {
            requests.push(request);
            positions.push(position);
          }
        }
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        results[position] = explain(operation, error);
      }
      if (requests.length >= OPERATIONS_PER_TURN) {
        flush();
        await this.#breathe();
      }
    }
    flush();
    return results;
  }

  watch(ownership: () => Ownership, signal: AbortSignal): AsyncIterable<KernelNotice> {
    const source = this.#openNotifications();
    const close = () => source[Symbol.dispose]();
    if (signal.aborted) close();
    else signal.addEventListener("abort", close, { once: true });
    return this.#notices(source, ownership);
  }

  async *#notices(source: NotificationSource, ownership: () => Ownership): AsyncGenerator<KernelNotice> {
    for await (const batch of monitor(source)) {
      const changes: Change[] = [];
      for (const notification of batch) {
        if (notification.type === "overrun") {
          yield "overrun";
          continue;
        }
        const owned = ownership();
        const change = this.#changeOf(notification, owned);
        if (change === "unknown") yield "overrun";
        if (change === "unknown" || change === undefined) continue;
        const { portId } = notification;
        changes.push({ ...change, portId });
        // The kernel tells that an offload has changed, but not which.
        if (change.object.kind === "link" && owned.devices.has(change.object.name))
          for (const object of this.#settingsOf(change.object.name))
            changes.push({ action: "set", object, portId });
      }
      if (changes.length > 0) yield changes;
    }
  }

  #settingsOf(device: string): DeviceSetting[] {
    return SETTING_NAMES.flatMap((name) => {
      const on = this.#settings.read(device, name);
      return on === undefined ? [] : [{ kind: "setting", device, name, on } as const];
    });
  }

  /** "unknown" = what it says cannot be found out. */
  #changeOf(
    notification: Parameters<typeof changeOf>[0],
    ownership: Ownership,
  ): Change | "unknown" | undefined {
    try {
      return changeOf(notification, ownership, this.#ownDevices, (index) =>
        index === undefined ? "" : (this.#rtnetlink.link(index)?.name ?? ""),
      );
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      return "unknown";
    }
  }
}
