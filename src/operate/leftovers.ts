/**
 * Everything of flannel's in the kernel of this host, created by Go's flannel or this one with any backend, and how each
 * object is removed.
 *
 * The reconciler removes what it knows, with an empty desired state. The rest is: devices of other types than it creates,
 * routes with our protocol number that it would not create, and the routes of Go flannel's host-gw, which are not marked.
 */

import { familyName } from "../address/family.ts";
import { containsPrefix, parsePrefix } from "../address/prefix.ts";
import { FLANNEL_DEVICES } from "../backend/backends.ts";
import { type FlannelError, isNotFound } from "../base/error.ts";
import type { SubnetEnv } from "../config/subnet-env.ts";
import { deleteLink, type Link } from "../netlink/link.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import {
  deleteRoute,
  type Route,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  RTPROT_BOOT,
  RTPROT_KERNEL,
} from "../netlink/route.ts";
import { diffStates } from "../state/diff.ts";
import { stateOfRoute } from "../state/kinds/route.ts";
import {
  describeObject,
  keyOf,
  RTPROT_FLANNEL,
  type StateKind,
  type StateOperation,
  sameObject,
} from "../state/objects.ts";
import { observeAll } from "../state/provider.ts";
import type { HostKernel } from "./operate-ports.ts";

/** One object of flannel's. */
export interface Leftover {
  /** In the words of ip(8) and bridge(8). */
  readonly text: string;
  readonly removal: StateOperation | NetlinkRequest;
}

/** What an earlier flanneld has left on this host. */
export interface Leftovers {
  /** In the order of their removal. */
  readonly objects: readonly Leftover[];
  /** Devices with a name of flannel's and another type. */
  readonly foreign: readonly string[];
}

const KINDS: ReadonlySet<StateKind> = new Set(["link", "address", "fdb", "neighbour", "route"]);

const POLICIES: ReadonlySet<StateKind> = new Set(["xfrm-policy"]);

/** Observes. Without subnet.env, IPsec policies and host-gw routes of Go flannel cannot be distinguished from foreign ones. */
export async function findLeftovers(
  { rtnetlink, kernel, providers }: HostKernel,
  subnetEnv: Pick<SubnetEnv, "network" | "subnets"> | undefined,
): Promise<Leftovers> {
  const links = rtnetlink.links();
  const nameOf = (index: number | undefined): string =>
    links.find((link) => link.index === index)?.name ?? "";
  const named = links.filter(({ name }) => FLANNEL_DEVICES.some((each) => each.name.test(name)));
  const own = named.filter(isOfFlannelsKind);
  const [tunnels, others] = [own.filter(isVxlan), own.filter((link) => !isVxlan(link))];

  const ownership = { devices: new Set(tunnels.map(({ name }) => name)), networks: [] };
  const observed = await kernel.observe(ownership, KINDS);
  // Policies that nothing serves any more drop the packets between the subnets.
  const networks = [subnetEnv?.network.ipv4].filter((prefix) => prefix !== undefined);
  observed.push(...(await observeAll(providers, { devices: new Set(), networks }, POLICIES)));
  const { operations } = diffStates(new Map(), new Map(observed.map((object) => [keyOf(object), object])));
  const planned = new Map(operations.map(({ object }) => [keyOf(object), object]));
  const isPlanned = (route: Route): boolean => {
    const object = stateOfRoute(route, nameOf(route.oif), ownership);
    const same = object && planned.get(keyOf(object));
    return same !== undefined && sameObject(same, object!);
  };
  const routes = rtnetlink.routes().filter((route) => {
    const isThroughOwn = route.protocol !== RTPROT_KERNEL && own.some(({ index }) => index === route.oif);
    const isOurs = route.protocol === RTPROT_FLANNEL || isThroughOwn || isOfGoHostGateway(route, subnetEnv);
    return isOurs && !isPlanned(route);
  });
  return {
    objects: [
      ...routes.map((route) => ({ text: routeText(route, nameOf(route.oif)), removal: removalOf(route) })),
      ...operations.map((operation) => ({ text: describeObject(operation.object), removal: operation })),
      ...others.map(({ name, kind, index }) => ({
        text: `device ${name} (${kind})`,
        removal: deleteLink(index),
      })),
    ],
    foreign: named
      .filter((link) => !own.includes(link))
      .map(({ name, kind }) => `${name} (${kind ?? "hardware"})`),
  };
}

/** Removes one object; undefined = it is removed. */
export async function removeLeftover(
  { rtnetlink, providers }: HostKernel,
  { removal }: Leftover,
): Promise<FlannelError | undefined> {
  const [error] =
    "action" in removal
      ? await providers.find(({ kinds }) => kinds.has(removal.object.kind))!.apply([removal])
      : rtnetlink.connection.batch([removal]);
  return error === undefined || isNotFound(error) ? undefined : error;
}

const isOfFlannelsKind = ({ name, kind }: Link): boolean =>
  FLANNEL_DEVICES.some((each) => each.name.test(name) && each.kinds.includes(kind ?? ""));

/** The entries on a vxlan device are removed and listed one by one; other devices are deleted with all that is on them. */
const isVxlan = ({ kind }: Link): boolean => kind === "vxlan";

/** Go flannel's host-gw: a subnet of the network, of the length that this host's has, through a router, as `ip route add` would make it. */
function isOfGoHostGateway(
  route: Route,
  subnetEnv: Pick<SubnetEnv, "network" | "subnets"> | undefined,
): boolean {
  const family = familyName(route.family);
  const network = subnetEnv?.network[family];
  const destination = parsePrefix(route.destination);
  return (
    network !== undefined &&
    destination !== undefined &&
    route.protocol === RTPROT_BOOT &&
    route.type === RTN_UNICAST &&
    route.table === RT_TABLE_MAIN &&
    route.gateway !== undefined &&
    containsPrefix(network, destination) &&
    destination.length === subnetEnv?.subnets[family]?.length
  );
}

function routeText(route: Route, device: string): string {
  const words: readonly (readonly [name: string, value: string | number | undefined])[] = [
    ["via", route.gateway],
    ["dev", device || undefined],
    ["table", route.table === RT_TABLE_MAIN ? undefined : route.table],
    ["metric", route.priority || undefined],
  ];
  const given = words.filter(([, value]) => value !== undefined);
  return [`route ${route.destination}`, ...given.map(([name, value]) => `${name} ${value}`)].join(" ");
}

/** Names every attribute, so that only exactly this route is deleted. */
const removalOf = ({ destination, oif, gateway, priority, table, protocol, type }: Route): NetlinkRequest =>
  deleteRoute({ destination, oif, gateway, priority, table, protocol, type });
