/**
 * DEL by what ADD has stored, for DEL itself, for GC and for an ADD that failed. The rule: DEL succeeds if nothing of the
 * container can remain, goes by what is stored, then (only if that ADD failed) by the present config, and an error says
 * what would be leaked. After an ADD that failed nothing can remain outside the network namespace if the delegate answers
 * ADD and DEL with the same error: it rejects the config before it does anything.
 */

import { CniError } from "./cni-error.ts";
import { type Call, delegateTo } from "./delegate-call.ts";
import { type DelegateConfig, delegateConfig } from "./delegate-config.ts";
import { formatGoJson } from "./go-json.ts";
import { readSubnetFile } from "./node-network.ts";
import type { Attachment, Environment } from "./parameters.ts";
import type { PluginConfig } from "./plugin-config.ts";
import { removeConfig, type StoredConfig } from "./stored-configs.ts";
import { errorText, type StoredDelegate } from "./stored-delegate.ts";

/** One attachment to delete. */
export interface Deletion {
  readonly attachment: Attachment;
  /** Where its config is stored. */
  readonly stored: StoredConfig;
  readonly content: StoredDelegate;
  /** Changes to the environment of the call. */
  readonly environment?: Environment;
}

/** Runs the delegate's DEL and removes the stored config. Throws CniError if something could remain. */
export async function deleteStored(call: Call, deletion: Deletion): Promise<void> {
  const { attachment, stored, content, environment } = deletion;
  const run = (delegate: DelegateConfig): Promise<string> =>
    delegateTo(call, "DEL", withPrevResult(delegate, call.config), environment);
  try {
    await run(content.delegate);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    const isHarmless = content.addError !== undefined && (await isNothingLeft(call, error, deletion, run));
    if (!isHarmless) throw withLeak(error, deletion);
  }
  removeConfig(call.system, call.config.dataDir, attachment, stored);
}

/** After a failed ADD: whether the delegate rejects the config as such, or deletes with the present config. */
async function isNothingLeft(
  call: Call,
  error: CniError,
  { attachment, content, stored }: Deletion,
  run: (delegate: DelegateConfig) => Promise<string>,
): Promise<boolean> {
  const subject = `${attachment.containerId}, ${attachment.ifName}`;
  if (errorText(error) === content.addError) {
    call.log(`nothing to delete for ${subject}: ADD failed with the same error: ${error.message}`);
    return true;
  }
  try {
    const present = delegateConfig(call.config, readSubnetFile(call.system, call.config.subnetFile));
    if (formatGoJson(present) === formatGoJson(content.delegate)) return false;
    await run(present);
    call.log(`deleted ${subject} by the network config: ${stored.path} is of an ADD that failed`);
    return true;
  } catch (presentError) {
    if (!(presentError instanceof CniError)) throw presentError;
    return errorText(presentError) === content.addError;
  }
}

/** The delegate's error; the details name what remains and where it is recorded. */
function withLeak(error: CniError, { attachment, stored, content }: Deletion): CniError {
  const { ipam, name, type } = content.delegate;
  const ipamType = (ipam as { readonly type?: unknown } | undefined)?.type;
  const leak =
    `container ${attachment.containerId} may still have interface ${attachment.ifName} of plugin ${JSON.stringify(type)}, and ` +
    `addresses reserved by IPAM plugin ${JSON.stringify(ipamType ?? "none")} in network ${JSON.stringify(name ?? "")}; DEL can ` +
    `be repeated; remove ${stored.path} only to give them up`;
  const details = error.details === "" ? leak : `${error.details}; ${leak}`;
  return new CniError(error.cniCode, error.message, details, { cause: error });
}

/** DEL gets the result of ADD if it has the version of the stored config: delegates parse the one by the other. */
const withPrevResult = (
  delegate: DelegateConfig,
  { prevResult, cniVersion }: PluginConfig,
): DelegateConfig =>
  prevResult === undefined || delegate.cniVersion !== cniVersion ? delegate : { ...delegate, prevResult };
