/** The reconciler's port to the kernel: look, change, be told. Implemented over netlink, and by a fake in tests. */

import type { Prefix } from "../address/prefix.ts";
import type { FlannelError } from "../base/error.ts";
import type { SettingName, StateKind, StateObject } from "./objects.ts";

/**
 * How ours is told from others': devices by name; routes by protocol number, or by leading through a device of ours
 * into one of our networks (what Go flannel left); addresses, settings, permanent neighbours and FDB entries by their
 * device. Unmarked routes through a gateway into one of our networks (RTPROT_BOOT: Go's host-gw, or an operator's) are
 * seen too; such a one gets our mark if it is just what we want, and is left alone otherwise.
 */
export interface Ownership {
  readonly devices: ReadonlySet<string>;
  readonly networks: readonly Prefix[];
}

/** One change to the kernel. `replace` carries what is there now, so that exactly that and nothing else is changed. */
export type Operation =
  | { readonly action: "create"; readonly object: StateObject }
  | { readonly action: "replace"; readonly object: StateObject; readonly previous: StateObject }
  | { readonly action: "remove"; readonly object: StateObject };

/**
 * What the kernel reported about an object of ours: `set` = it is now exactly so; `gone` = exactly this was removed;
 * `touched` = something happened to the thing of this key (the other fields of `object` mean nothing).
 */
export interface Change {
  readonly action: "set" | "gone" | "touched";
  readonly object: StateObject;
  /** Port id of the netlink socket through which it was done; 0 or undefined = the kernel does not say. */
  readonly portId?: number;
}

/** What a notification may be: changes, or the news that some were lost (look again). */
export type KernelNotice = readonly Change[] | "overrun";

export interface Kernel {
  /** What the kernel holds of ours, of the given kinds. Throws FlannelError when the kernel cannot be asked. */
  observe(ownership: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]>;

  /**
   * Makes the changes in order; one result each, undefined = done. One failure does not hold up the others. What was
   * planned for a device that has become another's since is refused (EEXIST).
   */
  apply(operations: readonly Operation[]): Promise<(FlannelError | undefined)[]>;

  /** Notices from now on (the kernel is subscribed when this returns), until aborted. Never ends with an error. */
  watch(ownership: () => Ownership, signal: AbortSignal): AsyncIterable<KernelNotice>;
}

/** Makes a TUN device that stays: the one kind of device that rtnetlink cannot make. Throws FlannelError. */
export type TunMaker = (name: string) => void;

/** What of a device is not in rtnetlink: the other half of what {@link Kernel} is made of. */
export interface DeviceSettings {
  /** Undefined = there is no such setting, or no such device. */
  read(device: string, name: SettingName): boolean | undefined;
  /** Throws FlannelError. */
  write(device: string, name: SettingName, on: boolean): void;
}
