/** Waking a thread that blocks in poll(2), from another one: eventfd(2). */

import { check, sys } from "./ffi.ts";

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;
const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** A descriptor that becomes readable when woken, and stays so until it is read. */
export const openWake = (): number => check(sys.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");

/** Never blocks. */
export const wake = (fd: number): void => void sys.write(fd, ONE, ONE.length);
