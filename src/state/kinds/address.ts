/** Addresses on our devices. */

import { hasCode } from "../../base/error.ts";
import { deleteAddress, type InterfaceAddress, newAddress } from "../../netlink/address.ts";
import type { ObjectKind } from "../object-kind.ts";
import { touchedLink } from "./link.ts";

/** linux/if_addr.h: no duplicate address detection, which an address on a tunnel would have to wait for. */
const IFA_F_NODAD = 0x02;

/** An address on one of our devices. */
export interface DeviceAddress {
  readonly kind: "address";
  readonly device: string;
  /** "10.5.1.0/32". */
  readonly address: string;
}

/** The kernel's own link-local addresses are not ours. */
const stateOfAddress = ({ family, address, prefix }: InterfaceAddress, device: string): DeviceAddress[] =>
  family === 6 && address.startsWith("fe80:") ? [] : [{ kind: "address", device, address: prefix }];

/** Key: device and address. Observed with RTM_GETADDR; link-local addresses of the kernel are not ours. */
export const address: ObjectKind<DeviceAddress> = {
  kind: "address",
  key: ({ device, address }) => `address ${device} ${address}`,
  device: ({ device }) => device,
  describe: ({ device, address }) => `address ${address} dev ${device}`,
  // With the last address of a device the kernel drops its routes (net/ipv4/fib_frontend.c).
  removesOthersSilently: true,
  advise({ action, object }, error) {
    if (object.address.includes(":") && hasCode(error, "EACCES"))
      return `IPv6 is switched off on ${object.device}: 'sysctl -w net.ipv6.conf.all.disable_ipv6=0', or take EnableIPv6 out of the network config`;
    if (action === "create" && hasCode(error, "EOPNOTSUPP"))
      return "this kernel has no IPv6: take EnableIPv6 out of the network config";
    return undefined;
  },
  netlink: {
    observe: ({ own, rtnetlink }) =>
      own.flatMap(({ index, name }) =>
        rtnetlink.addresses({ ifindex: index }).flatMap((each) => stateOfAddress(each, name)),
      ),
    change: {
      how: "batched",
      requests({ action, object }, { indexOf }) {
        const flags = object.address.includes(":") ? IFA_F_NODAD : undefined;
        const spec = { ifindex: indexOf(object.device), prefix: object.address, ...(flags && { flags }) };
        return [action === "remove" ? deleteAddress(spec) : newAddress(spec)];
      },
    },
    readNotice(notification, { ownDevices, nameOf }) {
      if (notification.type !== "address") return [];
      const isNew = notification.change === "new";
      const { ifindex } = notification.value;
      const device = ownDevices.get(ifindex);
      if (device === undefined) return isNew ? [] : [touchedLink(nameOf(ifindex))];
      return stateOfAddress(notification.value, device).map((object) => ({
        action: isNew ? "set" : "gone",
        object,
      }));
    },
  },
};
