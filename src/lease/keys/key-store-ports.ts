/** What the stores on etcd, v3 and v2, need of the system. */

import type { Logger } from "../../base/logger.ts";
import { systemTimers, type Timers } from "../../base/timers.ts";
import type { OutagePorts } from "../outage.ts";

/** The defaults are the real ones. */
export interface KeyStorePorts {
  readonly logger: Logger;
  readonly timers?: Timers;
  /** Wall-clock time in ms since the epoch. */
  readonly wallClockMs?: () => number;
  /** 0 ≤ random() < 1. */
  readonly random?: () => number;
  readonly onOutage?: OutagePorts["onOutage"];
  /** Called each time that the network config is asked for and missing. */
  readonly onMissingConfig?: () => void;
}

/** The ports with the defaults filled in. */
export const completePorts = (ports: KeyStorePorts): Required<KeyStorePorts> => ({
  timers: systemTimers,
  wallClockMs: Date.now,
  random: Math.random,
  onOutage() {},
  onMissingConfig() {},
  ...ports,
});
