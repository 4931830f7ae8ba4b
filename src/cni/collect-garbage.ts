/**
 * GC (CNI specification 1.1.0, section 2): the runtime names the attachments that this network still has; all others that
 * are stored are deleted as by DEL, then the delegate's own GC runs.
 */

import { messageOf } from "../base/error.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { type Call, delegateIfKnown } from "./delegate-call.ts";
import { delegateConfig } from "./delegate-config.ts";
import { deleteStored } from "./delete-stored.ts";
import { readSubnetFile } from "./node-network.ts";
import type { Attachment } from "./parameters.ts";
import { type FoundConfig, listConfigs } from "./stored-configs.ts";
import { parseStored } from "./stored-delegate.ts";

/** Continues after a failure. Throws one CniError for all failures. */
export async function collectGarbage(call: Call): Promise<string> {
  const { config } = call;
  const { validAttachments } = config;
  if (config.name === "") {
    throw config.fault ?? new CniError(CNI_CODE.invalidConfig, "GC needs the name of the network");
  }
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
      const details = error instanceof CniError && error.details !== "" ? `: ${error.details}` : "";
      faults.push(`${what}: ${messageOf(error)}${details}`);
    }
  };
  for (const found of listConfigs(call.system, config.dataDir)) {
    if (isValid(found, validAttachments)) continue;
    await attempt(found.path, () => removeStale(call, found));
  }
  await attempt("the delegate's own GC", () => {
    const delegate = delegateConfig(config, readSubnetFile(call.system, config.subnetFile));
    const attachments = validAttachments.map(({ containerId, ifName }) => ({
      containerID: containerId,
      ifname: ifName,
    }));
    return delegateIfKnown(call, "GC", { ...delegate, "cni.dev/valid-attachments": attachments });
  });
  if (faults.length > 0) {
    throw new CniError(CNI_CODE.internal, `GC is incomplete: ${faults.length} failed`, faults.join("; "));
  }
  return "";
}

const isValid = (found: FoundConfig, attachments: readonly Attachment[]): boolean =>
  attachments.some(
    ({ containerId, ifName }) =>
      containerId === found.containerId && (found.isGuess || ifName === found.ifName),
  );

async function removeStale(call: Call, found: FoundConfig): Promise<void> {
  const content = parseStored(found);
  if (content === undefined) {
    call.log(`${found.path} is damaged: its network is unknown, so it stays`);
    return;
  }
  if (content.delegate.name !== call.config.name) return; // another network's: this call does not list its attachments
  const environment = {
    CNI_CONTAINERID: found.containerId,
    CNI_IFNAME: found.ifName,
    CNI_NETNS: "", // the namespace does not exist any more
  };
  await deleteStored(call, { attachment: found, stored: found, content, environment });
  call.log(`deleted ${found.containerId}, ${found.ifName}`);
}
