/**
 * Protocol of the service manager: one datagram to an AF_UNIX socket (sd_notify(3), unix(7)), with descriptors to be kept
 * for the next process; and the descriptors kept for this one (sd_listen_fds(3)).
 */

import { FlannelError } from "../base/error.ts";
import { check, sys } from "./ffi.ts";

// bits/socket.h, asm-generic/socket.h
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** sizeof(struct cmsghdr). */
const CMSGHDR_BYTES = 16;
/** sizeof(sockaddr_un.sun_path). */
const PATH_BYTES = 108;

// asm-generic/fcntl.h
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** SD_LISTEN_FDS_START (systemd/sd-daemon.h). */
const FIRST_LISTEN_FD = 3;
const LISTEN_VARIABLES = ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"] as const;

/**
 * Sends `state`, e.g. "READY=1", to `socketName`: the value of NOTIFY_SOCKET, a path or an abstract name after "@"; with
 * copies of the descriptors `fds`. `mayWait`: until a busy manager reads it; else SyscallError EAGAIN. Throws FlannelError
 * EINVAL for other names, SyscallError if no process listens (ECONNREFUSED, ENOENT).
 */
export function sdNotify(
  socketName: string,
  state: string,
  fds: readonly number[] = [],
  { mayWait = true } = {},
): void {
  const isAbstract = socketName.startsWith("@");
  const name = new TextEncoder().encode(isAbstract ? socketName.slice(1) : socketName);
  if ((!isAbstract && !socketName.startsWith("/")) || name.length === 0 || name.length >= PATH_BYTES) {
    throw new FlannelError("EINVAL", `NOTIFY_SOCKET: neither a path nor "@" and a name: ${socketName}`);
  }
  // An abstract name begins with a zero byte and ends where the address ends; a path ends with a zero byte.
  const address = new Uint8Array(2 + name.length + 1);
  address[0] = AF_UNIX;
  address.set(name, isAbstract ? 3 : 2);
  const text = new TextEncoder().encode(state);
  const control = fds.length === 0 ? null : rights(fds);
  const message = {
    msg_name: address,
    msg_namelen: address.length,
    msg_iov: { iov_base: text, iov_len: text.length },
    msg_iovlen: 1,
    msg_control: control,
    msg_controllen: control?.length ?? 0,
    msg_flags: 0,
  } as const;
  const fd = check(sys.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  try {
    check(
      sys.sendmsg(fd, message, MSG_NOSIGNAL | (mayWait ? 0 : MSG_DONTWAIT)),
      "sendmsg",
      `NOTIFY_SOCKET ${socketName}`,
    );
  } finally {
    sys.close(fd);
  }
}

/** The period of the watchdog in milliseconds (sd_watchdog_enabled(3)); undefined = none, or it is another process's. */
export function watchdogPeriodMs(
  { WATCHDOG_USEC, WATCHDOG_PID }: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | undefined {
  const isMeant = WATCHDOG_PID === undefined || WATCHDOG_PID === "" || WATCHDOG_PID === String(pid);
  const isValid = /^[1-9]\d{0,14}$/.test(WATCHDOG_USEC ?? "");
  return isMeant && isValid ? Number(WATCHDOG_USEC) / 1000 : undefined;
}

/** struct cmsghdr with descriptors (cmsg(3)). */
function rights(fds: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(Math.ceil((CMSGHDR_BYTES + 4 * fds.length) / 8) * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, CMSGHDR_BYTES + 4 * fds.length, true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  for (const [index, fd] of fds.entries()) view.setInt32(CMSGHDR_BYTES + 4 * index, fd, true);
  return bytes;
}

/**
 * The descriptors that this process was started with, by name; if several have one name, the last; the others are closed.
 * Programs that this one starts inherit neither the descriptors nor the variables, which are deleted from `environment`.
 * The variables are meant for the process `pid` only (LISTEN_PID).
 */
export function takeListenFds(
  environment: Record<string, string | undefined>,
  pid: number,
): Map<string, number> {
  const { LISTEN_PID, LISTEN_FDS = "", LISTEN_FDNAMES = "" } = environment;
  for (const variable of LISTEN_VARIABLES) delete environment[variable];
  const fds = new Map<string, number>();
  if (LISTEN_PID !== String(pid) || !/^\d{1,4}$/.test(LISTEN_FDS)) return fds;
  const names = LISTEN_FDNAMES.split(":");
  const count = Number(LISTEN_FDS);
  for (let index = 0; index < count; index++) {
    const fd = FIRST_LISTEN_FD + index;
    if (sys.fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || names.length !== count) continue;
    const name = names[index]!;
    const other = fds.get(name);
    if (other !== undefined) sys.close(other);
    fds.set(name, fd);
  }
  return fds;
}
