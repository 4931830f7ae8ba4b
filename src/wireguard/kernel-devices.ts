/** WireGuard devices of the kernel, over generic netlink (linux/wireguard.h). */

import { FlannelError, hasCode, isNotFound } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { NetlinkConnection } from "../netlink/connection.ts";
import { findGenericFamily } from "../netlink/generic.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import {
  decodeWireguardDevice,
  getWireguardDevice,
  peerBytes,
  removeWireguardPeer,
  setWireguardDevice,
  setWireguardPeers,
  WG_GENL_NAME,
} from "../netlink/wireguard.ts";
import type { DeviceChange, ObservedDevice, WireguardDevices } from "./devices.ts";

/** What peers in one message may take: half of what an attribute can hold (its length has 16 bits). */
const MESSAGE_BYTES = 32 * 1024;

export class KernelDevices implements WireguardDevices {
  readonly #connection: NetlinkConnection;
  /** Number of the generic netlink family; undefined = not known (the module may be loaded later). */
  #family: number | undefined;

  readonly #logger: Pick<Logger, "info"> | undefined;
  readonly #logged = new Set<string>();

  /** `connection`: to generic netlink (NETLINK_GENERIC). */
  constructor(connection: NetlinkConnection, logger?: Pick<Logger, "info">) {
    this.#connection = connection;
    this.#logger = logger;
  }

  /** Whether the kernel has WireGuard; asking loads its module if there is one. Throws NetlinkError. */
  get isAvailable(): boolean {
    return this.#findFamily() !== undefined;
  }

  observe(device: string): ObservedDevice | undefined {
    const family = this.#findFamily();
    if (family === undefined) return undefined;
    try {
      const observed = decodeWireguardDevice(this.#connection.dump(getWireguardDevice(family, device)));
      if (observed.publicKey !== undefined && !this.#logged.has(device)) {
        this.#logged.add(device);
        this.#logger?.info(`WireGuard on ${device} by the kernel, UDP port ${observed.listenPort}`);
      }
      return observed;
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
    const results = new Array<FlannelError | undefined>(changes.length).fill(undefined);
    const packs = packed(changes);
    const errors = this.#connection.batch(packs.map((pack) => requestOf(family, pack.changes)));
    // The kernel does not say which peer of a message it refused: each is sent alone.
    for (const [index, { first, changes: inPack }] of packs.entries()) {
      const error = errors[index];
      if (error === undefined) continue;
      const alone =
        inPack.length === 1
          ? [error]
          : this.#connection.batch(inPack.map((change) => requestOf(family, [change])));
      for (const [at, each] of alone.entries()) results[first + at] = each;
    }
    for (const error of results) this.#forgetFamily(error);
    return results;
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

/** Changes that go into one message. */
interface Pack {
  /** Position of the first of them. */
  readonly first: number;
  readonly changes: DeviceChange[];
}

/** Puts peers of one device that follow each other together. */
function packed(changes: readonly DeviceChange[]): Pack[] {
  const packs: Pack[] = [];
  let bytes = 0;
  for (const [first, change] of changes.entries()) {
    const size = change.type === "peer" ? peerBytes(change.peer) : 0;
    const last = packs.at(-1);
    const [head] = last?.changes ?? [];
    const fits = change.type === "peer" && head?.type === "peer" && head.device === change.device;
    if (last !== undefined && fits && bytes + size <= MESSAGE_BYTES) last.changes.push(change);
    else {
      packs.push({ first, changes: [change] });
      bytes = 0;
    }
    bytes += size;
  }
  return packs;
}

/** `changes`: some peers of one device, or one change. */
function requestOf(family: number, changes: readonly DeviceChange[]): NetlinkRequest {
  const [change] = changes as readonly [DeviceChange];
  const { device } = change;
  if (change.type === "identity") return setWireguardDevice(family, device, change);
  if (change.type === "remove peer") return removeWireguardPeer(family, device, change.publicKey);
  return setWireguardPeers(
    family,
    device,
    changes.flatMap((each) => (each.type === "peer" ? [each.peer] : [])),
  );
}
