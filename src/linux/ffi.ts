/**
 * Every C library function that this program calls, declared once, and the check of their results. Nothing else
 * imports koffi (a foreign function interface: the calls are unsafe, a wrong declaration corrupts memory), so that
 * another FFI can take its place.
 */

import koffi from "koffi";
import { SyscallError } from "../base/error.ts";
import { errnoName } from "../netlink/errno.ts";

type Fd = number;
/** A pointer as a number; the machine's addresses have 47 bits. */
type Address = number;

const libc = koffi.load(null);

/** Declares a function of the C library. The cast is the point where C's types become TypeScript's. */
const declare = <F extends (...args: never[]) => unknown>(prototype: string): F =>
  libc.func(prototype) as unknown as F;

/** `struct ifreq` (linux/if.h; netdevice(7)) with the member that points to data. */
const ifreq = koffi.struct("ifreq_data", {
  ifr_name: koffi.array("uint8_t", 16),
  ifr_data: "void *",
  rest: koffi.array("uint8_t", 16),
});

/** Argument of {@link sys.ioctlIfreq}; the kernel reads and writes `ifr_data`. */
export interface IfreqData {
  readonly ifr_name: Uint8Array;
  readonly ifr_data: Uint32Array;
  readonly rest: Uint8Array;
}

/** `struct iovec` (bits/types/struct_iovec.h) and `struct msghdr` (bits/socket.h), whose pointers may be typed arrays. */
const iovec = koffi.struct("iovec", { iov_base: "void *", iov_len: "size_t" });
const msghdr = koffi.struct("msghdr", {
  msg_name: "void *",
  msg_namelen: "uint32_t",
  msg_iov: koffi.pointer(iovec),
  msg_iovlen: "size_t",
  msg_control: "void *",
  msg_controllen: "size_t",
  msg_flags: "int",
});

/** Argument of {@link sys.sendmsg}. */
export interface Msghdr {
  readonly msg_name: Uint8Array;
  readonly msg_namelen: number;
  readonly msg_iov: { readonly iov_base: Uint8Array; readonly iov_len: number };
  readonly msg_iovlen: 1;
  readonly msg_control: Uint8Array | null;
  readonly msg_controllen: number;
  readonly msg_flags: 0;
}

/** The raw functions, as in their man pages: section 2, and if_nametoindex(3). Results are unchecked: see {@link check}. */
export const sys = {
  socket: declare<(domain: number, type: number, protocol: number) => number>("int socket(int, int, int)"),
  bind: declare<(fd: Fd, address: Uint8Array, length: number) => number>("int bind(int, void *, uint32_t)"),
  listen: declare<(fd: Fd, backlog: number) => number>("int listen(int, int)"),
  accept4: declare<(fd: Fd, address: null, length: null, flags: number) => number>(
    "int accept4(int, void *, void *, int)",
  ),
  getsockname: declare<(fd: Fd, address: Uint8Array, length: Uint32Array) => number>(
    "int getsockname(int, void *, void *)",
  ),
  setsockopt: declare<(fd: Fd, level: number, name: number, value: Uint8Array, length: number) => number>(
    "int setsockopt(int, int, int, void *, uint32_t)",
  ),
  getsockopt: declare<
    (fd: Fd, level: number, name: number, value: Uint8Array, length: Uint32Array) => number
  >("int getsockopt(int, int, int, void *, void *)"),
  send: declare<(fd: Fd, data: Uint8Array, length: number, flags: number) => number>(
    "intptr_t send(int, void *, size_t, int)",
  ),
  sendto: declare<
    (fd: Fd, data: Uint8Array, length: number, flags: number, to: Uint8Array, toLength: number) => number
  >("intptr_t sendto(int, void *, size_t, int, void *, uint32_t)"),
  sendmsg: libc.func("sendmsg", "intptr_t", ["int", koffi.pointer(msghdr), "int"]) as unknown as (
    fd: Fd,
    message: Msghdr,
    flags: number,
  ) => number,
  recv: declare<(fd: Fd, data: Uint8Array, length: number, flags: number) => number>(
    "intptr_t recv(int, void *, size_t, int)",
  ),
  recvfrom: declare<
    (
      fd: Fd,
      data: Uint8Array,
      length: number,
      flags: number,
      from: Uint8Array,
      fromLength: Uint32Array,
    ) => number
  >("intptr_t recvfrom(int, void *, size_t, int, void *, void *)"),
  close: declare<(fd: Fd) => number>("int close(int)"),
  /** fcntl(2) with commands whose argument is a number. */
  fcntl: declare<(fd: Fd, command: number, value: number) => number>("int fcntl(int, int, int)"),
  ioctl: declare<(fd: Fd, request: number, argument: Uint8Array) => number>("int ioctl(int, ulong, void *)"),
  /** ioctl(2) on a device, netdevice(7). */
  ioctlIfreq: libc.func("ioctl", "int", ["int", "ulong", koffi.pointer(ifreq)]) as unknown as (
    fd: Fd,
    request: number,
    argument: IfreqData,
  ) => number,
  /** ioctl(2) whose argument is a number. */
  ioctlValue: declare<(fd: Fd, request: number, value: number) => number>("int ioctl(int, ulong, ulong)"),
  eventfd: declare<(value: number, flags: number) => number>("int eventfd(uint, int)"),
  write: declare<(fd: Fd, data: Uint8Array, length: number) => number>("intptr_t write(int, void *, size_t)"),
  read: declare<(fd: Fd, data: Uint8Array, length: number) => number>("intptr_t read(int, void *, size_t)"),
  connect: declare<(fd: Fd, address: Uint8Array, length: number) => number>(
    "int connect(int, void *, uint32_t)",
  ),
  // Called for every packet or batch: their structs are in memory that does not move, passed by address (see addressOf).
  readv: declare<(fd: Fd, pieces: Address, count: number) => number>("intptr_t readv(int, size_t, int)"),
  writev: declare<(fd: Fd, pieces: Address, count: number) => number>("intptr_t writev(int, size_t, int)"),
  poll: declare<(fds: Address, count: number, timeoutMs: number) => number>("int poll(size_t, ulong, int)"),
  sendmmsg: declare<(fd: Fd, messages: Address, count: number, flags: number) => number>(
    "int sendmmsg(int, size_t, uint, int)",
  ),
  recvmmsg: declare<(fd: Fd, messages: Address, count: number, flags: number, timeout: Address) => number>(
    "int recvmmsg(int, size_t, uint, int, size_t)",
  ),
  unshare: declare<(flags: number) => number>("int unshare(int)"),
  setns: declare<(fd: Fd, type: number) => number>("int setns(int, int)"),
  mount: declare<
    (source: string, target: string, type: string | null, flags: number, data: string | null) => number
  >("int mount(const char *, const char *, const char *, ulong, const char *)"),
  madvise: declare<(start: Address, length: number, advice: number) => number>(
    "int madvise(size_t, size_t, int)",
  ),
  malloc_trim: declare<(padBytes: number) => number>("int malloc_trim(size_t)"),
  umount2: declare<(target: string, flags: number) => number>("int umount2(const char *, int)"),
} as const;

