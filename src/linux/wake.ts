/** Wakes a thread that blocks in poll(2) from another thread: eventfd(2). */

import { check, sys } from "./ffi.ts";

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;
const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** Opens a descriptor that becomes readable when it is woken, and stays readable until it is read. Throws SyscallError. */
export const openWake = (): number => check(sys.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");

/** Makes a descriptor of {@link openWake} readable. Never blocks. */
export const wake = (fd: number): void => void sys.write(fd, ONE, ONE.length);
