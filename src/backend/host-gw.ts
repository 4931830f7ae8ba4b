/**
 * The host-gw backend: no tunnel; per peer and family one route through the peer's public address. All hosts have to be
 * on one link. Its leases say `"BackendType":"host-gw"` and hold no data of their own, as Go flannel's.
 */

import { formatIp, sameIp } from "../address/ip.ts";
import type { Prefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Lease } from "../lease/lease.ts";
import { keyOf, type Route, type StateObject } from "../state/objects.ts";
import type {
  Backend,
  BackendContext,
  BackendModule,
  Host,
  NextHop,
  PeerProblem,
  PlanInput,
} from "./backend.ts";
import { directRoute } from "./direct-route.ts";
import { type FamilyNames, familiesOf, labelled } from "./families.ts";
import { peersOfType, publicIpProblem, subnetProblem } from "./peers.ts";
import { rememberByPeer } from "./remember.ts";
import { createSubnetClaims } from "./subnet-claims.ts";

const TYPE = "host-gw";

/** It has nothing to configure. */
export interface HostGwConfig {
  readonly type: typeof TYPE;
}

export const hostGw: BackendModule<HostGwConfig> = {
  type: TYPE,
  parse: () => ({ type: TYPE }),
  deviceNames: () => [],
  create: createHostGwBackend,
};

function createHostGwBackend(_config: HostGwConfig, { network }: BackendContext): Backend {
  const families = familiesOf(network);
  const outcomes = rememberByPeer((peer, input) =>
    families.map((family) => outcomeOf(peer, family, input, families)),
  );
  return {
    type: TYPE,
    published: { backendType: TYPE, backendData: undefined, backendV6Data: undefined },
    notes: [],
    fixedMembers: {},
    asksForNextHops: true,
    checkHost: (host) => checkHost(host, families),
    mtuBytes: (host) => host.interfaceMtuBytes,
    ownership: (network) => ({
      devices: new Set(),
      networks: familiesOf(network).flatMap(({ name }) => network[name]?.network ?? []),
    }),
    plan(input) {
      const state = new Map<string, StateObject>();
      const problems: PeerProblem[] = [];
      if (input.own === undefined) return { state, problems };
      const outcomesOfPeer = outcomes(input);
      const claims = new Map(families.map(({ family }) => [family, createSubnetClaims()]));
      for (const peer of peersOfType(input, TYPE)) {
        const refuse = (message: string) => problems.push({ key: peer.key, message });
        for (const outcome of outcomesOfPeer(peer)) {
          if (typeof outcome === "string") {
            refuse(outcome);
            continue;
          }
          const { family } = outcome.subnet;
          const overlap = claims.get(family)!(peer.key, outcome.subnet);
          if (overlap === undefined) state.set(outcome.key, outcome.route);
          else refuse(labelled(families, family, overlap));
        }
      }
      return { state, problems };
    },
  };
}

/** Peers route straight to the public address: packets for our containers have to arrive at this very interface. */
function checkHost(host: Host, families: readonly FamilyNames[]): void {
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

/** The route to one peer in one family, or what is wrong. */
function outcomeOf(
  peer: Lease,
  { family, name, publicName }: FamilyNames,
  { host, network, own, nextHop }: PlanInput,
  families: readonly FamilyNames[],
): { readonly key: string; readonly subnet: Prefix; readonly route: Route } | string {
  const say = (problem: string) => labelled(families, family, problem);
  const subnet = peer.subnets[name];
  const publicIp = peer.attributes[publicName];
  if (subnet === undefined) return say(`it has no IPv${family} subnet`);
  const problem =
    subnetProblem(subnet, network[name]!, own?.[name]) ?? publicIpProblem(publicIp, host[publicName]);
  if (problem !== undefined) return say(problem);
  const hop = nextHop(publicIp!);
  if (hop === undefined || hop.via !== undefined) return say(notOnLink(formatIp(publicIp!), hop));
  const route = directRoute(subnet, publicIp!, hop.device);
  return { key: keyOf(route), subnet, route };
}

const notOnLink = (publicIp: string, hop: NextHop | undefined): string =>
  `its public IP ${publicIp} is on no link of this host (${hop === undefined ? "there is no route to it" : `the way there is via ${hop.via} on ${hop.device}`}): ` +
  "host-gw needs all hosts on one link; use vxlan, with DirectRouting where hosts share a link";
