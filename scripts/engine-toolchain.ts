/**
 * What compiles the CNI plugin's engine. For this machine's architecture: cargo from PATH. For the other one: Debian's Rust and
 * cross compiler (scripts/packages.sh engine-cross), with Rust's standard library for it from Debian's package of that
 * architecture, which is unpacked into a cache.
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { unpackPackages } from "./debian-packages.ts";

/** Debian's and Docker's names of the architectures. */
export type EngineArchitecture = "amd64" | "arm64";

export interface EngineToolchain {
  /** The program cargo. */
  readonly cargo: string;
  /** Rust's name of what the executable is built for. */
  readonly target: string;
  readonly rustFlags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

const TARGETS = { amd64: "x86_64-unknown-linux-gnu", arm64: "aarch64-unknown-linux-gnu" } as const;
const COMPILERS = { amd64: "x86_64-linux-gnu-gcc", arm64: "aarch64-linux-gnu-gcc" } as const;
const cache = join(dirname(dirname(fileURLToPath(import.meta.url))), "node_modules/.cache/engine");

/** This machine's architecture. */
export const hostArchitecture: EngineArchitecture = process.arch === "arm64" ? "arm64" : "amd64";

/** Throws Error if something is missing. */
export function findToolchain(architecture: EngineArchitecture): EngineToolchain {
  const target = TARGETS[architecture];
  if (architecture === hostArchitecture) return { cargo: "cargo", target, rustFlags: [], environment: {} };
  const compiler = COMPILERS[architecture];
  return {
    cargo: "/usr/bin/cargo",
    target,
    rustFlags: [`--sysroot=${standardLibrary(architecture)}/usr`],
    environment: {
      RUSTC: "/usr/bin/rustc",
      [`CARGO_TARGET_${target.toUpperCase().replaceAll("-", "_")}_LINKER`]: compiler,
      [`CC_${target.replaceAll("-", "_")}`]: compiler,
    },
  };
}

/** The root of the unpacked package; it must be of the version that /usr/bin/rustc has. */
function standardLibrary(architecture: EngineArchitecture): string {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own format
  const version = execFileSync("dpkg-query", ["--show", "--showformat=${Version}", "rustc-web"], {
    encoding: "utf8",
  });
  const place = join(cache, `${architecture}-${version}`);
  if (existsSync(place)) return place;
  const state = mkdtempSync(join(tmpdir(), "flannel-engine-"));
  try {
    const fresh = `${place}.${process.pid}`;
    mkdirSync(fresh, { recursive: true });
    unpackPackages([`libstd-rust-web-dev=${version}`], architecture, state, fresh);
    renameSync(fresh, place);
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
  return place;
}
