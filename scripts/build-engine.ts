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

/** Rust's names of what an executable is built for, by Debian's and Docker's. */
const TARGETS = { amd64: "x86_64-unknown-linux-gnu", arm64: "aarch64-unknown-linux-gnu" } as const;
type EngineArchitecture = keyof typeof TARGETS;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const native = join(root, "native/cni-engine");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

/** Builds the executable and returns its path. Throws an Error with cargo's last lines. */
export async function buildEngine(
  architecture: EngineArchitecture,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const target = TARGETS[architecture];
  const directory = join(root, "dist/engine", architecture);
  mkdirSync(directory, { recursive: true });
  const bundle = join(root, "dist/engine/bundle.js");
  writeIfChanged(bundle, await bundleForEngine(version));
  const output = join(root, "dist/engine/target");
  const cargoHome = environment.CARGO_HOME ?? join(homedir(), ".cargo");
  // The same bytes wherever it is built: no path of this machine in it.
  const prefixes = [`${root}=/flannel-ts`, `${cargoHome}=/cargo`];
  const { status, error, stderr } = spawnSync(
    "cargo",
    ["build", "--release", "--locked", "--quiet", `--target=${target}`, `--target-dir=${output}`],
    {
      cwd: native,
      encoding: "utf8",
      env: {
        ...environment,
        FLANNEL_CNI_BUNDLE: bundle,
        CARGO_ENCODED_RUSTFLAGS: [
          "-Ctarget-feature=+crt-static",
          ...prefixes.map((prefix) => `--remap-path-prefix=${prefix}`),
        ].join("\x1f"),
        CFLAGS: prefixes.map((prefix) => `-ffile-prefix-map=${prefix}`).join(" "),
      },
    },
  );
  if (error !== undefined) throw new Error(`cargo does not run: ${error.message}`);
  if (status !== 0) throw new Error(stderr.trim().split("\n").slice(-15).join("\n"));
  const path = join(directory, "flannel");
  copyFileSync(join(output, target, "release/cni-engine"), `${path}.${process.pid}`);
  renameSync(`${path}.${process.pid}`, path); // the old one may be running
  return path;
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
  const architecture = process.arch === "x64" ? "amd64" : "arm64";
  try {
    copyFileSync(await buildEngine(architecture), `${place}.${process.pid}`);
    renameSync(`${place}.${process.pid}`, place);
  } catch (error) {
    rmSync(place, { force: true }); // of other sources
    const what = error instanceof Error ? error.message : String(error);
    console.error(
      `${what}\n\nThe CNI plugin's engine was not built: it needs cargo and rustc (1.87 or newer) and a C compiler.`,
    );
    if (process.argv.includes("--required")) process.exit(1);
    console.error("bin/flannel works without it, in Node.js: each start takes ten times as long.");
  }
}
