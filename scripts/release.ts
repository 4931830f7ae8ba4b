/**
 * Makes a release: the same files from the same commit, byte by byte, on machines with the same Debian. See docs/packages.md.
 *
 * usage: release.ts [--architectures amd64,arm64] [--only tree,deb,rpm,chart] [--out DIRECTORY] [--version VERSION]
 *                   [--image REPOSITORY] [--fast]
 */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { sha256OfFile, writeTarXz } from "./release/archive.ts";
import { writeChart, writeManifest } from "./release/chart.ts";
import { makePackage } from "./release/packages.ts";
import {
  ARCHITECTURES,
  type Architecture,
  PROJECT,
  type ReleasePlan,
  readCommit,
  readVersion,
} from "./release/release-plan.ts";
import { layOutTree } from "./release/tree.ts";

const PARTS = ["tree", "deb", "rpm", "chart"];

const { values } = parseArgs({
  options: {
    architectures: { type: "string", default: ARCHITECTURES.map(({ name }) => name).join(",") },
    only: { type: "string", default: PARTS.join(",") },
    out: { type: "string", default: join(PROJECT, "dist/release") },
    version: { type: "string", default: readVersion() },
    image: { type: "string", default: "" },
    fast: { type: "boolean", default: false },
  },
});
const parts = listOf("only", values.only, PARTS);
const names = listOf(
  "architectures",
  values.architectures,
  ARCHITECTURES.map(({ name }) => name),
);
const plan: ReleasePlan = {
  root: PROJECT,
  out: values.out,
  version: values.version,
  ...readCommit(),
  isFast: values.fast,
  imageRepository: values.image,
};

process.umask(0o022);
rmSync(plan.out, { recursive: true, force: true });
mkdirSync(plan.out, { recursive: true });
const staging = mkdtempSync(join(tmpdir(), "flannel-release-"));
try {
  for (const architecture of ARCHITECTURES.filter(({ name }) => names.includes(name)))
    makeForHosts(architecture, join(staging, architecture.name));
  if (parts.includes("chart")) {
    writeChart(plan, join(staging, "chart"));
    writeManifest(plan);
  }
} finally {
  rmSync(staging, { recursive: true, force: true });
}
const files = readdirSync(plan.out).sort();
writeFileSync(
  join(plan.out, "SHA256SUMS"),
  files.map((file) => `${sha256OfFile(join(plan.out, file))}  ${file}\n`).join(""),
);
for (const file of [...files, "SHA256SUMS"]) console.log(join(plan.out, file));

/** What runs on a host of this architecture: the tree and the packages of it. */
function makeForHosts(architecture: Architecture, place: string): void {
  if (!["tree", "deb", "rpm"].some((part) => parts.includes(part))) return;
  const tree = join(place, `flannel-ts-${plan.version}`);
  layOutTree(plan, architecture, tree);
  if (parts.includes("tree"))
    writeTarXz(plan, tree, join(plan.out, `flannel-ts-${plan.version}-linux-${architecture.name}.tar.xz`));
  for (const kind of ["deb", "rpm"] as const)
    if (parts.includes(kind)) makePackage(plan, architecture, kind, tree, join(place, kind));
}

function listOf(flag: string, text: string, known: readonly string[]): readonly string[] {
  const items = text.split(",");
  const unknown = items.filter((item) => !known.includes(item));
  if (unknown.length === 0) return items;
  console.error(`release.ts: --${flag}: ${unknown.join(", ")}: known are ${known.join(", ")}`);
  process.exit(2);
}
