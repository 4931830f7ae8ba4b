/** What the main thread and the data path's thread tell each other. */

import type { TunnelDescriptors } from "./descriptors.ts";
import type { Forwarding } from "./forwarding.ts";

/** To the thread. */
export type Order =
  /** Move packets: the first order, and once. */
  | ({ readonly type: "start" } & ThreadData)
  | { readonly type: "forward"; readonly forwarding: Forwarding }
  | { readonly type: "stop" };

/** From the thread. */
export type Report =
  /** It is loaded, and waits for its start. */
  | { readonly type: "ready" }
  /** The kernel does not cut messages up after all: datagrams are sent one by one. */
  | { readonly type: "segmentation refused" }
  /** It has come to its end because it was told to, or because the TUN device is gone. */
  | { readonly type: "stopped"; readonly deviceLost: boolean };

/** What the thread works with. */
export interface ThreadData {
  readonly descriptors: TunnelDescriptors;
  /** See counters.ts. */
  readonly counters: Float64Array<SharedArrayBuffer>;
  readonly forwarding: Forwarding;
}
