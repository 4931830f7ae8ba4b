/** What the operator's commands need from their process. */

import type { Logger } from "../base/logger.ts";
import type { Environment } from "../config/flags.ts";
import type { DatastoreOptions, EtcdDatastore } from "../config/options-datastore.ts";
import type { LeaseAdmin, LeaseInspector } from "../lease/lease-admin.ts";

export interface AdminPorts {
  /** The process environment: variables of the datastore's flags count here as they do for flanneld. */
  readonly variables: Environment;
  /** Opens a store for reading; nothing is sent yet. Throws ConfigError. */
  inspectStore(options: DatastoreOptions, logger: Logger): Promise<LeaseInspector>;
  /** Opens a store for changes; nothing is sent yet. Throws ConfigError. */
  openStore(options: EtcdDatastore, logger: Logger): Promise<LeaseAdmin>;
  /** The text of a file, or of standard input for "-". Throws ConfigError. */
  readText(path: string): Promise<string>;
  /** Asks at the terminal; undefined = there is none. */
  confirm(question: string): Promise<boolean | undefined>;
  /** Aborted by Ctrl-C or SIGTERM, which from then on do not end the process. */
  untilInterrupted(): AbortSignal;
  /** Wall-clock time in ms since the epoch. */
  wallClockMs(): number;
}
