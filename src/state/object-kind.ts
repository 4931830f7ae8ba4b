/**
 * What each kind of desired object says about itself. One module per kind under kinds/; reconciler, diff and providers
 * know the kinds only through this interface and the registry (objects.ts).
 */

import type { FlannelError } from "../base/error.ts";
import type { NetlinkHandling, NetlinkHost } from "./netlink-handling.ts";
import type { ObjectBase, Operation } from "./operation.ts";

/** Which objects on a device are lost when the device is changed: all of them, or those of some kinds. */
export type LostDependents = "all" | readonly string[];

/** One kind of desired object. */
export interface ObjectKind<O extends ObjectBase> {
  readonly kind: O["kind"];
  /** What makes two objects the same thing, possibly with other contents: what the kernel, too, holds only once. */
  key(object: O): string;
  /** Name of the device that the object depends on, or is; "" = none. */
  device(object: O): string;
  /** One line for logs and `flannelctl plan`, in the words of ip(8) and bridge(8). */
  describe(object: O): string;
  /** Why `desired` cannot be made while `observed` exists, with the remedy; everything on its device then waits. */
  conflict?(observed: O, desired: O): string | undefined;
  /** What is lost on the device when `previous` becomes `next`, or is removed. */
  lostDependents?(previous: O, next: O | undefined): LostDependents;
  /** Whether losing such an object can silently remove objects of other kinds (the kernel reports none of them). */
  readonly removesOthersSilently?: true;
  /** Whether an object that is no longer desired is left as it is, because its former value is unknown. */
  readonly isKeptWhenUndesired?: true;
  /** Whether an observed object has no mark of ours. `isOwnDevice` = the device is one of ours. */
  isUnmarked?(object: O, isOwnDevice: (device: string) => boolean): boolean;
  /** Whether an unmarked object may become `desired` in place; otherwise the kernel refuses it and the operator gets a message. */
  isAdoptable?(observed: O, desired: O): boolean;
  /** Whether a foreign object that replaced ours is replaced in turn, because it is drift (see Model.wasLost). */
  readonly isReclaimed?: true;
  /** What an operator can do about an operation that failed with `error`; `host` is asked for what is in the way. */
  advise?(operation: Operation<O>, error: FlannelError, host: NetlinkHost | undefined): string | undefined;
  /** How rtnetlink observes and changes it; undefined = another provider holds this kind. */
  readonly netlink?: NetlinkHandling<O>;
}