/**
 * Functions of OpenSSL, which Node.js links statically and exports: EVP_EncryptInit(3), EVP_MAC(3). All pointers are addresses;
 * results of 0 and below are failures.
 */
export const openssl = {
  chacha20Poly1305: declare<() => Address>("size_t EVP_chacha20_poly1305()"),
  newCipher: declare<() => Address>("size_t EVP_CIPHER_CTX_new()"),
  /** Overwrites the key before it frees the memory. */
  freeCipher: declare<(context: Address) => void>("void EVP_CIPHER_CTX_free(size_t)"),
  encryptInit: declare<
    (context: Address, cipher: Address, key: Address, nonce: Address, parameters: Address) => number
  >("int EVP_EncryptInit_ex2(size_t, size_t, size_t, size_t, size_t)"),
  decryptInit: declare<
    (context: Address, cipher: Address, key: Address, nonce: Address, parameters: Address) => number
  >("int EVP_DecryptInit_ex2(size_t, size_t, size_t, size_t, size_t)"),
  updateCipher: declare<
    (context: Address, out: Address, outBytes: Address, input: Address, bytes: number) => number
  >("int EVP_CipherUpdate(size_t, size_t, size_t, size_t, int)"),
  finishCipher: declare<(context: Address, out: Address, outBytes: Address) => number>(
    "int EVP_CipherFinal_ex(size_t, size_t, size_t)",
  ),
  getCipherParameters: declare<(context: Address, parameters: Address) => number>(
    "int EVP_CIPHER_CTX_get_params(size_t, size_t)",
  ),
  fetchMac: declare<(library: 0, name: string, properties: 0) => Address>(
    "size_t EVP_MAC_fetch(size_t, const char *, size_t)",
  ),
  newMac: declare<(mac: Address) => Address>("size_t EVP_MAC_CTX_new(size_t)"),
  initMac: declare<(context: Address, key: Address, bytes: number, parameters: Address) => number>(
    "int EVP_MAC_init(size_t, size_t, size_t, size_t)",
  ),
  updateMac: declare<(context: Address, data: Address, bytes: number) => number>(
    "int EVP_MAC_update(size_t, size_t, size_t)",
  ),
  finishMac: declare<(context: Address, out: Address, outBytes: Address, capacity: number) => number>(
    "int EVP_MAC_final(size_t, size_t, size_t, size_t)",
  ),
} as const;

/** The address of the bytes. They must not move: only for buffers of a WebAssembly.Memory that never grows. */
export const addressOf = (bytes: Uint8Array): Address => Number(koffi.address(bytes));

/** The errno of the last call (errno(3)); to be read before any other call. */
export const lastErrno = (): number => koffi.errno();

/** The SyscallError for the last call's errno. */
export function lastError(call: string, detail = ""): SyscallError {
  const errno = lastErrno();
  return new SyscallError(call, errno, errnoName(errno), detail);
}

/** Returns a result that is not negative; throws SyscallError otherwise. */
export function check(result: number, call: string, detail = ""): number {
  if (result < 0) throw lastError(call, detail);
  return result;
}

/** errno values that callers distinguish (asm-generic/errno-base.h, asm-generic/errno.h). */
export const { EINTR, EAGAIN, EADDRINUSE, ENOBUFS, ENOPROTOOPT } = koffi.os.errno as Record<
  "EINTR" | "EAGAIN" | "EADDRINUSE" | "ENOBUFS" | "ENOPROTOOPT",
  number
>;

/** A watch on a descriptor, made by {@link pollFd}. */
export interface PollHandle {
  start(callback: (status: number) => void): void;
  stop(): void;
  close(): void;
}

/**
 * Calls back from Node's own event loop (uv_poll_t) while the descriptor is readable. `status` is negative if
 * the descriptor has an error pending; libuv then stops the watch, and start() restarts it.
 */
export const pollFd = (fd: Fd, callback: (status: number) => void): PollHandle =>
  koffi.node.poll(fd, callback as never) as unknown as PollHandle;
