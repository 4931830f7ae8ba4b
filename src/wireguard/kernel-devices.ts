/** WireGuard devices of the kernel, over generic netlink (linux/wireguard.h). */

import { FlannelError, hasCode, isNotFound } from "../base/error.ts";
import type { NetlinkConnection } from "../netlink/connection.ts";
import { findGenericFamily } from "../netlink/generic.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import {
  decodeWireguardDevice,
  getWireguardDevice,
  removeWireguardPeer,
  setWireguardDevice,
  setWireguardPeer,
  WG_GENL_NAME,
} from "../netlink/wireguard.ts";
import type { DeviceChange, ObservedDevice, WireguardDevices } from "./devices.ts";

export class KernelDevices implements WireguardDevices {
  readonly #connection: NetlinkConnection;
  /** Number of the generic netlink family; undefined = not known (the module may be loaded later). */
  #family: number | undefined;

  /** `connection`: to generic netlink (NETLINK_GENERIC). */
  constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** Whether the kernel has WireGuard; asking loads its module if there is one. Throws NetlinkError. */
  get isAvailable(): boolean {
    return this.#findFamily() !== undefined;
  }

  observe(device: string): ObservedDevice | undefined {
    const family = this.#findFamily();
    if (family === undefined) return undefined;
    try {
      return decodeWireguardDevice(this.#connection.dump(getWireguardDevice(family, device)));
    } catch (error) {
      // No such device, or one of another type.
      if (!isNotFound(error) && !hasCode(error, "EOPNOTSUPP")) throw error;
      this.#forgetFamily(error);
      return undefined;
    }
  }

  apply(changes: readonly DeviceChange[]): (FlannelError | undefined)[] {
    const family = this.#findFamily();
    if (family === undefined)
      return changes.map(() => new FlannelError("EOPNOTSUPP", "this kernel has no WireGuard"));
    const errors = this.#connection.batch(changes.map((change) => requestOf(family, change)));
    for (const error of errors) this.#forgetFamily(error);
    return errors;
  }

  #findFamily(): number | undefined {
    this.#family ??= findGenericFamily(this.#connection, WG_GENL_NAME);
    return this.#family;
  }

  /** ENOENT = there is no family of that number: the module was loaded again, and has another one. */
  #forgetFamily(error: unknown): void {
    if (hasCode(error, "ENOENT")) this.#family = undefined;
  }
}

function requestOf(family: number, change: DeviceChange): NetlinkRequest {
  const { device } = change;
  if (change.type === "identity") return setWireguardDevice(family, device, change);
  if (change.type === "peer") return setWireguardPeer(family, device, change.peer);
  return removeWireguardPeer(family, device, change.publicKey);
}
