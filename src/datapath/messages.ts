/** Messages between the main thread and the data path's thread. */

import type { TunnelDescriptors } from "./descriptors.ts";
import type { Forwarding } from "./forwarding.ts";

/** Orders to the thread. */
export type Order =
  /** Start to move packets: the first order, sent once. */
  | ({ readonly type: "start" } & ThreadData)
  | { readonly type: "forward"; readonly forwarding: Forwarding }
  | { readonly type: "stop" };

/** Reports from the thread. */
export type Report =
  /** The thread is loaded and waits for the start order. */
  | { readonly type: "ready" }
  /** The kernel refused segmentation: datagrams are sent one by one. */
  | { readonly type: "segmentation refused" }
  /** The thread ended, by order or because the TUN device was deleted. */
  | { readonly type: "stopped"; readonly deviceLost: boolean };

/** The thread's inputs. */
export interface ThreadData {
  readonly descriptors: TunnelDescriptors;
  /** See counters.ts. */
  readonly counters: Float64Array<SharedArrayBuffer>;
  readonly forwarding: Forwarding;
}
