/** Removal of the table: where there is none, or nothing can be listed, nothing is done. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { CommandResult } from "../firewall/firewall-exec.ts";
import { removePolicyTable } from "./remove-table.ts";

function execOf(listing: CommandResult | Error) {
  const scripts: (string | undefined)[] = [];
  return {
    scripts,
    run: async (_command: string, args: readonly string[], stdin?: string): Promise<CommandResult> => {
      if (args[0] !== "list") scripts.push(stdin);
      else if (listing instanceof Error) throw listing;
      else return listing;
      return { code: 0, stdout: "", stderr: "" };
    },
  };
}
const refusal = (stderr: string): CommandResult => ({ code: 1, stdout: "", stderr });

test("a table is deleted, and a dry run only says so", async () => {
  const exec = execOf({ code: 0, stdout: "table inet flannel-policy {}", stderr: "" });
  assert.equal(await removePolicyTable(exec, { dryRun: true }), true);
  assert.deepEqual(exec.scripts, []);
  assert.equal(await removePolicyTable(exec, { dryRun: false }), true);
  assert.deepEqual(exec.scripts, ["delete table inet flannel-policy\n"]);
});

test("no table, no nft, a kernel without nftables: there is nothing of ours", async () => {
  for (const listing of [
    refusal("Error: No such file or directory"),
    refusal("netlink: Error: cache initialization failed: Protocol not supported"),
    Object.assign(new Error("nft"), { code: "ENOENT" }),
  ]) {
    const exec = execOf(listing);
    assert.equal(await removePolicyTable(exec, { dryRun: false }), false);
    assert.deepEqual(exec.scripts, []);
  }
});
