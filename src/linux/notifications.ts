/** Kernel notifications (netlink(7), “multicast groups”): the port NotificationSource on a real kernel. */

import { ALL_GROUPS, type NotificationSource, type ReceivedNotifications } from "../netlink/monitor.ts";
import { NETLINK_NETFILTER, NFNLGRP_NFTABLES } from "../netlink/nfnetlink.ts";
import { XFRMNLGRP_POLICY } from "../netlink/xfrm.ts";
import { sys } from "./ffi.ts";
import { NETLINK_ROUTE, NETLINK_XFRM, type NetlinkOptions, openFd, receiveNow } from "./netlink-socket.ts";
import { type Watch, watchReadable } from "./poller.ts";

export interface NotificationOptions extends NetlinkOptions {
  /** NETLINK_…; default NETLINK_ROUTE. */
  readonly family?: number;
  /** Multicast groups of the family; default all of rtnetlink's that netlink/monitor.ts knows. */
  readonly groups?: readonly number[];
}

/** Datagrams read at once at most, so that a flood does not starve the rest of the program. */
const BATCH_DATAGRAMS = 2000;
const DATAGRAM_BYTES = 64 * 1024;
const DEFAULT_BUFFER_BYTES = 16 * 1024 * 1024;

/**
 * Subscribes to notifications; from this call on they wait in the socket until they are read. If some were lost (ENOBUFS),
 * or if receiving fails in any other way, this is reported as an overrun. Throws SyscallError if opening the socket fails.
 */
export const openNotifications = (options: NotificationOptions = {}): NotificationSource =>
  new SocketSource(options);

/** Subscribes to changes of nftables. Throws SyscallError, EPROTONOSUPPORT on a kernel without it. */
export const openNftNotifications = (options: NetlinkOptions = {}): NotificationSource =>
  openNotifications({ ...options, family: NETLINK_NETFILTER, groups: [NFNLGRP_NFTABLES] });

/** Subscribes to changes of IPsec policies. Throws SyscallError. */
export const openXfrmNotifications = (options: NetlinkOptions = {}): NotificationSource =>
  openNotifications({ ...options, family: NETLINK_XFRM, groups: [XFRMNLGRP_POLICY] });

class SocketSource implements NotificationSource {
  readonly #fd: number;
  readonly #watch: Watch;
  readonly #buffer = new Uint8Array(DATAGRAM_BYTES);
  #isClosed = false;
  /** Settles the waiting next(). */
  #deliver: ((received: ReceivedNotifications | undefined) => void) | undefined;

  constructor(options: NotificationOptions) {
    const sized = { receiveBufferBytes: DEFAULT_BUFFER_BYTES, ...options };
    this.#fd = openFd(options.family ?? NETLINK_ROUTE, sized, options.groups ?? ALL_GROUPS).fd;
    this.#watch = watchReadable(this.#fd, () => this.#take());
  }

  next(): Promise<ReceivedNotifications | undefined> {
    if (this.#isClosed) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#deliver = resolve;
      this.#take();
    });
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#watch.close();
    sys.close(this.#fd);
    this.#settle(undefined);
  }

  /** Passes the datagrams in the socket to the waiting next(). Without one they stay in the socket. */
  #take(): void {
    if (this.#deliver === undefined) {
      this.#watch.pause();
      return;
    }
    const received = this.#read();
    if (received.datagrams.length > 0 || received.overrun) this.#settle(received);
    else this.#watch.resume();
  }

  #read(): ReceivedNotifications {
    const datagrams: Uint8Array[] = [];
    try {
      while (datagrams.length < BATCH_DATAGRAMS) {
        const datagram = receiveNow(this.#fd, this.#buffer);
        if (datagram === undefined) break;
        datagrams.push(datagram);
      }
      return { datagrams, overrun: false };
    } catch {
      return { datagrams, overrun: true }; // SyscallError: the reaction to each is a resync
    }
  }

  #settle(received: ReceivedNotifications | undefined): void {
    const deliver = this.#deliver;
    this.#deliver = undefined;
    deliver?.(received);
  }
}
