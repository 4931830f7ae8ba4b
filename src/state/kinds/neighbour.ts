/** Permanent neighbour entries (address → MAC) on our devices. */

import {
  deleteNeighbour,
  type Neighbour as KernelNeighbour,
  NUD_PERMANENT,
  newNeighbour,
} from "../../netlink/neighbour.ts";
import type { ObjectKind } from "../object-kind.ts";

/** A permanent neighbour entry. */
export interface Neighbour {
  readonly kind: "neighbour";
  readonly device: string;
  readonly address: string;
  readonly mac: string;
}

/** What the kernel resolved or noted by itself is not ours. */
const stateOfNeighbour = ({ state, mac, address }: KernelNeighbour, device: string): Neighbour | undefined =>
  state === NUD_PERMANENT && mac !== undefined ? { kind: "neighbour", device, address, mac } : undefined;

/** Key: device and address. Observed with RTM_GETNEIGH; entries that the kernel resolved by itself are left alone. */
export const neighbour: ObjectKind<Neighbour> = {
  kind: "neighbour",
  key: ({ device, address }) => `neighbour ${device} ${address}`,
  device: ({ device }) => device,
  describe: ({ device, address, mac }) => `neighbour ${address} lladdr ${mac} dev ${device}`,
  netlink: {
    async observe({ own, rtnetlink, yieldToOthers }) {
      const found: Neighbour[] = [];
      for (const { index, name } of own) {
        for (const each of rtnetlink.neighbours({ ifindex: index }))
          found.push(...[stateOfNeighbour(each, name)].filter((object) => object !== undefined));
        await yieldToOthers();
      }
      return found;
    },
    change: {
      how: "batched",
      requests({ action, object: { device, address, mac } }, { indexOf }) {
        const spec = { ifindex: indexOf(device), address, mac };
        return [action === "remove" ? deleteNeighbour(spec) : newNeighbour(spec)];
      },
    },
    readNotice(notification, { ownDevices }) {
      if (notification.type !== "neighbour") return [];
      const { value } = notification;
      const device = ownDevices.get(value.ifindex);
      if (device === undefined) return [];
      const object = notification.change === "new" ? stateOfNeighbour(value, device) : undefined;
      if (object !== undefined) return [{ action: "set", object }];
      // Gone, or no longer permanent: what it is now says nothing about what it was.
      return [{ action: "touched", object: { kind: "neighbour", device, address: value.address, mac: "" } }];
    },
  },
};
