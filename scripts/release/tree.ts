/**
 * The relocatable tree: everything that runs on a host, in the layout that the launchers know (bin, dist, node_modules). It
 * runs from wherever it is unpacked; the packages contain the same tree.
 *
 *     bin/            flanneld, flannelctl, flannel (the CNI plugin), mk-docker-opts.sh
 *     dist/           bundles
 *     node_modules/   Node.js without debugging symbols, koffi's native part
 *     systemd/        the units, and the file with their settings
 *     share/          manual pages, completions, JSON Schema and example of flanneld.yaml
 */

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { buildEngine } from "../build-engine.ts";
import { findModules } from "./modules.ts";
import type { Architecture, ReleasePlan } from "./release-plan.ts";

const LAUNCHERS = ["flanneld", "flannelctl", "flannel"];
const BUNDLES = ["flanneld.cjs", "flannelctl.cjs", "udp-worker.cjs", "wireguard-worker.cjs"];
const UNITS = ["flanneld.service", "flanneld.sysconfig", "docker.service.d/flannel.conf"];

/** Lays out the tree in `place`, which must not exist. */
export async function layOutTree(
  plan: ReleasePlan,
  architecture: Architecture,
  place: string,
): Promise<void> {
  const { root } = plan;
  const copy = (from: string, to: string, mode = 0o644): void => {
    mkdirSync(join(place, dirname(to)), { recursive: true });
    copyFileSync(from, join(place, to));
    chmodSync(join(place, to), mode);
  };
  for (const name of LAUNCHERS) copy(join(root, "bin", name), `bin/${name}`, 0o755);
  copy(join(root, "bin/launch.sh"), "bin/launch.sh");
  copy(join(root, "deploy/docker/mk-docker-opts.sh"), "bin/mk-docker-opts.sh", 0o755);
  for (const name of [...BUNDLES, "status-page.html"]) {
    if (!existsSync(join(root, "dist", name)))
      throw new Error(`dist/${name} is missing: run make build first`);
    copy(join(root, "dist", name), `dist/${name}`);
  }
  // The CNI plugin.
  const built = join(root, "dist/engine", architecture.name, "flannel");
  copy(
    plan.isFast && existsSync(built) ? built : await buildEngine(architecture.name),
    "dist/flannel",
    0o755,
  );
  for (const name of UNITS) copy(join(root, "deploy/systemd", name), `systemd/${name}`);
  for (const name of ["flanneld.schema.json", "flanneld.yaml"])
    copy(join(root, "deploy/config", name), `share/${name}`);
  const environment = { ...process.env, SOURCE_DATE_EPOCH: String(plan.epochSeconds) };
  for (const [script, directory] of Object.entries({
    "man-pages.ts": "man",
    "completions.ts": "completions",
  }))
    execFileSync(process.execPath, [join(root, "scripts", script), join(place, "share", directory)], {
      env: environment,
    });
  for (const name of ["LICENSE", "README.md", "CHANGELOG.md"]) copy(join(root, name), name);

  const modules = findModules(architecture);
  const node = `node_modules/node-linux-${architecture.npm}`;
  copy(join(modules, `node-linux-${architecture.npm}/bin/node`), `${node}/bin/node`, 0o755);
  execFileSync("eu-strip", [join(place, node, "bin/node")]);
  copy(join(modules, `node-linux-${architecture.npm}/LICENSE`), `${node}/LICENSE`);
  const koffi = `@koromix/koffi-linux-${architecture.npm}`;
  for (const file of ["package.json", "index.js", `linux_${architecture.npm}/koffi.node`])
    copy(join(modules, koffi, file), `node_modules/${koffi}/${file}`);
  writeFileSync(join(place, "THIRD-PARTY-NOTICES"), noticesOf(modules, root));
  writeFileSync(join(place, "VERSION"), `${plan.version} ${plan.commit}\n`);
  execFileSync("find", [
    place,
    "-exec",
    "touch",
    "--no-dereference",
    `--date=@${plan.epochSeconds}`,
    "{}",
    "+",
  ]);
}

/** The licenses of the libraries in the bundles; those of Node.js are in its file. */
function noticesOf(modules: string, root: string): string {
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  return Object.entries(dependencies)
    .map(([name, version]) => {
      const file = globSync(join(modules, name, "LICEN[SC]E*"))[0];
      const { license } = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8")) as {
        license: string;
      };
      return `${name} ${version}: ${license}\n\n${file === undefined ? "" : readFileSync(file, "utf8")}`;
    })
    .join("\n----------------\n\n");
}

/** A text of the tree's unit file, for another place of the programs. */
export const unitOf = ({ root }: ReleasePlan, file: string): string =>
  readFileSync(join(root, "deploy/systemd", file), "utf8");
