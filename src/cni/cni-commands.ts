/** ADD, DEL, CHECK and STATUS: what becomes of a call to the plugin. Each gives back what belongs on stdout. */

import { isObject, type Members } from "../config/json-members.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { type DelegateConfig, delegateConfig } from "./delegate-config.ts";
import { formatGoJson } from "./go-json.ts";
import { readSubnetFile } from "./node-network.ts";
import type { Command, Environment, Parameters } from "./parameters.ts";
import type { PluginConfig } from "./plugin-config.ts";
import { checkResult, findPlugin, runPlugin } from "./run-plugin.ts";
import { findConfig, removeConfig, type StoredConfig, storeConfig } from "./stored-configs.ts";
import { FIRST_VERSION } from "./versions.ts";

/** A call to the plugin. */
export interface Call {
  readonly parameters: Parameters;
  readonly config: PluginConfig;
  /** Handed on to the delegate. */
  readonly environment: Environment;
  /** A line for whoever reads the runtime's log. */
  readonly log: (line: string) => void;
  /** What the delegate has to say there. */
  readonly onStderr: (text: string) => void;
}

/** Has the delegate make the interface. If it fails, what it did is undone before its error is passed on. */
export async function add(call: Call): Promise<string> {
  const { config, parameters } = call;
  const { attachment } = parameters;
  const delegate = delegateConfig(config, readSubnetFile(config.subnetFile));
  const path = findPlugin(delegate.type, parameters.pluginPath);
  const text = formatGoJson(delegate);
  const before = storeConfig(config.dataDir, attachment, text);
  try {
    return checkResult(path, await delegateTo(call, "ADD", delegate), config.cniVersion ?? FIRST_VERSION);
  } catch (error) {
    // Added before and not deleted since: the interface that is in the way is in use.
    if (before !== undefined) storeConfig(config.dataDir, attachment, before);
    else await undo(call, delegate);
    throw error;
  }
}

/** Best effort: if it fails, what is stored stays for the DEL that the runtime has to send. */
async function undo(call: Call, delegate: DelegateConfig): Promise<void> {
  try {
    await delegateTo(call, "DEL", delegate);
    const stored = findConfig(call.config.dataDir, call.parameters.attachment);
    if (stored !== undefined) removeConfig(call.config.dataDir, call.parameters.attachment, stored);
  } catch (error) {
    call.log(
      `what the failed ADD has left is not yet undone, DEL will try again: ${(error as Error).message}`,
    );
  }
}

/** Has the delegate take the interface away, as it was told to make it. Without anything stored there is nothing to do. */
export async function del(call: Call): Promise<string> {
  const { dataDir } = call.config;
  const { attachment } = call.parameters;
  const stored = findConfig(dataDir, attachment);
  if (stored === undefined) {
    call.log(
      `nothing is stored for ${attachment.containerId} in ${dataDir}: deleted already, or never added`,
    );
    return "";
  }
  await delegateTo(call, "DEL", withPrevResult(readStored(call, stored), call.config));
  removeConfig(dataDir, attachment, stored);
  return "";
}

/** Asks the delegate whether the interface is as it made it. */
export async function check(call: Call): Promise<string> {
  const { config, parameters } = call;
  const stored = findConfig(config.dataDir, parameters.attachment);
  if (stored === undefined) {
    throw new CniError(
      CNI_CODE.unknownContainer,
      `nothing is stored for ${parameters.attachment.containerId} in ${config.dataDir}: it was not added to this network`,
    );
  }
  if (config.prevResult === undefined) {
    throw new CniError(
      CNI_CODE.invalidConfig,
      "CHECK needs prevResult, the result of ADD, in the network config",
    );
  }
  const { cniVersion = FIRST_VERSION, runtimeConfig } = config;
  await delegateTo(call, "CHECK", {
    ...readStored(call, stored),
    cniVersion,
    ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
    prevResult: withGateways(config.prevResult),
  });
  return "";
}

/** Whether an ADD could succeed: flanneld has written its file, and the delegate is there and ready. */
export async function status(call: Call): Promise<string> {
  try {
    const delegate = delegateConfig(call.config, readSubnetFile(call.config.subnetFile));
    const isKnown = await delegateIfKnown(call, "STATUS", delegate);
    if (!isKnown) await checkDelegateVersion(call, delegate);
  } catch (error) {
    if (!(error instanceof CniError) || !MEANS_NOT_AVAILABLE.includes(error.cniCode)) throw error;
    throw new CniError(CNI_CODE.notAvailable, error.message, error.details, { cause: error });
  }
  return "";
}

