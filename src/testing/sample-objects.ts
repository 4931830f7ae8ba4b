/** Objects of a host in a vxlan network for itself and one peer, 10.5.2.0/24 at 192.168.7.2 (for tests). */

import {
  type DeviceAddress,
  type FdbEntry,
  keyOf,
  type Neighbour,
  type Route,
  RTPROT_FLANNEL,
  type State,
  type StateObject,
  type VxlanLink,
} from "../state/objects.ts";

export const LINK: VxlanLink = {
  kind: "link",
  name: "flannel.1",
  type: "vxlan",
  vni: 1,
  lower: "eth0",
  local: "192.168.7.1",
  port: 8472,
  learning: false,
  gbp: false,
  mtuBytes: 1450,
  mac: "02:00:00:00:00:01",
  up: true,
};

export const ADDRESS: DeviceAddress = { kind: "address", device: "flannel.1", address: "10.5.1.0/32" };

export const FDB: FdbEntry = {
  kind: "fdb",
  device: "flannel.1",
  mac: "02:00:00:00:01:02",
  destination: "192.168.7.2",
};

export const NEIGHBOUR: Neighbour = {
  kind: "neighbour",
  device: "flannel.1",
  address: "10.5.2.0",
  mac: "02:00:00:00:01:02",
};

export const ROUTE: Route = {
  kind: "route",
  destination: "10.5.2.0/24",
  device: "flannel.1",
  via: "10.5.2.0",
  onlink: true,
  protocol: RTPROT_FLANNEL,
};

export const stateOf = (objects: readonly StateObject[]): State =>
  new Map(objects.map((object) => [keyOf(object), object]));
