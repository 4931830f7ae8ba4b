/** How a kind of object is observed and changed over rtnetlink(7): the part of an ObjectKind that the netlink provider calls. */

import type { Link } from "../netlink/link.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import type { Notification } from "../netlink/monitor.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { DeviceSettings } from "./device-settings.ts";
import type { Change, ObjectBase, Operation, Ownership } from "./operation.ts";

/** Makes a persistent TUN device, which rtnetlink cannot make. Throws FlannelError. */
type TunMaker = (name: string) => void;

/** The kernel of this host as the kinds use it. */
export interface NetlinkHost {
  readonly rtnetlink: Rtnetlink;
  readonly settings: DeviceSettings;
  /** Undefined = no TUN devices can be made here. */
  readonly makeTun?: TunMaker;
  /** Lets other work go on between the parts of a long one. */
  readonly yieldToOthers: () => Promise<void>;
}

/** One look at the kernel. */
export interface NetlinkView extends NetlinkHost {
  /** Existing devices with a name of ours. */
  readonly named: readonly Link[];
  /** Those of them that are of a type we make. */
  readonly own: readonly Link[];
  /** Ownership with the devices of `own` only: what is on a foreign device of our name is foreign too. */
  readonly ownership: Ownership;
  /** Name of a device; "#7" if it has gone, "" for undefined. */
  readonly nameOf: (index: number | undefined) => string;
}

/** The operations of one call to apply. */
export interface NetlinkBatch extends NetlinkHost {
  /** Index of a device. Throws FlannelError ENODEV if there is none, EEXIST if it has become a foreign one. */
  readonly indexOf: (device: string) => number;
  /** How many objects of this kind are created in the batch. */
  readonly createdCount: number;
}

/** What is known when a notification arrives. */
export interface NoticeContext {
  readonly settings: DeviceSettings;
  readonly ownership: Ownership;
  /** Names of our devices by index, also of those that have just gone; kept up to date by the link kind. */
  readonly ownDevices: Map<number, string>;
  /** Name of a device now; "" if there is none. Throws NetlinkError. */
  readonly nameOf: (index: number | undefined) => string;
}

/** A notification other than the loss of some. Its `type` is the name of the kind that reads it. */
export type ObjectNotification = Exclude<Notification, { type: "overrun" }>;

/** How rtnetlink holds one kind: observe, change, and read notifications. Each throws NetlinkError. */
export interface NetlinkHandling<O extends ObjectBase> {
  /** All objects of this kind that are ours; of two with one key the later counts. Throws NetlinkError. */
  observe(view: NetlinkView): O[] | Promise<O[]>;
  /** Makes one change: as requests for the batch, or at once where one step needs the result of another. */
  readonly change:
    | {
        readonly how: "batched";
        requests(operation: Operation<O>, batch: NetlinkBatch): readonly NetlinkRequest[];
      }
    | { readonly how: "at once"; apply(operation: Operation<O>, batch: NetlinkBatch): void };
  /** What a notification of this kind says about our objects; [] = nothing. May throw NetlinkError. */
  readNotice?(notification: ObjectNotification, context: NoticeContext): readonly Change<ObjectBase>[];
}
