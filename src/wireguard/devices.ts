/** The port of the WireGuard provider to what implements the devices: the kernel, or this process. */

import type { FlannelError } from "../base/error.ts";
import type { WireguardDevice } from "../netlink/wireguard.ts";

/** A peer as it is set, always as a whole. */
interface PeerSetting {
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array | undefined;
  /** "192.168.7.2:51820"; undefined = it stays as it is. */
  readonly endpoint: string | undefined;
  /** 0 = off. */
  readonly keepaliveSeconds: number;
  /** "10.5.2.0/24", as formatPrefix has them. */
  readonly allowedIps: readonly string[];
}

export type DeviceChange =
  | {
      readonly type: "identity";
      readonly device: string;
      readonly privateKey: Uint8Array;
      readonly listenPort: number;
    }
  | { readonly type: "peer"; readonly device: string; readonly peer: PeerSetting }
  | { readonly type: "remove peer"; readonly device: string; readonly publicKey: Uint8Array };

/** What a device has, in the kernel's terms; a device of this process knows fractions of `lastHandshakeSeconds`. */
export type ObservedDevice = WireguardDevice;

export interface WireguardDevices {
  /** Undefined = it has no such device. Throws FlannelError. */
  observe(device: string): ObservedDevice | undefined;
  /** Makes the changes in order; one result each, undefined = done. */
  apply(changes: readonly DeviceChange[]): (FlannelError | undefined)[];
}
