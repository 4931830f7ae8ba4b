/** The peers as commands name them: by lease key, subnet, public IP, or an address in the overlay. */

import { formatIp, type Ip, parseIp } from "../../address/ip.ts";
import {
  addressAt,
  baseOf,
  containsIp,
  formatPrefix,
  type Prefix,
  parsePrefix,
} from "../../address/prefix.ts";
import { ConfigError, hasCode } from "../../base/error.ts";
import type { RouteReport, Status } from "../../status/api.ts";
import { askDaemon, NO_DAEMON } from "../../status/status-client.ts";

/** Backends without a device that has the subnet's first address: the bridge of the containers answers in its place. */
const WITHOUT_DEVICE_ADDRESS = [
  ...["host-gw", "ipsec", "alloc", "extension"],
  ...["aws-vpc", "gce", "ali-vpc", "tencent-vpc"],
];

/** What flanneld answers about this host and its peers. */
export interface Fabric {
  readonly status: Status;
  readonly routes: readonly RouteReport[];
}

/** Throws FlannelError; NO_DAEMON if no flanneld answers. */
export async function readFabric(socket: string): Promise<Fabric> {
  const status = await askDaemon<Status>(socket, "/v1/status");
  return { status, routes: status.backend === undefined ? [] : await readRoutes(socket) };
}

/** Before the leases are known there are none. */
async function readRoutes(socket: string): Promise<readonly RouteReport[]> {
  try {
    return await askDaemon<readonly RouteReport[]>(socket, "/v1/routes");
  } catch (error) {
    if (hasCode(error, NO_DAEMON)) throw error;
    return [];
  }
}

/** The address in a subnet at which its host answers through the tunnel, as probes use it. */
export function overlayAddress(subnet: Prefix, backend: string): Ip {
  return WITHOUT_DEVICE_ADDRESS.includes(backend) ? addressAt(subnet, 1n) : baseOf(subnet);
}

/** The source of packets to a peer: this host's own address in the overlay. */
export function ownOverlayAddress({ lease, backend }: Status, family: Ip["family"]): Ip | undefined {
  const own = lease?.subnets.map((text) => parsePrefix(text)).find((prefix) => prefix?.family === family);
  return own === undefined ? undefined : overlayAddress(own, backend ?? "");
}

/** Routes to the peers that `name` means. Throws ConfigError if it means none. */
export function findRoutes(routes: readonly RouteReport[], name: string): readonly RouteReport[] {
  const ip = parseIp(name);
  const found = routes.filter(
    ({ peer, subnet, publicIp }) =>
      [peer, subnet, publicIp].includes(name) ||
      (ip !== undefined && (publicIp === formatIp(ip) || isIn(ip, subnet))),
  );
  if (found.length > 0) return found;
  const known = routes.slice(0, 3).map(({ subnet, publicIp }) => `${subnet} (${publicIp || "no public IP"})`);
  throw new ConfigError(
    `no peer is called ${JSON.stringify(name)}; give the subnet, public IP or lease key of a peer, or an address in its subnet` +
      (known.length === 0 ? "; there are no peers" : `, e.g. of ${known.join(", ")}`),
  );
}

function isIn(ip: Ip, subnet: string): boolean {
  const prefix = parsePrefix(subnet);
  return prefix !== undefined && prefix.family === ip.family && containsIp(prefix, ip);
}

/** The address that `name` means for packets through the tunnel. Throws ConfigError. */
export function resolveTarget(
  { routes, status }: Fabric,
  name: string,
): { readonly target: Ip; readonly label: string } {
  const ip = parseIp(name);
  if (ip !== undefined) return { target: ip, label: formatIp(ip) };
  const [route] = findRoutes(routes, name);
  const subnet = parsePrefix(route!.subnet)!;
  const target = overlayAddress(subnet, status.backend ?? "");
  return { target, label: `${formatIp(target)} of peer ${formatPrefix(subnet)}` };
}
