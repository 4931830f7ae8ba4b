/** Operations as rtnetlink requests. */

import { deleteAddress, newAddress } from "../netlink/address.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import { deleteFdbEntry, deleteNeighbour, newFdbEntry, newNeighbour } from "../netlink/neighbour.ts";
import { deleteRoute, newRoute, type RouteSpec } from "../netlink/route.ts";
import type { Operation } from "./kernel.ts";
import { describeObject, type Route } from "./objects.ts";

/** The requests for anything but a link; `indexOf` throws if there is no such device. */
export function requestsOf(operation: Operation, indexOf: (device: string) => number): NetlinkRequest[] {
  const { action, object } = operation;
  const isRemoval = action === "remove";
  switch (object.kind) {
    case "address": {
      const spec = { ifindex: indexOf(object.device), prefix: object.address };
      return [isRemoval ? deleteAddress(spec) : newAddress(spec)];
    }
    case "neighbour": {
      const spec = { ifindex: indexOf(object.device), address: object.address, mac: object.mac };
      return [isRemoval ? deleteNeighbour(spec) : newNeighbour(spec)];
    }
    case "fdb": {
      const spec = { ifindex: indexOf(object.device), mac: object.mac, destination: object.destination };
      return [isRemoval ? deleteFdbEntry(spec) : newFdbEntry(spec)];
    }
    case "route": {
      const spec = routeSpecOf(object, indexOf);
      // A removal names every field, so that only exactly this route can go; a creation takes nobody's place.
      if (isRemoval) return [deleteRoute(spec)];
      if (operation.action !== "replace" || operation.previous.kind !== "route") return [newRoute(spec)];
      // NLM_F_REPLACE would take the place of the first route to the destination, which may be another's.
      return [newRoute(spec, "append"), deleteRoute(routeSpecOf(operation.previous, indexOf))];
    }
    case "link":
      throw new Error(`not for links: ${describeObject(object)}`);
  }
}

const routeSpecOf = (route: Route, indexOf: (device: string) => number): RouteSpec => ({
  destination: route.destination,
  oif: indexOf(route.device),
  gateway: route.via,
  onlink: route.onlink,
  protocol: route.protocol,
});
