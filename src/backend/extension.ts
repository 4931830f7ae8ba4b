/**
 * The extension backend: commands of the operator's, run by `sh -c`, carry the packets. PreStartupCommand's output becomes the
 * lease's BackendData; PostStartupCommand runs once this host has its subnet, SubnetAddCommand and SubnetRemoveCommand for
 * each peer. Lease and environment are as Go flannel's: `"BackendType":"extension","BackendData":"…"`.
 */

import { formatIp } from "../address/ip.ts";
import { formatPrefix, type Prefix } from "../address/prefix.ts";
import type { Members } from "../config/json-members.ts";
import type { Lease } from "../lease/lease.ts";
import { type ExtensionPeer, keyOf, type StateObject, sameObject } from "../state/objects.ts";
import type { Backend, BackendContext, BackendModule, PeerProblem, Plan, PlanInput } from "./backend.ts";
import { familiesOf } from "./families.ts";
import { textMember } from "./members.ts";
import { createPeerPlanner, type PeerAddresses, type Reach } from "./plan-peers.ts";

const TYPE = "extension";

/** Commands for `sh -c`; "" = none. */
export interface ExtensionConfig {
  readonly type: typeof TYPE;
  readonly preStartupCommand: string;
  readonly postStartupCommand: string;
  readonly subnetAddCommand: string;
  readonly subnetRemoveCommand: string;
}

/** The module of the type `extension`: no devices. `parse` throws ConfigError for a command that is not a string. */
export const extension: BackendModule<ExtensionConfig> = {
  type: TYPE,
  devices: [],
  parse: parseExtensionConfig,
  deviceNames: () => [],
  startupCommand: ({ preStartupCommand }) => preStartupCommand || undefined,
  create: createExtensionBackend,
};

function parseExtensionConfig(members: Members): ExtensionConfig {
  const command = (name: string) => textMember(members, name, "");
  return {
    type: TYPE,
    preStartupCommand: command("PreStartupCommand"),
    postStartupCommand: command("PostStartupCommand"),
    subnetAddCommand: command("SubnetAddCommand"),
    subnetRemoveCommand: command("SubnetRemoveCommand"),
  };
}

function createExtensionBackend(config: ExtensionConfig, context: BackendContext): Backend {
  const families = familiesOf(context.network);
  const planPeers = createPeerPlanner({ type: TYPE, families, reach });
  const { postStartupCommand, subnetAddCommand, subnetRemoveCommand } = config;
  /** The latest plan's peers: an equal object keeps its identity, and with it the pause until its next attempt. */
  let known: ReadonlyMap<string, StateObject> = new Map();
  return {
    type: TYPE,
    published: { backendType: TYPE, backendData: context.startupOutput, backendV6Data: undefined },
    notes:
      subnetAddCommand === ""
        ? ["Backend.SubnetAddCommand is not set, so that nothing is programmed for peers"]
        : [],
    // Their output is in the lease, and what they made is not undone.
    fixedMembers: { PreStartupCommand: config.preStartupCommand, PostStartupCommand: postStartupCommand },
    asksForNextHops: false,
    listeners: () => [],
    checkHost: () => {},
    mtuBytes: ({ interfaceMtuBytes }) => interfaceMtuBytes,
    ownership: (network) => ({
      devices: new Set(),
      networks: familiesOf(network).map(({ name }) => network[name]!.network),
    }),
    plan,
  };

  function plan(input: PlanInput): Plan {
    const state = new Map<string, StateObject>();
    const { own, host, network } = input;
    if (own === undefined) return { state, problems: [] };
    if (postStartupCommand !== "") {
      const startup: StateObject = {
        kind: "extension-startup",
        command: postStartupCommand,
        network: textOf(network.ipv4?.network),
        subnet: textOf(own.ipv4),
        ipv6Subnet: textOf(own.ipv6),
        publicIp: host.publicIp === undefined ? "" : formatIp(host.publicIp),
        publicIpv6: host.publicIpv6 === undefined ? "" : formatIp(host.publicIpv6),
      };
      state.set(keyOf(startup), startup);
    }
    if (subnetAddCommand === "" && subnetRemoveCommand === "") return { state, problems: [] };
    const halves = new Map<string, StateObject>();
    const problems: PeerProblem[] = [...planPeers(input, halves)];
    for (const peer of input.peers ?? []) {
      if (peer.attributes.backendType !== TYPE) continue;
      const whole = wholeOf(peer, halves);
      if (whole === undefined) continue;
      const data = peer.attributes.backendData ?? "";
      if (typeof data !== "string") {
        problems.push({ key: peer.key, message: "its BackendData is not a string" });
        continue;
      }
      const object = { ...whole, data };
      const before = known.get(keyOf(object));
      state.set(keyOf(object), before !== undefined && sameObject(before, object) ? before : object);
    }
    known = state;
    return { state, problems };
  }

  /** The half of a peer that belongs to one family. */
  function reach({ subnet, publicIp }: PeerAddresses): Reach {
    const isIpv6 = subnet.family === 6;
    return {
      objects: [
        {
          kind: "extension-peer",
          subnet: isIpv6 ? "" : formatPrefix(subnet),
          publicIp: isIpv6 ? "" : formatIp(publicIp),
          ipv6Subnet: isIpv6 ? formatPrefix(subnet) : "",
          publicIpv6: isIpv6 ? formatIp(publicIp) : "",
          data: "",
          addCommand: subnetAddCommand,
          removeCommand: subnetRemoveCommand,
          isCurrent: true,
        },
      ],
    };
  }
}

/** One object for both families of a peer: its commands run once. Undefined = it can be reached in none. */
function wholeOf(
  { subnets, attributes }: Lease,
  halves: ReadonlyMap<string, StateObject>,
): ExtensionPeer | undefined {
  const halfOf = (subnet: Prefix | undefined) => {
    const half = subnet && halves.get(`extension-peer ${formatPrefix(subnet)}`);
    return half?.kind === "extension-peer" ? half : undefined;
  };
  const { publicIp, publicIpv6 } = attributes;
  const [ipv4, ipv6] = [halfOf(subnets.ipv4), halfOf(subnets.ipv6)];
  // Another peer has the subnet.
  const isIpv4Own = publicIp !== undefined && ipv4?.publicIp === formatIp(publicIp);
  const isIpv6Own = publicIpv6 !== undefined && ipv6?.publicIpv6 === formatIp(publicIpv6);
  if (isIpv4Own && isIpv6Own) return { ...ipv4!, ipv6Subnet: ipv6!.ipv6Subnet, publicIpv6: ipv6!.publicIpv6 };
  return isIpv4Own ? ipv4 : isIpv6Own ? ipv6 : undefined;
}

const textOf = (prefix: Prefix | undefined): string => (prefix === undefined ? "" : formatPrefix(prefix));
