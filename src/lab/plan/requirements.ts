/** What a lab needs of the machine, checked before anything is made, all that is missing named at once. */

import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { ConfigError, FlannelError } from "../../base/error.ts";

/** Program → Debian package. */
const PACKAGES = {
  etcd: "etcd-server",
  nft: "nftables",
  openssl: "openssl",
  ping: "iputils-ping",
} as const;
export type Tool = keyof typeof PACKAGES;

/** Throws FlannelError EPERM unless we are root. */
export function requireRoot(): void {
  if (process.geteuid?.() !== 0) {
    throw new FlannelError(
      "EPERM",
      "a lab is made of network namespaces, which only root can make: use sudo",
    );
  }
}

/** Throws FlannelError ENOENT that says which packages to install. */
export function requireTools(tools: readonly Tool[]): void {
  const missing = tools.filter((tool) => !isInstalled(tool));
  if (missing.length === 0) return;
  const packages = missing.map((tool) => PACKAGES[tool]).join(" ");
  throw new FlannelError(
    "ENOENT",
    `not installed: ${missing.join(", ")}; on Debian: apt-get install ${packages}`,
  );
}

/** Throws FlannelError ENOTSUP if the kernel was started without IPv6. */
export function requireIpv6(): void {
  if (existsSync("/proc/sys/net/ipv6")) return;
  throw new FlannelError(
    "ENOTSUP",
    "this machine's kernel has no IPv6 (ipv6.disable=1 on its command line?): use a network config without it",
  );
}

/** Throws ConfigError unless the program can be run. */
export function requireProgram(path: string, flag: string): void {
  if (!isExecutable(path)) throw new ConfigError(`${flag}: ${path} is not an executable file`);
}

const isInstalled = (tool: Tool): boolean =>
  (process.env.PATH ?? "").split(delimiter).some((directory) => isExecutable(join(directory, tool)));

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
