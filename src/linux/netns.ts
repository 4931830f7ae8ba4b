/**
 * Network namespaces (network_namespaces(7), setns(2)), named as `ip netns` does: bind mounts in /run/netns.
 *
 * Entering one changes only the calling thread, so everything here is synchronous: nothing else runs on the main
 * thread meanwhile. Descriptors opened inside belong to that namespace until they are closed.
 */

import { closeSync, fstatSync, openSync, rmSync, statSync } from "node:fs";
import { makeDirectory } from "../base/make-directory.ts";
import { check, sys } from "./ffi.ts";

/** Where named namespaces are. */
const NETNS_DIRECTORY = "/run/netns";
/** The namespace of the calling thread (proc(5)). */
const OWN_NETNS = "/proc/thread-self/ns/net";

// linux/sched.h, linux/mount.h
const CLONE_NEWNET = 0x4000_0000;
const MS_BIND = 0x1000;
const MS_REC = 0x4000;
const MS_SHARED = 1 << 20;
const MNT_DETACH = 2;

/** The path of a named namespace. */
export const netnsPath = (name: string): string => `${NETNS_DIRECTORY}/${name}`;

/**
 * Creates a named namespace, with lo down, as `ip netns add` does. Throws SyscallError: EPERM without root;
 * EEXIST if the name exists.
 */
export function createNetns(name: string): void {
  shareNetnsDirectory();
  const path = netnsPath(name);
  closeSync(openSync(path, "wx", 0o444));
  const fd = openSync(OWN_NETNS, "r");
  try {
    check(sys.unshare(CLONE_NEWNET), "unshare", "a new network namespace needs root");
    try {
      check(sys.mount(OWN_NETNS, path, "none", MS_BIND, null), "mount", path);
    } finally {
      check(sys.setns(fd, CLONE_NEWNET), "setns");
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** Deletes the name; the kernel deletes the namespace when nothing uses it any more. No error if it does not exist. */
export function deleteNetns(name: string): void {
  const path = netnsPath(name);
  sys.umount2(path, MNT_DETACH); // fails on a stale file without a mount, which only has to be removed
  rmSync(path, { force: true });
}

/**
 * Runs `inside` in the namespace at `path` and returns its result. Not for async functions: after their first `await` they
 * would continue in the caller's namespace. Throws ENOENT (no such namespace), SyscallError.
 */
export function withNetns<T>(path: string, inside: () => T): T {
  const target = openSync(path, "r");
  try {
    const own = openSync(OWN_NETNS, "r");
    try {
      check(sys.setns(target, CLONE_NEWNET), "setns", path);
      try {
        return inside();
      } finally {
        check(sys.setns(own, CLONE_NEWNET), "setns");
      }
    } finally {
      closeSync(own);
    }
  } finally {
    closeSync(target);
  }
}

/**
 * Whether the device or socket behind `fd` belongs to the caller's namespace. `request` is the ioctl that opens its
 * namespace; true on kernels without that ioctl.
 */
export function isOfOwnNetns(fd: number, request: number): boolean {
  const netns = sys.ioctlValue(fd, request, 0);
  if (netns < 0) return true;
  try {
    return fstatSync(netns).ino === statSync(OWN_NETNS).ino;
  } finally {
    closeSync(netns);
  }
}

/** Makes /run/netns a shared mount, so that names appear and disappear in all mount namespaces (as iproute2 does). */
function shareNetnsDirectory(): void {
  makeDirectory(NETNS_DIRECTORY);
  if (sys.mount("", NETNS_DIRECTORY, "none", MS_SHARED | MS_REC, null) === 0) return;
  check(
    sys.mount(NETNS_DIRECTORY, NETNS_DIRECTORY, "none", MS_BIND | MS_REC, null),
    "mount",
    NETNS_DIRECTORY,
  );
  check(sys.mount("", NETNS_DIRECTORY, "none", MS_SHARED | MS_REC, null), "mount", NETNS_DIRECTORY);
}
