/** The port through which this folder talks to the kernel. `src/linux` implements it; `src/testing` has a scripted fake. */

/** A netlink socket (netlink(7)) connected to the kernel. Datagrams may hold several messages. */
export interface NetlinkSocket {
  /** The socket's own address (`nl_pid`): notifications of changes made through it carry this number. */
  readonly portId: number;
  /** Hands one datagram to the kernel. Does not keep `datagram`. Throws SyscallError. */
  send(datagram: Uint8Array): void;
  /**
   * The next datagram, waiting at most the socket's timeout; undefined = nothing came in that time.
   * The bytes belong to the caller. Throws SyscallError: ENOBUFS when answers were lost, EMSGSIZE when one was too long.
   */
  receive(): Uint8Array | undefined;
  /** Throws away everything that waits to be received. */
  discard(): void;
  close(): void;
}
