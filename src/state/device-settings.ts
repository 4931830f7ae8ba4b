/** The port to settings of devices that rtnetlink does not carry: sysctl(8), ethtool(8). */

/** The settings that flanneld knows. */
export const SETTING_NAMES = [
  /** Router advertisements change the host's routes and addresses (sysctl net.ipv6.conf.DEVICE.accept_ra). */
  "accept_ra",
  /** There is no IPv6 on the device (sysctl net.ipv6.conf.DEVICE.disable_ipv6). */
  "disable_ipv6",
  /** Checksums of sent packets are left to the device (ethtool(8), tx-checksum-ip-generic). */
  "tx-checksum-ip-generic",
] as const;

/** The name of a setting, as sysctl(8) or ethtool(8) spells it. */
export type SettingName = (typeof SETTING_NAMES)[number];

/** Reads and writes the settings; implemented on sysctl(8) files and the ethtool ioctl (linux/), or by a fake. */
export interface DeviceSettings {
  /** Undefined = there is no such setting, or no such device. */
  read(device: string, name: SettingName): boolean | undefined;
  /** Throws FlannelError. */
  write(device: string, name: SettingName, on: boolean): void;
}
