/** Removal of the table of network policies, by a flanneld that had them or by `flannelctl cleanup`. */

import { hasCode, messageOf } from "../base/error.ts";
import { type FirewallExec, runTool } from "../firewall/firewall-exec.ts";
import { POLICY_TABLE } from "./table.ts";

/** The arguments of nft that list our table. */
export const LIST_TABLE: readonly string[] = ["list", "table", ...POLICY_TABLE.split(" ")];

/** Whether nft's refusal of {@link LIST_TABLE} says that there is no such table. */
export const isTableMissing = (error: unknown): boolean =>
  hasCode(error, "FIREWALL_REFUSED") && /No such file or directory/.test(messageOf(error));

/**
 * No pod is filtered any more. @returns whether there was a table; a dry run only looks. Where it cannot be listed (no nft, a kernel
 * without nftables) there is none of ours. Throws FirewallError.
 */
export async function removePolicyTable(
  exec: FirewallExec,
  options: { readonly dryRun: boolean },
): Promise<boolean> {
  try {
    await runTool(exec, "nft", LIST_TABLE);
  } catch (error) {
    if (hasCode(error, "FIREWALL_REFUSED") || hasCode(error, "FIREWALL_TOOL_MISSING")) return false;
    throw error;
  }
  if (!options.dryRun) await runTool(exec, "nft", ["-f", "-"], `delete table ${POLICY_TABLE}\n`);
  return true;
}
