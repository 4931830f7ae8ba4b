/**
 * The host-gw backend: no tunnel; per peer and family one route through the peer's public address. All hosts have to be
 * on one link. Its leases have `"BackendType":"host-gw"` and no backend data, as Go flannel's.
 */

import { formatIp, sameIp } from "../address/ip.ts";
import { ConfigError } from "../base/error.ts";
import type { StateObject } from "../state/objects.ts";
import type { Backend, BackendContext, BackendModule, Host, NextHop, PlanInput } from "./backend.ts";
import { directRoute } from "./direct-route.ts";
import { type FamilyFields, familiesOf } from "./families.ts";
import { createPeerPlanner, type PeerAddresses, type Reach } from "./plan-peers.ts";

const TYPE = "host-gw";

/** It has no members. */
export interface HostGwConfig {
  readonly type: typeof TYPE;
}

/** The module of the type `host-gw`: no devices. `checkHost` refuses a host without an address in a family of the network. */
export const hostGw: BackendModule<HostGwConfig> = {
  type: TYPE,
  devices: [],
  parse: () => ({ type: TYPE }),
  deviceNames: () => [],
  create: createHostGwBackend,
};

function createHostGwBackend(_config: HostGwConfig, { network }: BackendContext): Backend {
  const families = familiesOf(network);
  const planPeers = createPeerPlanner({ type: TYPE, families, reach });
  return {
    type: TYPE,
    published: { backendType: TYPE, backendData: undefined, backendV6Data: undefined },
    notes: [],
    fixedMembers: {},
    asksForNextHops: true,
    checkHost: (host) => checkHost(host, families),
    mtuBytes: (host) => host.interfaceMtuBytes,
    listeners: () => [],
    ownership: (network) => ({
      devices: new Set(),
      networks: familiesOf(network).flatMap(({ name }) => network[name]?.network ?? []),
    }),
    plan(input) {
      const state = new Map<string, StateObject>();
      return { state, problems: planPeers(input, state) };
    },
  };
}

/** Peers route directly to the public address, so it has to be an address of the external interface. */
function checkHost(host: Host, families: readonly FamilyFields[]): void {
  for (const { name, publicName } of families) {
    const own = host[name];
    const published = host[publicName];
    if (own !== undefined && published !== undefined && sameIp(own, published)) continue;
    const text = (ip: typeof own) => (ip === undefined ? "missing" : formatIp(ip));
    const flag = name === "ipv4" ? "--public-ip" : "--public-ipv6";
    throw new ConfigError(
      `host-gw needs the public IP to be the address of the external interface, since peers send packets for containers ` +
        `straight to it: it is ${text(published)}, and ${host.interfaceName} has ${text(own)}. ` +
        `Leave ${flag} out, name the interface with --iface, or use the vxlan backend`,
    );
  }
}

/** One route, over the device on whose link the peer is. */
function reach(
  { subnet, publicIp }: PeerAddresses,
  _family: FamilyFields,
  { nextHop }: PlanInput,
): Reach | string {
  const hop = nextHop(publicIp);
  if (hop === undefined || hop.via !== undefined) return notOnLink(formatIp(publicIp), hop);
  return { objects: [directRoute(subnet, publicIp, hop.device)] };
}

const notOnLink = (publicIp: string, hop: NextHop | undefined): string =>
  `its public IP ${publicIp} is on no link of this host (${hop === undefined ? "there is no route to it" : `the way there is via ${hop.via} on ${hop.device}`}): ` +
  "host-gw needs all hosts on one link; use vxlan, with DirectRouting where hosts share a link";
