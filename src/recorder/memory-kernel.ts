/**
 * The reconciler's kernel port in memory, which refuses what Linux refuses and drops silently what Linux drops
 * silently. Recorded runs are replayed on it, and tests use it. test/netns/reconciler-fake.test.ts compares it with the real kernel.
 */

import { containsPrefix, parsePrefix } from "../address/prefix.ts";
import { FlannelError } from "../base/error.ts";
import { SETTING_NAMES } from "../state/device-settings.ts";
import { applyToModel } from "../state/diff.ts";
import { linkTypeOf, mustRemake } from "../state/kinds/link.ts";
import {
  type DeviceSetting,
  deviceOf,
  KINDS,
  keyOf,
  type Link,
  linkKey,
  type Route,
  RTPROT_FLANNEL,
  type StateChange,
  type StateKind,
  type StateObject,
  type StateOperation,
} from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";
import type { Notice, Provider } from "../state/provider.ts";

/** How a device comes from the kernel. */
const SETTINGS_AT_BIRTH = { accept_ra: true, disable_ipv6: false, "tx-checksum-ip-generic": true } as const;

/** Provider of all kinds of object. */
export class MemoryKernel implements Provider {
  readonly name = "the kernel";
  readonly kinds: ReadonlySet<StateKind> = new Set(KINDS.map(({ kind }) => kind));
  /** All objects, ours and foreign ones; one route per destination, as Linux without metrics. */
  readonly #objects = new Map<string, StateObject>();
  /** Devices that a VXLAN device can have as its lower one; routes through them are foreign. */
  readonly #lowers: ReadonlySet<string>;
  readonly #listeners = new Set<(notice: Notice) => void>();
  /** The requests so far. */
  readonly operations: StateOperation[] = [];
  /** Returns the error with which an operation is refused that Linux would accept. */
  refuse: (operation: StateOperation) => FlannelError | undefined = () => undefined;
  /** While set, every request fails. */
  failure: FlannelError | undefined;
  looks = 0;
  #names: ReadonlySet<string> = new Set();

  constructor(lowers: readonly string[] = ["eth0"]) {
    this.#lowers = new Set(lowers);
  }

  get objects(): ReadonlyMap<string, StateObject> {
    return this.#objects;
  }

