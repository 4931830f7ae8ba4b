/** What a release is made from: version, commit and its time, architectures, and where the results go. */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** An architecture by its names. */
export interface Architecture {
  /** Debian's, Go's and Docker's. */
  readonly name: "amd64" | "arm64";
  /** npm's. */
  readonly npm: "x64" | "arm64";
  /** The kernel's and RPM's. */
  readonly machine: "x86_64" | "aarch64";
}

export const ARCHITECTURES: readonly Architecture[] = [
  { name: "amd64", npm: "x64", machine: "x86_64" },
  { name: "arm64", npm: "arm64", machine: "aarch64" },
];

export interface ReleasePlan {
  /** The project's directory. */
  readonly root: string;
  /** Where the results go. */
  readonly out: string;
  readonly version: string;
  /** The commit of the sources; "" without git. */
  readonly commit: string;
  /** The commit's time, in seconds since 1970: that of every file (reproducible-builds.org, SOURCE_DATE_EPOCH). */
  readonly epochSeconds: number;
  /** Little compression, for tests. */
  readonly isFast: boolean;
  /** The image's repository in manifest and chart: "registry.example/net/flannel-ts"; "" = as in the sources. */
  readonly imageRepository: string;
}

export const PROJECT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** The version of package.json. */
export const readVersion = (): string =>
  (JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8")) as { version: string }).version;

/** The commit and its time. SOURCE_DATE_EPOCH takes precedence; a source archive without git needs it. */
export function readCommit(): { readonly commit: string; readonly epochSeconds: number } {
  const given = process.env.SOURCE_DATE_EPOCH;
  const git = (...args: string[]): string =>
    execFileSync("git", ["-C", PROJECT, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  try {
    return {
      commit: git("rev-parse", "HEAD"),
      epochSeconds: Number(given ?? git("show", "-s", "--format=%ct", "HEAD")),
    };
  } catch {
    if (given === undefined)
      throw new Error("there is no git here: set SOURCE_DATE_EPOCH to the time of the release");
    return { commit: "", epochSeconds: Number(given) };
  }
}