/** A delegate from before STATUS that does not speak the config's version refuses each ADD. */
async function checkDelegateVersion(call: Call, delegate: DelegateConfig): Promise<void> {
  const { cniVersion = FIRST_VERSION } = call.config;
  const versions = parseSupportedVersions(await delegateTo(call, "VERSION", delegate, NO_ATTACHMENT));
  if (versions === undefined || versions.includes(cniVersion)) return;
  throw new CniError(
    CNI_CODE.notAvailable,
    `plugin ${JSON.stringify(delegate.type)} does not speak version ${cniVersion} of this network's config: ` +
      "write a cniVersion that it knows, or install newer plugins",
    `it knows ${versions.join(", ")}`,
  );
}

/** What a plugin's answer to VERSION says; undefined = it does not tell. */
function parseSupportedVersions(text: string): readonly unknown[] | undefined {
  try {
    const answer: unknown = JSON.parse(text);
    return isObject(answer) && Array.isArray(answer.supportedVersions) ? answer.supportedVersions : undefined;
  } catch {
    return undefined;
  }
}

/** What our own errors are to somebody who asks for the status; the delegate's are passed on as they are. */
const MEANS_NOT_AVAILABLE: readonly number[] = [CNI_CODE.tryAgainLater, CNI_CODE.io, CNI_CODE.internal];

/** Runs the delegate with the environment of the call, but for the command and what else `changes` says. */
export function delegateTo(
  { parameters, environment, onStderr }: Call,
  command: Command,
  delegate: DelegateConfig,
  changes: Environment = {},
): Promise<string> {
  return runPlugin({
    path: findPlugin(delegate.type, parameters.pluginPath),
    config: formatGoJson(delegate),
    environment: { ...environment, CNI_COMMAND: command, ...changes },
    forwardedSignals: ["SIGTERM", "SIGINT"],
    onStderr,
  });
}

/** For commands that concern no container. Plugins of before look at these first all the same; libcni does it for VERSION. */
const NO_ATTACHMENT: Environment = { CNI_CONTAINERID: "dummy", CNI_IFNAME: "dummy" };

/**
 * The same for commands that not every plugin has and that concern no container: those before 1.1.0 call them unknown, and
 * have nothing to do then. Gives back whether it is known.
 */
export async function delegateIfKnown(
  call: Call,
  command: Command,
  delegate: DelegateConfig,
): Promise<boolean> {
  try {
    await delegateTo(call, command, delegate, NO_ATTACHMENT);
    return true;
  } catch (error) {
    const isUnknown =
      error instanceof CniError &&
      error.cniCode === CNI_CODE.invalidEnvironment &&
      error.message.includes(command);
    if (!isUnknown) throw error;
    call.log(`${delegate.type} does not know ${command}`);
    return false;
  }
}

/** A stored config as an object that names its plugin; undefined = it is none. */
export function parseStored({ text }: StoredConfig): DelegateConfig | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) && typeof value.type === "string" ? { ...value, type: value.type } : undefined;
  } catch {
    return undefined;
  }
}

/** What ADD stored; should that be damaged, what it would store today. */
function readStored(call: Call, stored: StoredConfig): DelegateConfig {
  const delegate = parseStored(stored);
  if (delegate !== undefined) return delegate;
  try {
    const rebuilt = delegateConfig(call.config, readSubnetFile(call.config.subnetFile));
    call.log(`${stored.path} is damaged; goes by the network config and ${call.config.subnetFile} instead`);
    return rebuilt;
  } catch (error) {
    throw new CniError(
      CNI_CODE.decoding,
      `${stored.path} is damaged and cannot be made again now (${(error as Error).message}); remove that file if the ` +
        "container is gone: then DEL succeeds, but addresses that it held may stay reserved",
    );
  }
}

/** DEL is told the chain's result too, if it is in the version of what is stored: delegates read the one by the other. */
const withPrevResult = (
  delegate: DelegateConfig,
  { prevResult, cniVersion }: PluginConfig,
): DelegateConfig =>
  prevResult === undefined || delegate.cniVersion !== cniVersion ? delegate : { ...delegate, prevResult };

/**
 * The result with a gateway on each route. A route without one goes by the address's gateway (section 5 of the
 * specification), but bridge up to 1.1 looks for it without any and fails.
 */
function withGateways(result: Members): Members {
  const { ips, routes } = result;
  if (!Array.isArray(ips) || !Array.isArray(routes)) return result;
  const isIpv6 = (text: unknown): boolean => String(text).includes(":");
  const gatewayFor = (dst: unknown): unknown =>
    ips.find((ip: unknown) => isObject(ip) && ip.gateway && isIpv6(ip.address) === isIpv6(dst))?.gateway;
  return {
    ...result,
    routes: routes.map((route: unknown) =>
      isObject(route) && !route.gw ? { ...route, gw: gatewayFor(route.dst) } : route,
    ),
  };
}
