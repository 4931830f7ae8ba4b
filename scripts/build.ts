/**
 * Bundles each command into one file in dist/, so that a start reads one file instead of hundreds. Only koffi's native
 * part stays in node_modules, where the bundle finds it from dist/. The status page is a file of its own: it is read when
 * it is requested.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPage } from "./build-page.ts";
import { bundlePrograms, type Program } from "./bundle.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");
const source = (name: string): string => join(root, "src/cmd", `${name}.ts`);

const PROGRAMS: readonly Program[] = [
  ...["flanneld", "flannelctl", "udp-worker", "wireguard-worker"].map((name) => ({
    in: source(name),
    out: name,
  })),
  { in: source("cni"), out: "flannel" }, // a CNI plugin is called what configs name as its type
  // In the image there is no shell: its commands are the bundles themselves.
  ...["flanneld-image", "flannelctl-image", "install-cni"].map((name) => ({
    in: source(name),
    out: name,
    hashbang: "#!/usr/bin/node",
  })),
];

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

// Made beside and put in place file by file: a flanneld that starts meanwhile reads the old bundle or the new one.
const fresh = `${dist}.${process.pid}`;
await bundlePrograms(PROGRAMS, fresh, version, revisionOf(root));
writeFileSync(join(fresh, "status-page.html"), await buildPage());
mkdirSync(dist, { recursive: true });
for (const file of readdirSync(fresh)) renameSync(join(fresh, file), join(dist, file));
rmSync(fresh, { recursive: true });

/** The commit of the sources, with "-dirty" if they differ from it; "" without git, as in a source archive. */
function revisionOf(directory: string): string {
  const git = (...args: string[]) => spawnSync("git", ["-C", directory, ...args], { encoding: "utf8" });
  const commit = git("rev-parse", "--short=12", "HEAD");
  if (commit.error !== undefined || commit.status !== 0) return "";
  const isDirty = git("status", "--porcelain", "--", "src").stdout !== "";
  return `${commit.stdout.trim()}${isDirty ? "-dirty" : ""}`;
}
