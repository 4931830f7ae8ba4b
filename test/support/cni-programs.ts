/**
 * The two ways in which bin/flannel runs the plugin. An executable that is missing or older than the sources is built first,
 * as the bundles are (programs.ts).
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, globSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import "./programs.ts";

const ROOT = join(import.meta.dirname, "../..");
/** The plugin's sources: it imports nothing else (test/arch). */
const SOURCES =
  "{src/{base,address,config,cni}/**/*.ts,src/cmd/cni-engine.ts,native/cni-engine/{Cargo.*,src/*.rs}}";

/** The executable that runs on nodes. */
export const CNI_EXECUTABLE = join(ROOT, "dist/flannel");

buildIfStale();

/** bin/flannel with the executable, and in Node.js, as where that is not built. */
export const CNI_PROGRAMS: readonly { readonly name: string; readonly directory: string }[] = [
  { name: "engine", directory: join(ROOT, "bin") },
  { name: "Node.js", directory: withoutExecutable() },
];

function buildIfStale(): void {
  const modifiedMs = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const builtMs = modifiedMs(CNI_EXECUTABLE);
  const sources = globSync(SOURCES, { cwd: ROOT }).filter((path) => !path.endsWith(".test.ts"));
  if (sources.every((path) => modifiedMs(join(ROOT, path)) <= builtMs)) return;
  execFileSync(process.execPath, [join(ROOT, "scripts/build-engine.ts"), "--required"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
}

function withoutExecutable(): string {
  const root = mkdtempSync(join(tmpdir(), `cni-node-${process.pid}-`));
  after(() => rmSync(root, { recursive: true, force: true }));
  for (const directory of ["bin", "dist"]) mkdirSync(join(root, directory));
  copyFileSync(join(ROOT, "bin/flannel"), join(root, "bin/flannel"));
  symlinkSync(join(ROOT, "dist/flannel.cjs"), join(root, "dist/flannel.cjs"));
  symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
  return join(root, "bin");
}
