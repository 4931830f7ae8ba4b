/**
 * Bundles each command into one file in dist/, so that a start reads one file instead of hundreds. Only koffi's native
 * part stays in node_modules, where the bundle finds it from dist/.
 */

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
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
await bundlePrograms(PROGRAMS, fresh, version);
mkdirSync(dist, { recursive: true });
for (const file of readdirSync(fresh)) renameSync(join(fresh, file), join(dist, file));
rmSync(fresh, { recursive: true });
