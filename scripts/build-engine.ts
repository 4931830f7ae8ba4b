/**
 * Builds the CNI plugin as one static executable: the engine of native/cni-engine with the plugin's bundle in it.
 *
 * usage: build-engine.ts [--required]    → dist/flannel, for this machine's architecture; without Rust nothing, and says so
 */

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundleForEngine } from "./engine-bundle.ts";
import { type EngineArchitecture, findToolchain, hostArchitecture } from "./engine-toolchain.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const native = join(root, "native/cni-engine");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

/** Builds the executable into dist/engine/ARCHITECTURE and returns its path. Throws an Error with cargo's last lines. */
export async function buildEngine(architecture: EngineArchitecture): Promise<string> {
  const { cargo, target, rustFlags, environment } = findToolchain(architecture);
  const directory = join(root, "dist/engine", architecture);
  mkdirSync(directory, { recursive: true });
  const bundle = join(root, "dist/engine/bundle.js");
  writeIfChanged(bundle, await bundleForEngine(version));
  const output = join(root, "dist/engine/target");
  // The same bytes wherever it is built: no path of this machine in it.
  const cargoHome = process.env.CARGO_HOME ?? join(homedir(), ".cargo");
  const prefixes = [`${root}=/flannel-ts`, `${cargoHome}=/cargo`];
  const flags = [
    "-Ctarget-feature=+crt-static",
    ...rustFlags,
    ...prefixes.map((prefix) => `--remap-path-prefix=${prefix}`),
  ];
  const { status, error, stderr } = spawnSync(
    cargo,
    ["build", "--release", "--locked", "--quiet", `--target=${target}`, `--target-dir=${output}`],
    {
      cwd: native,
      encoding: "utf8",
      env: {
        ...process.env,
        ...environment,
        FLANNEL_CNI_BUNDLE: bundle,
        CARGO_ENCODED_RUSTFLAGS: flags.join("\x1f"),
        CFLAGS: prefixes.map((prefix) => `-ffile-prefix-map=${prefix}`).join(" "),
      },
    },
  );
  if (error !== undefined) throw new Error(`${cargo} does not run: ${error.message}`);
  if (status !== 0) throw new Error(stderr.trim().split("\n").slice(-15).join("\n"));
  const path = join(directory, "flannel");
  replaceFile(join(output, target, "release/cni-engine"), path);
  return path;
}

/** In one step: the old one may be running. */
function replaceFile(from: string, to: string): void {
  copyFileSync(from, `${to}.${process.pid}`);
  renameSync(`${to}.${process.pid}`, to);
}

/** Keeps the time of the file, by which cargo knows whether it has to build. */
function writeIfChanged(path: string, text: string): void {
  try {
    if (readFileSync(path, "utf8") === text) return;
  } catch {
    // not there yet
  }
  writeFileSync(path, text);
}

if (import.meta.main) {
  const place = join(root, "dist/flannel");
  try {
    replaceFile(await buildEngine(hostArchitecture), place);
  } catch (error) {
    rmSync(place, { force: true }); // of other sources
    const what = error instanceof Error ? error.message : String(error);
    console.error(
      `${what}\n\nThe CNI plugin's engine was not built: it needs cargo and rustc (1.87 or newer) and a C compiler.`,
    );
    if (process.argv.includes("--required")) process.exit(1);
    console.error(
      "bin/flannel works without it, in Node.js: each start takes some twenty times the processor time.",
    );
  }
}
