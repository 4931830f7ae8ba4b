/**
 * GC: the runtime names the attachments that this network still has; what is stored for others is deleted as DEL would
 * do it, then the delegate is asked to do the same for what it keeps itself.
 */

import { messageOf } from "../base/error.ts";
import { type Call, delegateIfKnown, delegateTo, parseStored } from "./cni-commands.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { delegateConfig } from "./delegate-config.ts";
import { readSubnetFile } from "./node-network.ts";
import type { Attachment } from "./parameters.ts";
import { type FoundConfig, listConfigs, removeConfig } from "./stored-configs.ts";

/** Goes on after a failure, and throws one CniError for all. */
export async function collectGarbage(call: Call): Promise<string> {
  const { config } = call;
  const { validAttachments } = config;
  if (validAttachments === undefined) {
    throw new CniError(
      CNI_CODE.invalidConfig,
      "GC needs cni.dev/valid-attachments in the network config: without it everything would be garbage",
    );
  }
  const faults: string[] = [];
  const attempt = async (what: string, action: () => Promise<unknown>): Promise<void> => {
    try {
      await action();
    } catch (error) {
      faults.push(`${what}: ${messageOf(error)}`);
    }
  };
  for (const found of listConfigs(config.dataDir)) {
    if (isValid(found, validAttachments)) continue;
    await attempt(found.path, () => removeStale(call, found));
  }
  await attempt("the delegate's own GC", () => {
    const delegate = delegateConfig(config, readSubnetFile(config.subnetFile));
    const attachments = validAttachments.map(({ containerId, ifName }) => ({
      containerID: containerId,
      ifname: ifName,
    }));
    return delegateIfKnown(call, "GC", { ...delegate, "cni.dev/valid-attachments": attachments });
  });
  if (faults.length > 0) {
    throw new CniError(CNI_CODE.internal, `GC could not finish: ${faults.length} failed`, faults.join("; "));
  }
  return "";
}

const isValid = (found: FoundConfig, attachments: readonly Attachment[]): boolean =>
  attachments.some(
    ({ containerId, ifName }) =>
      containerId === found.containerId && (found.isGuess || ifName === found.ifName),
  );

async function removeStale(call: Call, found: FoundConfig): Promise<void> {
  const delegate = parseStored(found);
  if (delegate === undefined) {
    call.log(`${found.path} is damaged: whose it is cannot be seen, so it stays`);
    return;
  }
  if (delegate.name !== call.config.name) return; // another network's, of which the runtime says nothing here
  await delegateTo(call, "DEL", delegate, {
    CNI_CONTAINERID: found.containerId,
    CNI_IFNAME: found.ifName,
    CNI_NETNS: "", // may be assumed to be gone
  });
  removeConfig(call.config.dataDir, found, found);
  call.log(`deleted ${found.containerId}, ${found.ifName}`);
}
