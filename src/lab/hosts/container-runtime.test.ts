import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { hasCode } from "../../base/error.ts";
import { attachedAddresses, requireCniPlugins } from "./container-runtime.ts";

function scratch(t: { after(fn: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), `lab-cni-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

test("plugins that are missing are named, with where they were looked for and what to install", (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, "bridge"), "");
  assert.throws(
    () => requireCniPlugins([directory, "/nonexistent"]),
    (error) =>
      hasCode(error, "ENOENT") &&
      (error as Error).message ===
        `not installed: the CNI plugins host-local (looked for in ${directory} and /nonexistent); on Debian: apt-get install containernetworking-plugins`,
  );
  writeFileSync(join(directory, "host-local"), "");
  requireCniPlugins(["/nonexistent", directory]);
});

test("a container's addresses are what the plugin answered", (t) => {
  const stateDirectory = scratch(t);
  const resultFile = join(stateDirectory, "h1-c1.json");
  const container = {
    name: "h1-c1",
    netns: "flannel-lab-h1-c1",
    attachment: { kind: "cni", resultFile, stateDirectory },
  } as const;
  assert.equal(attachedAddresses(container), undefined);
  const ips = [
    { address: "10.5.0.2/24", gateway: "10.5.0.1", interface: 2 },
    { address: "fd00:5::2/64", gateway: "fd00:5::1", interface: 2 },
  ];
  writeFileSync(resultFile, JSON.stringify({ cniVersion: "1.0.0", ips, dns: {} }));
  assert.deepEqual(attachedAddresses(container), ["10.5.0.2/24", "fd00:5::2/64"]);
});
