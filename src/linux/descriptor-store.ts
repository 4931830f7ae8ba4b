/**
 * Descriptors that outlive this process: the service manager gets a copy of each to keep, and hands it to the process
 * that it starts next (systemd's FileDescriptorStoreMax=; sd_notify(3), FDSTORE=1). What comes in meanwhile waits in the
 * kernel. Without such a manager they are just open descriptors.
 */

import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sys } from "./ffi.ts";
import { sdNotify } from "./sd-notify.ts";

export interface DescriptorStoreOptions {
  /** Kept for this process; see takeListenFds. */
  readonly handedOver: ReadonlyMap<string, number>;
  /** NOTIFY_SOCKET; undefined = there is no service manager. */
  readonly notifySocket: string | undefined;
  readonly logger: Logger;
}

export class DescriptorStore {
  readonly #options: DescriptorStoreOptions;
  readonly #open: Map<string, number>;
  readonly #unclaimed: Set<string>;
  #hasWarned = false;

  constructor(options: DescriptorStoreOptions) {
    this.#options = options;
    this.#open = new Map(options.handedOver);
    this.#unclaimed = new Set(options.handedOver.keys());
  }

  /**
   * What is open under this name, if `adopt` can use it; else what `open` opens, from now on kept under this name. It
   * stays the store's: only {@link close} closes it. `adopt` says undefined of what is of no use.
   */
  open<T extends { readonly fd: number }>(
    name: string,
    adopt: (fd: number) => T | undefined,
    open: () => T,
  ): T {
    const fd = this.#open.get(name);
    if (fd !== undefined) {
      const adopted = adopt(fd);
      if (adopted !== undefined) {
        if (this.#unclaimed.delete(name)) this.#options.logger.info(`Took over ${name}, which was kept open`);
        return adopted;
      }
      this.close(name);
    }
    const opened = open();
    this.#open.set(name, opened.fd);
    this.#tell(`FDSTORE=1\nFDPOLL=0\nFDNAME=${name}`, [opened.fd]);
    return opened;
  }

  /** Closes what is open under this name, here and at the service manager's. */
  close(name: string): void {
    const fd = this.#open.get(name);
    if (fd === undefined) return;
    this.#open.delete(name);
    this.#unclaimed.delete(name);
    this.#tell(`FDSTOREREMOVE=1\nFDNAME=${name}`);
    sys.close(fd);
  }

  /** Closes what was kept for this process and nobody has asked for: an earlier config needed it. */
  closeUnclaimed(): void {
    for (const name of [...this.#unclaimed]) this.close(name);
  }

  #tell(state: string, fds: readonly number[] = []): void {
    const { notifySocket, logger } = this.#options;
    if (notifySocket === undefined) return;
    try {
      sdNotify(notifySocket, state, fds);
    } catch (error) {
      if (this.#hasWarned) return;
      this.#hasWarned = true;
      logger.warn(
        `The service manager cannot be asked to keep descriptors, so a restart will lose packets: ${messageOf(error)}`,
      );
    }
  }
}
