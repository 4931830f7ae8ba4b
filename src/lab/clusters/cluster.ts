/** What the hosts of a lab share: the datastore with their subnets and leases. */

import type { Host } from "../plan/topology.ts";
import type { ProcessId } from "../record/lab-processes.ts";
import type { HubRole } from "../record/lab-state.ts";

/** Paths of the programs that go with this one. */
export interface Programs {
  readonly flanneld: string;
  readonly flannelctl: string;
  /** The CNI plugin. */
  readonly cniPlugin: string;
}

export interface Cluster {
  /**
   * Starts it in the hub, where all hosts reach it, and returns when it serves and has the network config. `onStart` is
   * waited for, for each process, before anything else is done with it. Throws FlannelError, also if the config is no good.
   */
  create(
    networkConfig: string,
    onStart: (process: ProcessId, role: HubRole) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
  /** The flags and environment with which flanneld on this host connects to it. */
  flanneldSettings(host: Host): {
    readonly flags: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
  };
  /** Deletes the data of a host whose flanneld has ended. Throws FlannelError. */
  forget(host: Host): Promise<void>;
}
