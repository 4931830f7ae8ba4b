/** Kernel parameters of the network (sysctl, /proc/sys/net; proc(5)). Each network namespace has its own. */

import { accessSync, constants, readFileSync, writeFileSync } from "node:fs";
import { FlannelError, hasCode, messageOf } from "../base/error.ts";
import { withNetns } from "./netns.ts";

/** Which namespace: a path, e.g. /run/netns/h1; default the caller's. */
interface Where {
  readonly netns?: string | undefined;
}

/**
 * Reads a parameter as text without the final newline; undefined if it does not exist (module not loaded, device deleted,
 * kernel without IPv6). `key` has slashes, because device names may contain dots: "ipv4/conf/flannel.1/rp_filter".
 * Throws FlannelError with the errno's name, TypeError for an invalid key.
 */
export function readSysctl(key: string, where: Where = {}): string | undefined {
  try {
    return inNamespace(where, () => readFileSync(pathOf(key), "utf8").trimEnd());
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw sysctlError(`failed to read sysctl net/${key}`, error);
  }
}

/**
 * Sets a parameter unless it has the value already: a read-only /proc/sys (containers) then does no harm. Throws
 * FlannelError with the errno's name (EROFS, EACCES, ENOENT).
 */
export function writeSysctl(key: string, value: string, where: Where = {}): void {
  try {
    inNamespace(where, () => {
      const path = pathOf(key);
      if (readFileSync(path, "utf8").trimEnd() !== value) writeFileSync(path, value);
    });
  } catch (error) {
    throw sysctlError(`failed to set sysctl net/${key} to ${value}`, error);
  }
}

/** Whether an existing parameter can be set: false where /proc/sys is read-only (containers). */
export function isSysctlWritable(key: string, where: Where = {}): boolean {
  try {
    inNamespace(where, () => accessSync(pathOf(key), constants.W_OK));
    return true;
  } catch {
    return false;
  }
}

const inNamespace = <T>({ netns }: Where, run: () => T): T =>
  netns === undefined ? run() : withNetns(netns, run);

function pathOf(key: string): string {
  if (!/^[^/.][^/]*(\/[^/.][^/]*)+$/.test(key))
    throw new TypeError(`not a sysctl key: ${JSON.stringify(key)}`);
  return `/proc/sys/net/${key}`;
}

const sysctlError = (failure: string, cause: unknown): FlannelError =>
  new FlannelError(
    typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "EIO",
    `${failure}: ${messageOf(cause)}`,
    { cause },
  );
