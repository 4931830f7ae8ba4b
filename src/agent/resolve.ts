/**
 * Stage 1 of the agent: resolves what it works with. Reads the network config and the host record from the datastore,
 * claims the network on this host, chooses the external interface and creates the backend. {@link Resolver} does the last
 * two for any network, also while the agent runs with another one.
 */

import { type Ip, parseIp } from "../address/ip.ts";
import type { Prefix } from "../address/prefix.ts";
import type { Backend } from "../backend/backend.ts";
import { createBackend, deviceNamesOf, type Network, startupCommandOf } from "../backend/backends.ts";
import type { InterfaceOptions } from "../config/options.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import type { HostRecord } from "../lease/lease-store.ts";
import type { StateObject } from "../state/objects.ts";
import { observeAll } from "../state/provider.ts";
import type { ExternalInterface } from "./external-interface.ts";
import { chooseInterface, describeHost, hostOf, interfaceProblem } from "./host.ts";
import { attributesOf, readHostRecord, withRecord } from "./host-record.ts";
import { waitForNetwork } from "./network.ts";
import { claimFree, claimNetwork } from "./network-claim.ts";
import type { ResolvedConfig } from "./planner.ts";
import type { AgentPorts } from "./ports.ts";
import type { Readiness } from "./readiness.ts";
import { runStartupCommand, type StartupCommandPorts } from "./startup-command.ts";
import { formerNetworks } from "./subnet-file.ts";
import type { SourceContext } from "./tunnel-source.ts";

export interface Resolved {
  readonly resolver: Resolver;
  readonly chosen: ExternalInterface;
  readonly config: ResolvedConfig;
  /** Whether the backend has the identity (MACs) of an earlier run. */
  readonly isIdentityKept: boolean;
  /** Networks of an earlier run, whose routes are removed. */
  readonly formerNetworks: readonly Prefix[];
}

/** Undefined if aborted before. Throws ConfigError if no interface or backend fits, NetlinkError. */
export async function resolve(
  options: { readonly interface: InterfaceOptions; readonly subnetFile: string },
  ports: AgentPorts,
  readiness: Readiness,
  signal: AbortSignal,
): Promise<Resolved | undefined> {
  // Now, not once the datastore has answered: a wrong --iface is seen while the operator is there.
  const problem = interfaceProblem(ports.rtnetlink, options.interface);
  if (problem !== undefined) ports.logger.warn(`Waiting for the network config; ${problem}`);
  readiness.set("external interface", problem);
  const network = await waitForNetwork(ports.store, ports.configPlace, signal, ports, (problem) =>
    readiness.set("network config", problem),
  );
  if (network === undefined) return undefined;
  const record = await readHostRecord(ports.store, signal, ports, (problem) =>
    readiness.set("host", problem),
  );
  if (record === undefined) return undefined;
  const devices = new Set(deviceNamesOf(network));
  const isClaimed = await claimNetwork(network, [...devices], ports.claims, signal, ports, (problem) =>
    readiness.set("network", problem),
  );
  if (!isClaimed) return undefined;
  const former = formerNetworks(ports.readFile(options.subnetFile), network);
  const resolver = new Resolver(ports, withRecord(options.interface, record, ports.logger), record, former);
  const existing = await observeAll(ports.providers, { devices, networks: [] }, new Set(["link"]));
  const chosen = resolver.chooseInterface(network, { previousAddresses: localAddressesOf(existing) });
  readiness.set("external interface", undefined);
  const isStarted = await resolver.runStartupCommand(network, signal, ports, (problem) =>
    readiness.set("startup command", problem),
  );
  if (!isStarted) return undefined;
  const backend = resolver.createBackend(network, existing);
  for (const note of backend.notes) ports.logger.warn(note);
  const config = { network, backend, host: hostOf(chosen) };
  ports.logger.info(`External interface ${resolver.describe(config)}`);
  const isIdentityKept = existing.length > 0 || record.attributes !== undefined;
  return { resolver, chosen, config, isIdentityKept, formerNetworks: claimFree(former, ports.claims) };
}

/** The source addresses of the tunnels that an earlier run left in the kernel. */
const localAddressesOf = (links: readonly StateObject[]): Ip[] =>
  links.flatMap((link) => ("local" in link ? (parseIp(String(link.local)) ?? []) : []));

/** Chooses interfaces and creates backends with this host's options and record. */
export class Resolver {
  readonly interfaceOptions: InterfaceOptions;
  readonly #ports: Pick<AgentPorts, "rtnetlink" | "randomBytes" | "keys" | "hasKernelWireguard">;
  readonly #record: HostRecord;
  #startupOutput: string | undefined;
  /** Networks of an earlier run. */
  readonly formerNetworks: readonly Prefix[];

  constructor(
    ports: Pick<AgentPorts, "rtnetlink" | "randomBytes" | "keys" | "hasKernelWireguard">,
    interfaceOptions: InterfaceOptions,
    record: HostRecord,
    formerNetworks: readonly Prefix[],
  ) {
    this.formerNetworks = formerNetworks;
    this.#ports = ports;
    this.interfaceOptions = interfaceOptions;
    this.#record = record;
  }

  /** The external interface for this network, among those that exist now. Throws ConfigError, NetlinkError. */
  chooseInterface(network: Network, context: SourceContext): ExternalInterface {
    const { rtnetlink } = this.#ports;
    return chooseInterface(rtnetlink, this.interfaceOptions, network, {
      ...context,
      networks: this.formerNetworks,
    });
  }

  /** Runs the command that the backend wants before it is created, if any. False if aborted. Throws ConfigError. */
  async runStartupCommand(
    network: Network,
    signal: AbortSignal,
    ports: StartupCommandPorts,
    onProblem: (problem: string | undefined) => void,
  ): Promise<boolean> {
    const command = startupCommandOf(network);
    if (command === undefined) return true;
    this.#startupOutput = await runStartupCommand(command, signal, ports, onProblem);
    return this.#startupOutput !== undefined;
  }

  /** MACs are those of the existing devices, else those published by an earlier run, else random. Throws ConfigError. */
  createBackend(network: Network, existing: readonly StateObject[]): Backend {
    const { randomBytes, keys, hasKernelWireguard } = this.#ports;
    const published = this.#record.attributes;
    const startupOutput = this.#startupOutput;
    return createBackend(network, {
      ...{ existing, published, randomBytes, keys, startupOutput, hasKernelWireguard },
    });
  }

  /** A backend with fresh MACs. Throws ConfigError. */
  createFreshBackend(network: Network): Backend {
    const { randomBytes, keys, hasKernelWireguard } = this.#ports;
    const startupOutput = this.#startupOutput;
    return createBackend(network, {
      ...{ existing: [], randomBytes, keys, startupOutput, hasKernelWireguard },
    });
  }

  /** What this host publishes in its lease. */
  attributesOf({ host, backend }: ResolvedConfig): LeaseAttributes {
    return attributesOf(host, backend.published, this.#record);
  }

  /** "eth0: 192.168.7.1, MTU 1500", for the log. */
  describe(config: ResolvedConfig): string {
    return describeHost(config.host, this.attributesOf(config));
  }
}
