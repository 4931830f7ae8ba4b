/** What a lab needs of the machine, checked before anything is made, all that is missing named at once. */

import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { BackendConfig } from "../../backend/backends.ts";
import { ConfigError, FlannelError } from "../../base/error.ts";
import { findCharon } from "../../ipsec/charon.ts";
import { hasEsp } from "../../linux/esp.ts";
import { hasLinkType } from "../../linux/link-types.ts";
import { openRtnetlink } from "../../linux/netlink-socket.ts";

/** Backends that are named as the type of their devices. */
const LINK_TYPES = ["vxlan", "ipip"] as const;

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

/** Throws FlannelError ENOTSUP with the remedy if the kernel cannot create the devices of this backend. */
export function requireDevices(backend: BackendConfig): void {
  // WireGuard runs in flanneld where the kernel has none, unless the config excludes that.
  if (backend.type === "ipsec") requireIpsec();
  const isKernelWireguard = backend.type === "wireguard" && backend.implementation === "kernel";
  const kind = isKernelWireguard ? "wireguard" : LINK_TYPES.find((type) => type === backend.type);
  if (kind === undefined) return;
  using rtnetlink = openRtnetlink();
  if (hasLinkType(rtnetlink, kind)) return;
  throw new FlannelError(
    "ENOTSUP",
    `this machine's kernel has no ${kind} devices, which the backend needs: load them with 'modprobe ${kind}', use a kernel that has them, or choose another --backend`,
  );
}

/** Throws FlannelError: ENOENT without charon, ENOTSUP if the kernel has no ESP. */
function requireIpsec(): void {
  findCharon();
  if (hasEsp()) return;
  throw new FlannelError(
    "ENOTSUP",
    "this machine's kernel has no IPsec (ESP), which the backend needs: load it with 'modprobe -a esp4 xfrm_user', use a kernel that has it, or choose another --backend",
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
    return statSync(path).isFile(); // a directory can be “executed”, too
  } catch {
    return false;
  }
}
