/**
 * The npm packages of the lock file for an architecture. Those of this machine are in node_modules; for another one they
 * are installed beside, once for each lock file.
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "./archive.ts";
import { type Architecture, PROJECT } from "./release-plan.ts";

/** The directory node_modules of an architecture. */
export function findModules({ npm }: Architecture): string {
  if (process.arch === npm) return join(PROJECT, "node_modules");
  const lock = readFileSync(join(PROJECT, "package-lock.json"), "utf8");
  const place = join(PROJECT, "node_modules/.cache/release", `${npm}-${sha256(lock).slice(0, 16)}`);
  if (existsSync(place)) return join(place, "node_modules");
  const fresh = `${place}.${process.pid}`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  for (const file of ["package.json", "package-lock.json", ".npmrc"])
    copyFileSync(join(PROJECT, file), join(fresh, file));
  const flags = ["--omit=dev", "--os=linux", `--cpu=${npm}`, "--libc=glibc", "--loglevel=error"];
  // Not "npm ci": see the Makefile. Versions and checksums are those of the lock file.
  execFileSync("npm", ["install", "--no-save", ...flags], {
    cwd: fresh,
    stdio: ["ignore", "ignore", "inherit"],
  });
  renameSync(fresh, place);
  return join(place, "node_modules");
}
