/** ADD, DEL, CHECK and STATUS (CNI specification 1.1.0, section 2). Each returns the text for stdout. */

import { messageOf } from "../base/error.ts";
import { isObject, type Members } from "../config/json-members.ts";
import { explainBridgeConflict } from "./bridge-conflict.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { type Call, delegateIfKnown, delegateTo, NO_ATTACHMENT } from "./delegate-call.ts";
import { type DelegateConfig, delegateConfig } from "./delegate-config.ts";
import { deleteStored } from "./delete-stored.ts";
import { readSubnetFile } from "./node-network.ts";
import { awaitPolicies } from "./pod-policy.ts";
import { checkResult, findPlugin } from "./run-plugin.ts";
import { findConfig, type StoredConfig, storeConfig } from "./stored-configs.ts";
import { formatStored, parseStored, type StoredDelegate } from "./stored-delegate.ts";
import { FIRST_VERSION } from "./versions.ts";

/**
 * Has the delegate create the interface, and waits for the pod's network policies. If one of the two fails, the interface is
 * deleted before the error is returned. Throws CniError.
 */
export async function add(call: Call): Promise<string> {
  const { config, parameters } = call;
  const { attachment } = parameters;
  const delegate = delegateConfig(config, readSubnetFile(call.system, config.subnetFile, call.log));
  const path = findPlugin(call.system, delegate.type, parameters.pluginPath);
  const before = storeConfig(call.system, config.dataDir, attachment, formatStored(delegate));
  try {
    const output = await delegateTo(call, "ADD", delegate);
    const result = checkResult(path, output, config.cniVersion ?? FIRST_VERSION);
    await awaitPolicies(call, result);
    return result;
  } catch (error) {
    // Added before and not deleted since: the existing interface is in use.
    if (before !== undefined && isAdded(before)) storeConfig(call.system, config.dataDir, attachment, before);
    else if (error instanceof CniError) await undo(call, delegate, error);
    throw explainBridgeConflict(error, delegate, call.system);
  }
}

const isAdded = (text: string): boolean => parseStored({ path: "", text })?.addError === undefined;

/** Best effort: if it fails, the config stays stored, with ADD's error, for the runtime's DEL. */
async function undo(call: Call, delegate: DelegateConfig, addError: CniError): Promise<void> {
  const { dataDir } = call.config;
  const { attachment } = call.parameters;
  const text = formatStored(delegate, addError);
  const stored = findConfig(call.system, dataDir, attachment);
  if (stored === undefined) return;
  const content = parseStored({ ...stored, text }) as StoredDelegate;
  try {
    await deleteStored(call, { attachment, stored, content });
  } catch (error) {
    storeConfig(call.system, dataDir, attachment, text);
    call.log(`failed to undo the failed ADD; DEL will retry: ${messageOf(error)}`);
  }
}

/** Has the delegate delete the interface by what ADD has stored. Nothing stored: nothing to do. Throws CniError. */
export async function del(call: Call): Promise<string> {
  const { dataDir } = call.config;
  const { attachment } = call.parameters;
  const stored = findConfig(call.system, dataDir, attachment);
  if (stored === undefined) {
    call.log(
      `nothing is stored for ${attachment.containerId} in ${dataDir}: already deleted, or never added`,
    );
    return "";
  }
  await deleteStored(call, { attachment, stored, content: readStored(call, stored) });
  return "";
}

/** Has the delegate check the interface. Throws CniError if it differs from the result of ADD. */
export async function check(call: Call): Promise<string> {
  const { config, parameters } = call;
  const stored = findConfig(call.system, config.dataDir, parameters.attachment);
  if (stored === undefined) {
    throw new CniError(
      CNI_CODE.unknownContainer,
      `nothing is stored for ${parameters.attachment.containerId} in ${config.dataDir}: it was not added to this network`,
    );
  }
  const { delegate, addError } = readStored(call, stored);
  if (addError !== undefined) {
    throw new CniError(
      CNI_CODE.unknownContainer,
      `ADD of ${parameters.attachment.containerId} failed, and it is not deleted yet`,
      addError,
    );
  }
  if (config.prevResult === undefined) {
    throw new CniError(
      CNI_CODE.invalidConfig,
      "CHECK needs prevResult, the result of ADD, in the network config",
      config.fault?.message,
    );
  }
  const { cniVersion = FIRST_VERSION, runtimeConfig } = config;
  await delegateTo(call, "CHECK", {
    ...delegate,
    cniVersion,
    ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
    prevResult: withGateways(config.prevResult),
  });
  return "";
}

/** Whether an ADD could succeed: subnet.env is complete, the delegate is installed and ready. Throws CniError if not. */
export async function status(call: Call): Promise<string> {
  try {
    const delegate = delegateConfig(call.config, readSubnetFile(call.system, call.config.subnetFile));
    const isKnown = await delegateIfKnown(call, "STATUS", delegate);
    if (!isKnown) await checkDelegateVersion(call, delegate);
  } catch (error) {
    if (!(error instanceof CniError) || !MEANS_NOT_AVAILABLE.includes(error.cniCode)) throw error;
    throw new CniError(CNI_CODE.notAvailable, error.message, error.details, { cause: error });
  }
  return "";
}

/** A delegate without STATUS that does not support the config's version would refuse every ADD. */
async function checkDelegateVersion(call: Call, delegate: DelegateConfig): Promise<void> {
  const { cniVersion = FIRST_VERSION } = call.config;
  const versions = parseSupportedVersions(await delegateTo(call, "VERSION", delegate, NO_ATTACHMENT));
  if (versions === undefined || versions.includes(cniVersion)) return;
  throw new CniError(
    CNI_CODE.notAvailable,
    `plugin ${JSON.stringify(delegate.type)} does not support version ${cniVersion} of this network's config: ` +
      "set a cniVersion that it supports, or install newer plugins",
    `it supports ${versions.join(", ")}`,
  );
}

/** The versions in a plugin's answer to VERSION; undefined = it has none. */
function parseSupportedVersions(text: string): readonly unknown[] | undefined {
  try {
    const answer: unknown = JSON.parse(text);
    return isObject(answer) && Array.isArray(answer.supportedVersions) ? answer.supportedVersions : undefined;
  } catch {
    return undefined;
  }
}

/** Own errors that STATUS reports with code 50; the delegate's are passed on unchanged. */
const MEANS_NOT_AVAILABLE: readonly number[] = [CNI_CODE.tryAgainLater, CNI_CODE.io, CNI_CODE.internal];

/** What ADD stored; if that is damaged, what it would store now. */
function readStored(call: Call, stored: StoredConfig): StoredDelegate {
  const content = parseStored(stored);
  if (content !== undefined) return content;
  try {
    const delegate = delegateConfig(call.config, readSubnetFile(call.system, call.config.subnetFile));
    call.log(`${stored.path} is damaged; using the network config and ${call.config.subnetFile} instead`);
    return { delegate, addError: undefined };
  } catch (error) {
    throw new CniError(
      CNI_CODE.decoding,
      `${stored.path} is damaged and cannot be rebuilt now (${messageOf(error)}); remove that file if the container is ` +
        "gone: then DEL succeeds, but addresses of the container may stay reserved",
    );
  }
}

/**
 * The result with a gateway on each route. A route without one uses the address's gateway (specification, section 5), but
 * bridge up to 1.1 searches for a route without any and fails.
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
