/** Kernel notifications (rtnetlink(7), “multicast groups”): the port NotificationSource on a real kernel. */

import { hasCode } from "../base/error.ts";
import { ALL_GROUPS, type NotificationSource, type ReceivedNotifications } from "../netlink/monitor.ts";
import { sys } from "./ffi.ts";
import { NETLINK_ROUTE, type NetlinkOptions, openFd, receiveNow } from "./netlink-socket.ts";
import { type Watch, watchReadable } from "./poller.ts";

export interface NotificationOptions extends NetlinkOptions {
  /** RTNLGRP_…; default all that netlink/monitor.ts knows. */
  readonly groups?: readonly number[];
}

/** So many datagrams are taken at once at most, so that a flood does not keep the rest of the program waiting. */
const BATCH_DATAGRAMS = 2000;
const DATAGRAM_BYTES = 64 * 1024;
const DEFAULT_BUFFER_BYTES = 16 * 1024 * 1024;
const REOPEN_DELAY_MS = 1000;

/**
 * Subscribes to notifications, from this call on; they wait in the socket until they are asked for. Lost ones (ENOBUFS)
 * are told as an overrun; after any other error the socket is opened anew. Throws SyscallError if it cannot be opened now.
 */
export const openNotifications = (options: NotificationOptions = {}): NotificationSource =>
  new SocketSource(options);

class SocketSource implements NotificationSource {
  readonly #options: NotificationOptions;
  readonly #buffer = new Uint8Array(DATAGRAM_BYTES);
  #socket: { readonly fd: number; readonly watch: Watch } | undefined;
  #reopenTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** Something was lost since the last batch. */
  #overrun = false;
  /** Settles the next() that waits. */
  #deliver: ((received: ReceivedNotifications | undefined) => void) | undefined;

  constructor(options: NotificationOptions) {
    this.#options = options;
    this.#open();
  }

  next(): Promise<ReceivedNotifications | undefined> {
    if (this.#isClosed) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#deliver = resolve;
      this.#take();
    });
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    clearTimeout(this.#reopenTimer);
    this.#closeSocket();
    this.#settle(undefined);
  }

  #open(): void {
    const { fd } = openFd(
      NETLINK_ROUTE,
      { receiveBufferBytes: DEFAULT_BUFFER_BYTES, ...this.#options },
      this.#options.groups ?? ALL_GROUPS,
    );
    this.#socket = { fd, watch: watchReadable(fd, () => this.#take()) };
  }

  #closeSocket(): void {
    this.#socket?.watch.close();
    if (this.#socket !== undefined) sys.close(this.#socket.fd);
    this.#socket = undefined;
  }

  /** Hands what the socket holds to the next() that waits; while none waits or nothing is there, only watches or rests. */
  #take(): void {
    if (this.#deliver === undefined) {
      this.#socket?.watch.pause();
      return;
    }
    const datagrams = this.#read();
    if (datagrams.length > 0 || this.#overrun) {
      const overrun = this.#overrun;
      this.#overrun = false;
      this.#settle({ datagrams, overrun });
    } else {
      this.#socket?.watch.resume();
    }
  }

  #read(): Uint8Array[] {
    const datagrams: Uint8Array[] = [];
    while (this.#socket !== undefined && datagrams.length < BATCH_DATAGRAMS) {
      try {
        const datagram = receiveNow(this.#socket.fd, this.#buffer);
        if (datagram === undefined) break;
        datagrams.push(datagram);
      } catch (error) {
        this.#overrun = true;
        if (!hasCode(error, "ENOBUFS") && !hasCode(error, "EMSGSIZE")) this.#reopen();
      }
    }
    return datagrams;
  }

  #settle(received: ReceivedNotifications | undefined): void {
    const deliver = this.#deliver;
    this.#deliver = undefined;
    deliver?.(received);
  }

  #reopen(): void {
    this.#closeSocket();
    this.#reopenTimer = setTimeout(() => {
      try {
        this.#open();
      } catch {
        this.#reopen();
        return;
      }
      this.#overrun = true; // whatever happened while there was no socket
      this.#take();
    }, REOPEN_DELAY_MS);
  }
}
