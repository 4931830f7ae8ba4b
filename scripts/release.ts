/**
 * Makes a release: the same files from the same commit, byte by byte, on machines with the same Debian. See docs/packages.md.
 *
 * usage: release.ts [--architectures amd64,arm64] [--only tree,deb,rpm,image,chart] [--out DIRECTORY] [--version VERSION]
 *                   [--image REPOSITORY] [--assembled DIRECTORY] [--fast]
 *
 * --image: where the image will be: manifest, chart and the image's name have it. --assembled: an image that is laid out
 * already, instead of what deploy/image/assemble.ts makes. --fast: little compression, and nothing is compiled.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { sha256OfFile, writeTarXz } from "./release/archive.ts";
import { writeChart, writeManifest } from "./release/chart.ts";
import { writeImageArchive } from "./release/image-archive.ts";
import { makePackage } from "./release/packages.ts";
import { writeProvenance } from "./release/provenance.ts";
import {
  ARCHITECTURES,
  type Architecture,
  PROJECT,
  type ReleasePlan,
  readCommit,
  readVersion,
} from "./release/release-plan.ts";
import { readDebianPackages, writeSbom } from "./release/sbom.ts";
import { layOutTree } from "./release/tree.ts";

const PARTS = ["tree", "deb", "rpm", "image", "chart"];

const { values } = parseArgs({
  options: {
    architectures: { type: "string", default: ARCHITECTURES.map(({ name }) => name).join(",") },
    only: { type: "string", default: PARTS.join(",") },
    out: { type: "string", default: join(PROJECT, "dist/release") },
    version: { type: "string", default: readVersion() },
    image: { type: "string", default: "" },
    assembled: { type: "string" },
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
const chosen = ARCHITECTURES.filter(({ name }) => names.includes(name));
const assembled = values.assembled ?? join(PROJECT, "dist/image");
const staging = mkdtempSync(join(tmpdir(), "flannel-release-"));
try {
  for (const architecture of chosen) await makeForHosts(architecture, join(staging, architecture.name));
  if (parts.includes("image")) {
    if (values.assembled === undefined)
      execFileSync(
        process.execPath,
        [join(PROJECT, "deploy/image/assemble.ts"), ...(plan.isFast ? [] : ["--locked"]), ...names],
        {
          stdio: "inherit",
        },
      );
    for (const architecture of chosen)
      writeImageArchive(plan, architecture, assembled, join(staging, `image-${architecture.name}`));
  }
  if (parts.includes("chart")) {
    writeChart(plan, join(staging, "chart"));
    writeManifest(plan);
  }
  writeSbom(
    plan,
    parts.includes("image")
      ? chosen.flatMap(({ name }) => readDebianPackages(join(assembled, `packages-${name}.txt`)))
      : [],
  );
} finally {
  rmSync(staging, { recursive: true, force: true });
}
const files = readdirSync(plan.out).sort();
writeFileSync(
  join(plan.out, "SHA256SUMS"),
  files.map((file) => `${sha256OfFile(join(plan.out, file))}  ${file}\n`).join(""),
);
writeProvenance(plan, files);
for (const file of readdirSync(plan.out).sort()) console.log(join(plan.out, file));

/** What runs on a host of this architecture: the tree and the packages of it. */
async function makeForHosts(architecture: Architecture, place: string): Promise<void> {
  if (!["tree", "deb", "rpm"].some((part) => parts.includes(part))) return;
  const tree = join(place, `flannel-ts-${plan.version}`);
  await layOutTree(plan, architecture, tree);
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
