/** Telling the service manager how far we are (sd_notify(3)): one datagram to an AF_UNIX socket (unix(7)). */

import { FlannelError } from "../base/error.ts";
import { check, sys } from "./ffi.ts";

// bits/socket.h
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** sizeof(sockaddr_un.sun_path). */
const PATH_BYTES = 108;

/**
 * Sends `state`, e.g. "READY=1", to `socketName`: the value of NOTIFY_SOCKET, a path or an abstract name after "@".
 * Throws FlannelError EINVAL for other names, SyscallError if nobody listens.
 */
export function sdNotify(socketName: string, state: string): void {
  const isAbstract = socketName.startsWith("@");
  const name = new TextEncoder().encode(isAbstract ? socketName.slice(1) : socketName);
  if ((!isAbstract && !socketName.startsWith("/")) || name.length === 0 || name.length >= PATH_BYTES) {
    throw new FlannelError("EINVAL", `NOTIFY_SOCKET: neither a path nor "@" and a name: ${socketName}`);
  }
  // An abstract name begins with a zero byte and ends where the address ends; a path ends with a zero byte.
  const address = new Uint8Array(2 + name.length + 1);
  address[0] = AF_UNIX;
  address.set(name, isAbstract ? 3 : 2);
  const message = new TextEncoder().encode(state);
  const fd = check(sys.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  try {
    check(
      sys.sendto(fd, message, message.length, MSG_NOSIGNAL, address, address.length),
      "sendto",
      `NOTIFY_SOCKET ${socketName}`,
    );
  } finally {
    sys.close(fd);
  }
}
