/**
 * Claims of names within a network namespace, so that two processes do not program the same things: listening sockets
 * with abstract names (unix(7)), which belong to the namespace and end with their process, however it ends.
 */

import { readFileSync } from "node:fs";
import { FlannelError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { check, EADDRINUSE, lastErrno, lastError, sys } from "./ffi.ts";
import { withNetns } from "./netns.ts";
import { type Watch, watchReadable } from "./poller.ts";

// bits/socket.h, asm-generic/socket.h
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** sizeof(struct ucred): pid, uid, gid (bits/socket.h). */
const UCRED_BYTES = 12;
/** sizeof(sockaddr_un.sun_path). */
const PATH_BYTES = 108;
const BACKLOG = 16;

export interface NetworkClaimsOptions {
  readonly logger: Logger;
  /** Effective user id of this process. */
  readonly uid: number;
  /** Path of the network namespace; default the caller's. */
  readonly netns?: string | undefined;
}

interface Claim {
  readonly fd: number;
  readonly watch: Watch;
}

export class NetworkClaims implements Disposable {
  readonly #options: NetworkClaimsOptions;
  readonly #claims = new Map<string, Claim>();
  readonly #ignored = new Set<string>();

  constructor(options: NetworkClaimsOptions) {
    this.#options = options;
  }

  /**
   * Claims `name` (at most 90 bytes) until this object is disposed of or the process ends; undefined = claimed, by this call
   * or an earlier one, else the holder: "process 812". A holder that is neither root's nor of this user is ignored with a
   * warning: every user can bind an abstract name. Throws SyscallError.
   */
  claim(name: string): string | undefined {
    if (this.#claims.has(name)) return undefined;
    const { netns } = this.#options;
    const run = () => this.#claim(name);
    return netns === undefined ? run() : withNetns(netns, run);
  }

  /** Names with this beginning that other processes hold (proc_net_unix: an abstract name is printed with "@"). */
  othersNames(beginning: string): readonly string[] {
    const { netns } = this.#options;
    const read = () => readFileSync("/proc/thread-self/net/unix", "utf8");
    const text = netns === undefined ? read() : withNetns(netns, read);
    const names = text.split("\n").flatMap((line) => / @(.+)$/.exec(line)?.[1] ?? []);
    return [...new Set(names)].filter((name) => name.startsWith(beginning) && !this.#claims.has(name));
  }

  /** Gives the name up; nothing happens if it is not claimed. */
  release(name: string): void {
    const claim = this.#claims.get(name);
    this.#claims.delete(name);
    claim?.watch.close();
    if (claim !== undefined) sys.close(claim.fd);
  }

  [Symbol.dispose](): void {
    for (const name of this.#claims.keys()) this.release(name);
  }

  #claim(name: string): string | undefined {
    const address = addressOf(name);
    const fd = openSocket();
    try {
      if (sys.bind(fd, address, address.length) >= 0) {
        check(sys.listen(fd, BACKLOG), "listen", name);
        this.#claims.set(name, { fd, watch: watchReadable(fd, () => discardConnection(fd)) });
        return undefined;
      }
      if (lastErrno() !== EADDRINUSE) throw lastError("bind", name);
    } finally {
      if (!this.#claims.has(name)) sys.close(fd);
    }
    const holder = holderOf(address);
    if (holder === undefined) return "another process";
    if (holder.uid !== 0 && holder.uid !== this.#options.uid) {
      this.#ignore(name, holder.uid);
      return undefined;
    }
    // 0: in a PID namespace that this process does not see.
    return holder.pid === 0 ? "a process of another container" : `process ${holder.pid}`;
  }

  #ignore(name: string, uid: number): void {
    if (this.#ignored.has(name)) return;
    this.#ignored.add(name);
    this.#options.logger.warn(
      `Ignoring the abstract socket "@${name}" of user ${uid}, who cannot program networks; end the process that holds it`,
    );
  }
}

function openSocket(): number {
  return check(sys.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
}

/** Who listens; undefined = it has just ended, or does not accept connections. */
function holderOf(address: Uint8Array): { readonly pid: number; readonly uid: number } | undefined {
  const fd = openSocket();
  try {
    if (sys.connect(fd, address, address.length) < 0) return undefined;
    const credentials = new Uint8Array(UCRED_BYTES);
    const length = Uint32Array.of(UCRED_BYTES);
    check(sys.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length), "getsockopt", "SO_PEERCRED");
    const view = new DataView(credentials.buffer);
    return { pid: view.getInt32(0, true), uid: view.getUint32(4, true) };
  } finally {
    sys.close(fd);
  }
}

/** A connection asks who listens, and has its answer by now. */
function discardConnection(fd: number): void {
  const connection = sys.accept4(fd, null, null, SOCK_CLOEXEC);
  if (connection >= 0) sys.close(connection);
}

/** struct sockaddr_un with an abstract name, which begins with a zero byte. */
function addressOf(name: string): Uint8Array {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length === 0 || bytes.length >= PATH_BYTES)
    throw new FlannelError("EINVAL", `not a name for an abstract socket: ${JSON.stringify(name)}`);
  const address = new Uint8Array(2 + 1 + bytes.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(bytes, 3);
  return address;
}
