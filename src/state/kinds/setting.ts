/** Settings of our devices that rtnetlink does not carry: sysctl(8) and ethtool(8). */

import { type DeviceSettings, SETTING_NAMES, type SettingName } from "../device-settings.ts";
import type { ObjectKind } from "../object-kind.ts";

/** A setting of one of our devices. */
export interface DeviceSetting {
  readonly kind: "setting";
  readonly device: string;
  readonly name: SettingName;
  readonly on: boolean;
}

/** All known settings of a device; those that it does not have are missing. */
export const settingsOf = (settings: DeviceSettings, device: string): DeviceSetting[] =>
  SETTING_NAMES.flatMap((name) => {
    const on = settings.read(device, name);
    return on === undefined ? [] : [{ kind: "setting", device, name, on } as const];
  });

/**
 * Key: device and name. Read and written through {@link DeviceSettings}; there is no notification, so drift shows at
 * the next resync.
 */
export const setting: ObjectKind<DeviceSetting> = {
  kind: "setting",
  key: ({ device, name }) => `setting ${device} ${name}`,
  device: ({ device }) => device,
  describe: ({ device, name, on }) =>
    name === "tx-checksum-ip-generic"
      ? `${name} ${on ? "on" : "off"} dev ${device}`
      : `sysctl net.ipv6.conf.${device}.${name}=${on ? 1 : 0}`,
  isKeptWhenUndesired: true,
  advise: ({ object }) =>
    object.name === "tx-checksum-ip-generic"
      ? "the device does not allow it: take Backend.DisableTxChecksum out of the network config"
      : undefined,
  netlink: {
    observe: ({ own, settings }) => own.flatMap(({ name }) => settingsOf(settings, name)),
    change: {
      how: "at once",
      apply({ object: { device, name, on } }, { indexOf, settings }) {
        indexOf(device); // refuses a device that is missing or has become a foreign one
        settings.write(device, name, on);
      },
    },
  },
};
