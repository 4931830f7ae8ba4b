/**
 * `flannelctl plan`: what flanneld, started with the same flags, would change in this host's kernel; nothing is changed.
 * Every step but the last is the daemon's own: the choice of the interface and of the subnet, the backend's plan, the
 * difference to the observed state. Exit codes: 0 nothing would change, 3 something would, or something blocks it.
 */

import { readHostFile } from "../admin/host-file.ts";
import { leasesOf } from "../admin/lease-text.ts";
import { desiredFirewall } from "../agent/desired-firewall.ts";
import { chooseInterface, describeHost, hostOf } from "../agent/host.ts";
import { attributesOf, NOTHING_KNOWN, withRecord } from "../agent/host-record.ts";
import { usedPrefixes } from "../agent/host-routes.ts";
import { NextHops } from "../agent/next-hops.ts";
import { Planner } from "../agent/planner.ts";
import { formerNetworks, previousSubnets } from "../agent/subnet-file.ts";
import type { Backend, Host } from "../backend/backend.ts";
import {
  chooseBackend,
  createBackend,
  deviceNamesOf,
  type Network,
  parseNetwork,
} from "../backend/backends.ts";
import { ConfigError, messageOf, StoreError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { printable } from "../base/printable.ts";
import { type Command, type CommandContext, defineCommand } from "../config/command.ts";
import { type FlanneldOptions, readOptions } from "../config/options.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS, FLANNELD_GROUPS } from "../config/options-table.ts";
import { formatOutput, OUTPUT_FLAGS } from "../config/output-format.ts";
import { Firewall } from "../firewall/firewall.ts";
import { describeSubnets } from "../lease/lease.ts";
import type { AssignedHost, LeaseInspector, LeaseRecord } from "../lease/lease-admin.ts";
import type { HostRecord } from "../lease/lease-store.ts";
import { diffStates } from "../state/diff.ts";
import { describeObject, deviceOf, keyOf, type StateObject, type StateOperation } from "../state/objects.ts";
import { observeAll } from "../state/provider.ts";
import type { Target } from "../state/target.ts";
import { observeCloud } from "./cloud-routes.ts";
import { assignedLease, type ExpectedLease, expectLease } from "./expected-lease.ts";
import type { HostKernel, OperatePorts } from "./operate-ports.ts";

const EXIT_CHANGES = 3;

/** `flannelctl plan`. */
export const planCommand = (ports: OperatePorts): Command =>
  defineCommand({
    summary:
      "print what flanneld with these flags would change in this host's kernel; exit code 3 if anything",
    synopsis: "[--config FILE] [-o table|json|yaml] [flags of flanneld]",
    flags: {
      config: {
        kind: "string",
        value: "file",
        help: 'a network config to try ("-" = standard input) instead of the stored one',
      },
      ...FLANNELD_FLAGS,
      ...OUTPUT_FLAGS,
    },
    groups: FLANNELD_GROUPS,
    environment: {
      prefix: ENVIRONMENT_PREFIX,
      get variables() {
        return ports.admin.variables;
      },
      names: Object.keys(FLANNELD_FLAGS),
    },
    readFile: readHostFile,
    async run(flags, context) {
      const options = readOptions(flags, ports.admin.variables);
      const file = flags.values.config || undefined;
      const logger = loggerOf(context);
      for (const note of flags.notes) logger.warn(note);
      await using store = await ports.admin.inspectStore(options.datastore, logger);
      const text = await readConfig(file, store, ports);
      const records = await readRecords(store, file !== undefined, logger);
      const network = parseNetwork(text, chooseBackend(text, leasesOf(records ?? [])));
      const assigned = await store.readAssignedHost?.(network);
      using host = ports.openKernel(options.wireguardKeyFile);
      const result = await plan({ ports, options, network, assigned, records, host, logger });
      context.print(await formatOutput(flags.values.o, result, () => linesOf(result)));
      for (const line of result.notCompared) context.printError(printable(line));
      return result.inSync ? 0 : EXIT_CHANGES;
    },
  });

/** Kinds that the owner of the device has: the kernel or flanneld. */
const WIREGUARD_KINDS: ReadonlySet<string> = new Set(["wireguard", "wireguard-peer", "allowed-ip"]);

interface Situation {
  readonly ports: OperatePorts;
  readonly options: FlanneldOptions;
  readonly network: Network;
  /** Undefined = hosts choose for themselves. */
  readonly assigned: AssignedHost | undefined;
  /** Undefined = the store cannot be reached. */
  readonly records: readonly LeaseRecord[] | undefined;
  readonly host: HostKernel;
  readonly logger: Logger;
}

/** What a plan prints, for programs. */
interface PlanResult {
  readonly interface: string;
  readonly lease: string;
  readonly changes: readonly { readonly action: string; readonly text: string; readonly now?: string }[];
  readonly firewall: readonly { readonly action: "change" | "remove"; readonly text: string }[];
  /** What cannot be compared or changed from here, and why. */
  readonly notCompared: readonly string[];
  readonly inSync: boolean;
}

function linesOf({ interface: external, lease, changes, firewall, inSync }: PlanResult): string[] {
  const count = changes.length + firewall.length;
  return [
    `interface ${external}`,
    `lease     ${lease}`,
    ...changes.map(({ action, text, now }) =>
      printable(`${action.padEnd(9)} ${text}${now === undefined ? "" : `; now ${now}`}`),
    ),
    ...firewall.map(
      ({ action, text }) => `firewall  ${action === "remove" ? "remove " : ""}${printable(text)}`,
    ),
    inSync
      ? "Nothing to do: this host is in sync."
      : `${count === 1 ? "1 change" : `${count} changes`}. Nothing was changed.`,
  ];
}

async function plan(situation: Situation): Promise<PlanResult> {
  const { options, network, assigned, host, logger } = situation;
  const record = assigned?.record ?? NOTHING_KNOWN;
  const interfaceOptions = withRecord(options.interface, record, logger);
  const self = hostOf(chooseInterface(host.rtnetlink, interfaceOptions, network));
  const backend = await makeBackend(situation, record);
  const attributes = attributesOf(self, backend.published, record);
  const lease =
    assigned === undefined
      ? await expectLease({
          network,
          attributes,
          previous: previousSubnets(situation.ports.readFile(options.subnetFile), network),
          avoid: usedPrefixes(host.rtnetlink, network),
          records: situation.records ?? [],
          logger,
        })
      : assignedLease(assigned, attributes);
  const target = targetOf(situation, backend, self, lease);
  const kinds = new Set(host.providers.flatMap((provider) => [...provider.kinds]));
  const observed = await observeAll(host.providers, target.ownership, kinds);
  const cloud = await observeCloud(host, target);
  observed.push(...cloud.observed);
  if (cloud.isKnown) kinds.add("cloud-route");
  const { operations, obstacles } = diffStates(target.state, stateOf(observed));
  const hidden = new Set([...target.ownership.devices].filter((device) => host.isInProcess(device)));
  const changes = operations.filter(
    ({ action, object }) =>
      kinds.has(object.kind) &&
      (action !== "remove" || !target.keepOthers) &&
      !(WIREGUARD_KINDS.has(object.kind) && hidden.has(deviceOf(object))),
  );
  const isPossible = ({ object }: StateOperation) =>
    object.kind !== "setting" || situation.ports.canSet(object.name);
  const possible = changes.filter(isPossible);
  const notCompared = [
    ...cloud.problems,
    ...[...hidden].map(
      (device) => `not compared: keys and peers of ${device}, which flanneld has itself (wg show ${device})`,
    ),
    ...changes
      .filter((operation) => !isPossible(operation))
      .map(({ object }) => `not changed: ${describeObject(object)} (/proc/sys is read-only here)`),
    ...obstacles.map(({ message }) => message),
  ];
  const { mode, rules } = desiredFirewall(options.firewall, network, lease.subnets);
  await using firewall = new Firewall({
    ...{ mode, exec: situation.ports.firewallExec, logger },
    formerNetworks: formerNetworks(situation.ports.readFile(options.subnetFile), network),
  });
  const { changes: ruleChanges, leftovers } = await firewall.preview(rules);
  return {
    interface: describeHost(self, attributes),
    lease: `${describeSubnets(lease.subnets)}, ${lease.origin}`,
    changes: possible.map(changeOf),
    firewall: [
      ...ruleChanges.map((text) => ({ action: "change" as const, text })),
      ...leftovers.map((text) => ({ action: "remove" as const, text })),
    ],
    notCompared,
    inSync: possible.length + ruleChanges.length + leftovers.length + obstacles.length === 0,
  };
}

async function readConfig(
  file: string | undefined,
  store: LeaseInspector,
  ports: OperatePorts,
): Promise<string> {
  if (file !== undefined) return ports.admin.readText(file);
  const stored = await store.readNetworkConfig();
  if (stored !== undefined) return stored.text;
  throw new ConfigError(
    `there is no network config at ${store.configPlace}: write one, or try one with --config FILE`,
  );
}

/** A config from a file can also be tried without a store. */
async function readRecords(
  store: LeaseInspector,
  canDoWithout: boolean,
  logger: Logger,
): Promise<readonly LeaseRecord[] | undefined> {
  try {
    return await store.listRecords();
  } catch (error) {
    if (!canDoWithout || !(error instanceof StoreError)) throw error;
    logger.warn(`Failed to read the leases; peers are not compared: ${messageOf(error)}`);
    return undefined;
  }
}

/** A device that does not exist yet gets a random MAC, shown as zeros. */
async function makeBackend(
  { network, host, logger }: Situation,
  { attributes: published }: HostRecord,
): Promise<Backend> {
  const devices = new Set(deviceNamesOf(network));
  const existing = await host.kernel.observe({ devices, networks: [] }, new Set(["link"]));
  const randomBytes = (count: number): Uint8Array => new Uint8Array(count);
  const { keys, hasKernelWireguard } = host;
  const backend = createBackend(network, {
    ...{ existing, published, randomBytes, keys, hasKernelWireguard },
  });
  for (const note of [...network.notes, ...backend.notes]) logger.info(note);
  return backend;
}

const RANDOM_MAC = / address 02:00:00:00:00:00$/;

function targetOf(
  { network, options, host, records, logger }: Situation,
  backend: Backend,
  self: Host,
  own: ExpectedLease,
): Target {
  const peers = records?.flatMap(({ key, subnets, attributes }) =>
    subnets === undefined || attributes === undefined || own.keys.includes(key)
      ? []
      : [{ key, subnets, attributes }],
  );
  const nextHops = new NextHops(host.rtnetlink);
  let target: Target | undefined;
  new Planner(
    { network, backend, host: self },
    {
      blackholeRoute: options.blackholeRoute,
      own: () => own.lease,
      peers: () => peers,
      sharedIps: () => [],
      nextHop: () => nextHops.lookup,
      setTarget: (planned) => {
        target = planned;
      },
      logger,
    },
  ).replan();
  return target!;
}

const stateOf = (objects: readonly StateObject[]): ReadonlyMap<string, StateObject> =>
  new Map(objects.map((object) => [keyOf(object), object]));

function changeOf(operation: StateOperation): PlanResult["changes"][number] {
  const text = describeObject(operation.object).replace(RANDOM_MAC, " address (random)");
  const { action } = operation;
  return action === "replace" ? { action, text, now: describeObject(operation.previous) } : { action, text };
}

function loggerOf({ printError }: CommandContext): Logger {
  const say = (message: string): void => printError(printable(message));
  return { info: say, warn: say, error: say, debug() {} };
}
