/** What a kernel notification says about our own objects; most of what happens on a host says nothing about them. */

import { containsPrefix, parsePrefix } from "../address/prefix.ts";
import type { Notification } from "../netlink/monitor.ts";
import { NUD_PERMANENT } from "../netlink/neighbour.ts";
import { type Route as KernelRoute, RT_TABLE_MAIN } from "../netlink/route.ts";
import type { Change, Ownership } from "./kernel.ts";
import {
  stateOfAddress,
  stateOfFdbEntry,
  stateOfLink,
  stateOfNeighbour,
  stateOfRoute,
} from "./kernel-objects.ts";
import { RTPROT_FLANNEL } from "./objects.ts";

/**
 * Undefined = nothing that concerns us. `ownDevices` maps the indexes of our devices to their names and is kept up to date here;
 * `nameOf` finds the name of another device.
 */
export function changeOf(
  notification: Exclude<Notification, { type: "overrun" }>,
  ownership: Ownership,
  ownDevices: Map<number, string>,
  nameOf: (index: number | undefined) => string,
): Change | undefined {
  const isNew = notification.change === "new";
  switch (notification.type) {
    case "link": {
      const link = notification.value;
      const formerName = ownDevices.get(link.index);
      if (!ownership.devices.has(link.name)) {
        if (formerName === undefined) return isNew && link.isUp ? undefined : touchedLink(link.name);
        // Renamed, or under its new name removed.
        return { action: "touched", object: { ...stateOfLink(link, ""), name: formerName } };
      }
      if (isNew) ownDevices.set(link.index, link.name);
      // Which lower device a removed one had cannot always be asked any more, and does not matter.
      const object = stateOfLink(link, isNew ? nameOf(link.vxlan?.lowerIndex) : "");
      return { action: isNew ? "set" : "touched", object };
    }
    case "address": {
      const { ifindex } = notification.value;
      const device = ownDevices.get(ifindex);
      if (device === undefined && !isNew) return touchedLink(nameOf(ifindex));
      const object = device === undefined ? undefined : stateOfAddress(notification.value, device);
      return object && { action: isNew ? "set" : "gone", object };
    }
    case "route": {
      const route = notification.value;
      const ownDevice = ownDevices.get(route.oif ?? 0);
      const isPerhapsOurs = ownDevice !== undefined || route.protocol === RTPROT_FLANNEL;
      const object = isPerhapsOurs
        ? stateOfRoute(route, ownDevice ?? nameOf(route.oif), ownership)
        : undefined;
      if (object !== undefined) return { action: isNew ? "set" : "gone", object };
      return isNearby(route, ownership) ? touchedRoute(route.destination) : undefined;
    }
    case "neighbour": {
      const { value } = notification;
      const device = ownDevices.get(value.ifindex);
      if (device === undefined) return undefined;
      const object = isNew ? stateOfNeighbour(value, device) : undefined;
      if (object !== undefined) return { action: "set", object };
      // Gone, or no longer permanent: what it is now says nothing about what it was.
      return { action: "touched", object: { kind: "neighbour", device, address: value.address, mac: "" } };
    }
    case "fdb": {
      const { value } = notification;
      const device = ownDevices.get(value.ifindex);
      if (device === undefined) return undefined;
      const object = isNew ? stateOfFdbEntry(value, device) : undefined;
      if (object !== undefined) return { action: "set", object };
      const isPermanent = (value.state & NUD_PERMANENT) !== 0;
      if (!isPermanent && isNew) return undefined; // learned from traffic
      return { action: "touched", object: { kind: "fdb", device, mac: value.mac, destination: "" } };
    }
  }
}

/** Whether a route of somebody else's may have taken the place of ours, or given it free: the kernel tells only of the new one. */
function isNearby(route: KernelRoute, ownership: Ownership): boolean {
  const prefix = route.table === RT_TABLE_MAIN ? parsePrefix(route.destination) : undefined;
  return prefix !== undefined && ownership.networks.some((network) => containsPrefix(network, prefix));
}

/** With another's device that goes down, or its last address, go our routes through it, and nobody is told of them. */
const touchedLink = (name: string): Change => ({
  action: "touched",
  object: { kind: "link", name, type: "foreign", linkKind: "" },
});

const touchedRoute = (destination: string): Change => ({
  action: "touched",
  object: { kind: "route", destination, device: "", via: undefined, onlink: false, protocol: 0 },
});
