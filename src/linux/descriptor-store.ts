/**
 * Descriptors that outlive this process: the service manager keeps a copy of each, and passes it to the process that it
 * starts next (systemd's FileDescriptorStoreMax=; sd_notify(3), FDSTORE=1). Packets that arrive meanwhile wait in the
 * kernel. Without such a manager they are ordinary open descriptors.
 */

import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sys } from "./ffi.ts";
import { sdNotify } from "./sd-notify.ts";

export interface DescriptorStoreOptions {
  /** Descriptors kept from the previous process, by name; see takeListenFds. */
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
   * The descriptor kept under this name if `adopt` accepts it, else the one that `open` opens, which is kept under this
   * name from now on. The store owns it: only {@link close} closes it. `adopt` returns undefined for a descriptor that
   * it cannot use. A negative descriptor is not kept.
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
    if (opened.fd < 0) return opened;
    this.#open.set(name, opened.fd);
    this.#notify(`FDSTORE=1\nFDPOLL=0\nFDNAME=${name}`, [opened.fd]);
    return opened;
  }

  /** Closes the descriptor of this name, here and in the service manager. */
  close(name: string): void {
    const fd = this.#open.get(name);
    if (fd === undefined) return;
    this.#open.delete(name);
    this.#unclaimed.delete(name);
    this.#notify(`FDSTOREREMOVE=1\nFDNAME=${name}`);
    sys.close(fd);
  }

  /** Closes kept descriptors that were not opened: an earlier config needed them. */
  closeUnclaimed(): void {
    for (const name of [...this.#unclaimed]) this.close(name);
  }

  #notify(state: string, fds: readonly number[] = []): void {
    const { notifySocket, logger } = this.#options;
    if (notifySocket === undefined) return;
    try {
      sdNotify(notifySocket, state, fds);
    } catch (error) {
      if (this.#hasWarned) return;
      this.#hasWarned = true;
      logger.warn(
        `Failed to store descriptors in the service manager; a restart will lose packets: ${messageOf(error)}`,
      );
    }
  }
}
