/**
 * The best-known failure of a flannel node: the bridge (cni0) still has the address of another subnet, from an earlier
 * installation or an earlier podCIDR of the node. The bridge plugin's error names the expected address only; this adds the
 * address that the device has and the remedy. Reads /proc/net, which is of the plugin's own network namespace (proc(5)).
 */

import { formatIp, ipFromBytes } from "../address/ip.ts";
import { formatPrefix, parsePrefix, samePrefix } from "../address/prefix.ts";
import { CniError } from "./cni-error.ts";
import type { DelegateConfig } from "./delegate-config.ts";
import type { System } from "./system.ts";

/** bridge's ensureAddr: it quotes the device and names the address that it wants to set. */
const OTHER_ADDRESS = /"([^"]+)" already has an IP address different from ([\d.]+\/\d+|[\da-fA-F:.]+\/\d+)/;
/** bridge's bridgeByName. */
const OTHER_KIND = /"?([^\s":]+)"? already exists but is not a bridge/;

/** bridge up to 1.1, on a bridge without ports and MAC address: what an ADD leaves that failed before it had an address. */
const NO_MAC = "could not set bridge's mac: invalid argument";
/** The bridge plugin's default for `bridge`. */
const DEFAULT_BRIDGE = "cni0";

/** The delegate's error with address, expected subnet and remedy if it is such a conflict; any other error as it is. */
export function explainBridgeConflict(
  error: unknown,
  delegate: DelegateConfig,
  system: Pick<System, "readProcFile">,
): unknown {
  if (!(error instanceof CniError)) return error;
  const readProc = (path: string): string | undefined => readText(system, path);
  const details = [error.message, error.details].filter((text) => text !== "").join("; ");
  const other = OTHER_ADDRESS.exec(error.message);
  if (other !== null) {
    const [, device, expected] = other as unknown as [string, string, string];
    const found = addressesOf(device, expected.includes(":"), readProc).filter((text) => text !== expected);
    const has = found.length === 0 ? "an address of another subnet" : found.join(", ");
    const subnet = parsePrefix(expected);
    return new CniError(
      error.cniCode,
      `bridge ${JSON.stringify(device)} has ${has}, but this node's subnet is ` +
        `${subnet === undefined ? expected : formatPrefix(subnet)} (expected address ${expected}): the bridge is from an ` +
        `earlier installation or an earlier subnet of this node. Once no pod uses it any more (ip link show master ${device} ` +
        `lists nothing), delete it: ip link delete ${device}; the next ADD creates it`,
      details,
      { cause: error },
    );
  }
  if (error.message.includes(NO_MAC)) {
    const device = typeof delegate.bridge === "string" ? delegate.bridge : DEFAULT_BRIDGE;
    return new CniError(
      error.cniCode,
      `bridge ${JSON.stringify(device)} has no MAC address, because an earlier ADD failed after creating it, and the bridge ` +
        `plugin cannot use it: delete it: ip link delete ${device}; the next ADD creates it`,
      details,
      { cause: error },
    );
  }
  const device = OTHER_KIND.exec(error.message)?.[1];
  if (device === undefined) return error;
  return new CniError(
    error.cniCode,
    `device ${JSON.stringify(device)} exists but is not a bridge, so no pod can be attached to it: delete it (ip link delete ` +
      `${device}) if it is not in use, or set another name with "bridge" in the network config's delegate`,
    details,
    { cause: error },
  );
}

/** Addresses of a device with their prefix lengths, as far as /proc/net shows them. */
function addressesOf(
  device: string,
  isIpv6: boolean,
  readProc: (path: string) => string | undefined,
): string[] {
  return isIpv6 ? ipv6Addresses(device, readProc) : ipv4Addresses(device, readProc);
}

/** Lines of `address ifindex length scope flags device`, numbers in hexadecimal. Link-local addresses are left out. */
function ipv6Addresses(device: string, readProc: (path: string) => string | undefined): string[] {
  const lines = (readProc("/proc/net/if_inet6") ?? "").split("\n").map((line) => line.trim().split(/\s+/));
  return lines
    .filter(([, , , scope, , name]) => name === device && scope !== "20")
    .map(([address = "", , length = ""]) => {
      const ip = ipFromBytes(bytesOf(address));
      return ip === undefined ? "" : `${formatIp(ip)}/${Number.parseInt(length, 16)}`;
    })
    .filter((text) => text !== "");
}

/**
 * The device's routes without a gateway give its subnets (/proc/net/route: little-endian hexadecimal), the local addresses
 * inside them are its own (/proc/net/fib_trie lists them without a device).
 */
function ipv4Addresses(device: string, readProc: (path: string) => string | undefined): string[] {
  const routes = (readProc("/proc/net/route") ?? "").split("\n").map((line) => line.split(/\s+/));
  const subnets = routes
    .filter(([name, , gateway]) => name === device && gateway === "00000000")
    .map(([, destination = "", , , , , , mask = ""]) => parsePrefix(`${dotted(destination)}/${bitsOf(mask)}`))
    .filter((subnet) => subnet !== undefined);
  const trie = readProc("/proc/net/fib_trie") ?? "";
  const local = [...trie.matchAll(/\|-- (\S+)\n\s+\/32 host LOCAL/g)].map(([, address]) => address!);
  const pairs = subnets.flatMap((subnet) =>
    local
      .map((address) => `${address}/${subnet.length}`)
      .filter((text) => samePrefix(parsePrefix(text)!, subnet)),
  );
  return [...new Set(pairs)];
}

const bytesOf = (hexadecimal: string): Uint8Array =>
  Uint8Array.from(hexadecimal.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));

const dotted = (hexadecimal: string): string =>
  (hexadecimal.match(/../g) ?? [])
    .reverse()
    .map((byte) => Number.parseInt(byte, 16))
    .join(".");

const bitsOf = (mask: string): number =>
  Number.parseInt(mask || "0", 16)
    .toString(2)
    .replaceAll("0", "").length;

/** undefined = it cannot be read. */
function readText(system: Pick<System, "readProcFile">, path: string): string | undefined {
  try {
    return system.readProcFile(path);
  } catch {
    return undefined;
  }
}