  async observe(ownership: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]> {
    await this.#turn();
    this.looks++;
    this.#names = ownership.devices;
    const owned = this.#owned(ownership);
    return [...this.#objects.values()].filter(
      (object) => kinds.has(object.kind) && isSeen(object, object.kind === "link" ? ownership : owned),
    );
  }

  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    await this.#turn();
    this.operations.push(...operations);
    return operations.map(
      (operation) => this.refuse(operation) ?? this.#refuseForeign(operation) ?? this.#change(operation),
    );
  }

  watch(ownership: () => Ownership, signal: AbortSignal): AsyncIterable<Notice> {
    const waiting: Notice[] = [];
    let wake = () => {};
    const listen = (notice: Notice) => {
      const reported =
        typeof notice === "string" ? notice : notice.flatMap((change) => reportedOf(change, ownership()));
      if (reported.length > 0) waiting.push(reported);
      wake();
    };
    this.#listeners.add(listen);
    signal.addEventListener("abort", () => wake(), { once: true });
    const listeners = this.#listeners;
    return (async function* () {
      while (!signal.aborted) {
        const notice = waiting.shift();
        if (notice !== undefined) yield notice;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
      listeners.delete(listen);
    })();
  }

  /** A foreign change; throws where Linux refuses it. */
  meddle(...operations: readonly StateOperation[]): void {
    for (const operation of operations) {
      const error = this.#change(operation);
      if (error !== undefined) throw error;
    }
  }

  /** Another program creates or replaces an object. */
  put(object: StateObject): void {
    const previous = this.#objects.get(keyOf(object));
    this.meddle(
      previous === undefined ? { action: "create", object } : { action: "replace", object, previous },
    );
  }

  /** Another program deletes an object. */
  delete(object: StateObject): void {
    this.meddle({ action: "remove", object });
  }

  /** Loses notifications. */
  overrun(): void {
    this.#notify("overrun");
  }

  /** Reports a foreign change that concerns no object of ours. */
  elsewhere(): void {
    this.#notify("elsewhere");
  }

  /** Every request takes a turn of the event loop, so that requests interleave. */
  async #turn(): Promise<void> {
    await Promise.resolve();
    if (this.failure !== undefined) throw this.failure;
  }

  /** As the real provider: what has become foreign since it was observed is not touched. */
  #refuseForeign({ object }: StateOperation): FlannelError | undefined {
    const device = deviceOf(object);
    const isRefused = this.#names.has(device) && this.#isForeign(device);
    return isRefused ? new FlannelError("EEXIST", "no longer flannel's") : undefined;
  }

  #isForeign(device: string): boolean {
    const link = this.#objects.get(linkKey(device));
    return link?.kind === "link" && link.type === "foreign";
  }

  /** What is on a foreign device of our name is foreign too. */
  #owned({ devices, networks }: Ownership): Ownership {
    return { devices: new Set([...devices].filter((device) => !this.#isForeign(device))), networks };
  }

  #change(operation: StateOperation): FlannelError | undefined {
    const error = operation.action === "remove" ? this.#remove(operation.object) : this.#set(operation);
    return error === undefined ? undefined : new FlannelError(error, `the kernel returned ${error}`);
  }

  /** The errno's name with which Linux refuses. */
  #set(operation: Exclude<StateOperation, { action: "remove" }>): string | undefined {
    const { object, action } = operation;
    const have = this.#objects.get(keyOf(object));
    if (object.kind === "link") {
      if (action === "create" && have !== undefined) return "EEXIST";
      if (action === "replace" && have === undefined) return "ENODEV";
      return this.#setLink(object, have);
    }
    const device = this.#objects.get(linkKey(deviceOf(object)));
    const isOnLower = object.kind === "route" && this.#lowers.has(object.device);
    if (device === undefined && !isOnLower && hasDevice(object)) return "ENODEV";
    if (object.kind === "address" && have !== undefined) return "EEXIST";
    if (object.kind === "route") {
      if (device?.kind === "link" && device.type === "vxlan" && !device.up) return "ENETDOWN";
      if (operation.action === "create" && have !== undefined && !operation.reclaims) return "EEXIST";
      const previous = operation.action === "replace" ? operation.previous : undefined;
      if (previous?.kind === "route" && (have?.kind !== "route" || !isSameRoute(have, previous)))
        return "ESRCH";
    }
    this.#objects.set(keyOf(object), object);
    this.#notify([{ action: "set", object }]);
    return undefined;
  }

  #setLink(link: Link, have: StateObject | undefined): string | undefined {
    if (link.type === "foreign") {
      if (have !== undefined) return "EEXIST";
    } else {
      const { lower, excludes } = linkTypeOf(link);
      if (lower !== undefined && !this.#lowers.has(lower(link))) return "ENODEV";
      for (const other of this.#objects.values()) {
        const isComparable = other.kind === "link" && other.type === link.type && other.name !== link.name;
        if (isComparable && excludes?.(other, link)) return "EEXIST";
      }
      if (have?.kind === "link" && have.type === "foreign") return "EEXIST";
    }
    const before = have?.kind === "link" ? have : undefined;
    const isNew = before === undefined || link.type === "foreign" || mustRemake(before, link);
    if (isNew && before !== undefined) this.#remove(before);
    if (!isNew && (before.mac !== link.mac || (before.up && !link.up)))
      this.#drop(link.name, ["neighbour"], "reported");
    if (!isNew && before.up && !link.up) this.#drop(link.name, ["route"], "silent");
    this.#objects.set(keyOf(link), link);
    if (isNew) {
      for (const name of SETTING_NAMES) {
        const setting: DeviceSetting = {
          kind: "setting",
          device: link.name,
          name,
          on: SETTINGS_AT_BIRTH[name],
        };
        this.#objects.set(keyOf(setting), setting);
      }
    }
    this.#notify([{ action: "set", object: link }]);
    return undefined;
  }

  #remove(object: StateObject): string | undefined {
    const key = keyOf(object);
    const have = this.#objects.get(key);
    if (have === undefined) {
      const isOnNothing =
        object.kind !== "link" && hasDevice(object) && !this.#objects.has(linkKey(deviceOf(object)));
      if (isOnNothing && !this.#lowers.has(deviceOf(object))) return "ENODEV";
      return { link: "ENODEV", route: "ESRCH", address: "EADDRNOTAVAIL", neighbour: "ENOENT", fdb: "ENOENT" }[
        object.kind as string
      ];
    }
    // A deletion names every field: a different object with the same key stays.
    if (object.kind === "route" && have.kind === "route" && !isSameRoute(have, object)) return "ESRCH";
    applyToModel(this.#objects, { action: "remove", object: have });
    if (have.kind === "address") {
      const isLast = !this.#objects
        .values()
        .some((each) => each.kind === "address" && each.device === have.device);
      this.#notify([{ action: "gone", object: have }]);
      if (isLast) {
        this.#drop(have.device, ["neighbour"], "reported");
        this.#drop(have.device, ["route"], "silent");
      }
      return undefined;
    }
    const isExact = have.kind === "route";
    this.#notify([{ action: isExact ? "gone" : "touched", object: have }]);
    return undefined;
  }

  #drop(device: string, kinds: readonly StateKind[], how: "reported" | "silent"): void {
    for (const [key, object] of this.#objects) {
      if (!kinds.includes(object.kind) || object.kind === "link" || deviceOf(object) !== device) continue;
      this.#objects.delete(key);
      if (how === "reported") this.#notify([{ action: "touched", object }]);
    }
  }

  #notify(notice: Notice): void {
    for (const listen of this.#listeners) listen(notice);
  }
}

/** Blackhole routes, IPsec policies and connections, and what commands of the extension backend made are on no device. */
const hasDevice = (object: StateObject): boolean => deviceOf(object) !== "";

const isSameRoute = (a: Route, b: Route): boolean =>
  a.device === b.device && a.via === b.via && a.protocol === b.protocol;

/** What the real provider observes of an object. */
function isSeen(object: StateObject, ownership: Ownership): boolean {
  if (object.kind !== "route") return ownership.devices.has(deviceOf(object));
  return (
    (object.protocol === RTPROT_FLANNEL || ownership.devices.has(object.device)) && isNear(object, ownership)
  );
}

/** What the real provider reports of a change; of foreign routes into our networks only that there was a change. */
function reportedOf(change: StateChange, ownership: Ownership): StateChange[] {
  const { object } = change;
  if (isSeen(object, ownership)) return [change];
  return object.kind === "route" && isNear(object, ownership) ? [{ action: "touched", object }] : [];
}

function isNear(route: Route, { networks }: Ownership): boolean {
  const prefix = parsePrefix(route.destination);
  return prefix !== undefined && networks.some((network) => containsPrefix(network, prefix));
}
