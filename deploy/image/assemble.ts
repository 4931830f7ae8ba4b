/**
 * Lays out the image: for each architecture a root file system with only the files that it needs. Node.js and koffi are
 * npm packages of the lock file; nft, iptables and the C library are from the Debian release of this machine; the CNI plugin is
 * compiled here (scripts/build-engine.ts). No file of the image is run, so one machine builds all architectures.
 *
 * usage: assemble.ts [--locked] [amd64] [arm64]    → dist/image/{Dockerfile,root-amd64,root-arm64,packages-….txt}
 *
 * All inputs are pinned by digests: npm's in package-lock.json, Rust's in Cargo.lock, Debian's in packages.lock. Debian serves
 * only the newest version of a package. With --locked (a release) a package that differs from the lock is an error; without
 * it is reported, and its line for the lock is in packages-ARCHITECTURE.txt.
 *
 *     /opt/bin/{flanneld,flannelctl,install-cni}    the commands
 *     /opt/bin/{install-conf,cp}, /flannel          what the init containers of Go flannel's manifests use
 *     /opt/bin/mk-docker-opts.sh                    to be copied out: the image has no shell
 *     /opt/flannel/dist                             their bundles
 *     /opt/flannel/node_modules                     koffi's native part
 *     /opt/flannel/plugin                           installed on hosts: the CNI plugin, and its version
 *     /opt/flannel/iptables/{nft,legacy}            the two variants, for PATH
 *     /usr, /lib…                                   Node.js, the firewall tools and their libraries
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { buildEngine } from "../../scripts/build-engine.ts";
import { unpackPackages } from "../../scripts/debian-packages.ts";
import type { EngineArchitecture } from "../../scripts/engine-toolchain.ts";
import { readCommit } from "../../scripts/release/release-plan.ts";

interface Architecture {
  /** Debian's and Docker's name. */
  readonly name: EngineArchitecture;
  /** npm's. */
  readonly npm: string;
  readonly tuple: string;
  /** The path of the loader in binaries (the architecture's ELF psABI). */
  readonly loader: string;
}

const ARCHITECTURES: readonly Architecture[] = [
  { name: "amd64", npm: "x64", tuple: "x86_64-linux-gnu", loader: "/lib64/ld-linux-x86-64.so.2" },
  { name: "arm64", npm: "arm64", tuple: "aarch64-linux-gnu", loader: "/lib/ld-linux-aarch64.so.1" },
];

/** The packages of the programs below and of their libraries. */
const PACKAGES = [
  ...["libc6", "libstdc++6", "libgcc-s1", "libatomic1"],
  ...["nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libgmp10", "libedit2", "libbsd0"],
  ...["libmd0", "libtinfo6", "iptables", "libxtables12", "libip4tc2", "libip6tc2", "netbase"],
];
const PROGRAMS = ["nft", "xtables-nft-multi", "xtables-legacy-multi"];
const IPTABLES = ["iptables", "ip6tables"].flatMap((tool) => [tool, `${tool}-save`, `${tool}-restore`]);

/** Commands of the image, and the bundle behind each. The last two are those that Go flannel's manifests run. */
const COMMANDS = {
  flanneld: "flanneld-image",
  flannelctl: "flannelctl-image",
  "install-cni": "install-cni",
  "install-conf": "install-cni",
  cp: "install-cni",
};
/** Bundles that are not commands: others load them. */
const OTHER_BUNDLES = ["udp-worker", "wireguard-worker"];

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
const out = join(root, "dist/image");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

const isLocked = process.argv.includes("--locked");
const names = process.argv.slice(2).filter((word) => word !== "--locked");
const chosen = ARCHITECTURES.filter(({ name }) => (names.length === 0 ? ["amd64"] : names).includes(name));
if (chosen.length < names.length) {
  console.error(`assemble.ts: architectures are ${ARCHITECTURES.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}
for (const architecture of chosen) assemble(architecture, await buildEngine(architecture.name));
const dockerfile = readFileSync(join(here, "Dockerfile"), "utf8");
writeFileSync(join(out, "Dockerfile"), `${dockerfile}${labelLines()}`);

function assemble(architecture: Architecture, engine: string): void {
  const staging = mkdtempSync(join(tmpdir(), "flannel-image-"));
  try {
    const modules = installModules(staging, architecture);
    const debian = join(staging, "debian");
    checkPackages(
      unpackPackages(PACKAGES, architecture.name, join(staging, "apt"), debian),
      architecture.name,
    );
    const image = join(staging, "root");
    placePlugin(image, engine);
    placeNode(image, modules, architecture);
    placeCommands(image, modules, architecture);
    placeFirewallTools(image, debian, architecture);
    placeLibraries(image, debian, architecture);
    placeFile(image, "/etc/nsswitch.conf", "hosts: files dns\n");
    copy(join(debian, "etc/protocols"), image, "/etc/protocols");
    for (const directory of ["proc", "sys", "dev", "run", "tmp"])
      mkdirSync(join(image, directory), { recursive: true });
    const place = join(out, `root-${architecture.name}`);
    rmSync(place, { recursive: true, force: true });
    mkdirSync(out, { recursive: true });
    execFileSync("cp", ["-a", image, place]); // Node.js's cpSync would make links absolute
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** What the image says of itself (image-spec, "Pre-Defined Annotation Keys"); the time is the commit's. */
function labelLines(): string {
  const source = readSource();
  const labels = {
    title: "flannel-ts",
    description: "A layer-3 network fabric for container hosts: flannel, in TypeScript",
    licenses: "Apache-2.0",
    version,
    ...source,
  };
  return Object.entries(labels)
    .map(([key, value]) => `LABEL org.opencontainers.image.${key}=${JSON.stringify(value)}\n`)
    .join("");
}

function readSource(): { readonly revision?: string; readonly created?: string } {
  try {
    const { commit, epochSeconds } = readCommit();
    return { revision: commit, created: new Date(epochSeconds * 1000).toISOString() };
  } catch {
    return {}; // a source archive
  }
}

/** The packages of the lock file for this architecture, without development dependencies. */
function installModules(staging: string, { npm }: Architecture): string {
  const place = join(staging, "npm");
  mkdirSync(place);
  for (const file of ["package.json", "package-lock.json", ".npmrc"])
    copyFileSync(join(root, file), join(place, file));
  const flags = ["--omit=dev", "--os=linux", `--cpu=${npm}`, "--libc=glibc", "--loglevel=error"];
  execFileSync("npm", ["install", "--no-save", ...flags], {
    cwd: place,
    stdio: ["ignore", "ignore", "inherit"],
  });
  return join(place, "node_modules");
}

function checkPackages(packages: readonly string[], architecture: EngineArchitecture): void {
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, `packages-${architecture}.txt`), `${packages.join("\n")}\n`);
  const locked = new Set(readFileSync(join(here, "packages.lock"), "utf8").split("\n"));
  const others = packages.filter((line) => !locked.has(line));
  if (others.length === 0) return;
  console.error(`not as in deploy/image/packages.lock:\n${others.join("\n")}`);
  if (isLocked) throw new Error("update packages.lock from dist/image/packages-*.txt, and test that image");
}

function placePlugin(image: string, engine: string): void {
  copy(engine, image, "/opt/flannel/plugin/flannel");
  chmodSync(join(image, "opt/flannel/plugin/flannel"), 0o755);
  const digest = createHash("sha256").update(readFileSync(engine)).digest("hex");
  placeFile(image, "/opt/flannel/plugin/id", `${version}-${digest.slice(0, 12)}\n`);
  // Where Go flannel's image of the plugin has it.
  link(image, "/flannel", "/opt/flannel/plugin/flannel");
}

/** Without its debugging symbols: a fifth of it. */
function placeNode(image: string, modules: string, { npm }: Architecture): void {
  const node = join(image, "usr/bin/node");
  copy(join(modules, `node-linux-${npm}/bin/node`), image, "/usr/bin/node");
  execFileSync("eu-strip", [node]);
  chmodSync(node, 0o755);
}

function placeCommands(image: string, modules: string, { npm }: Architecture): void {
  for (const [command, name] of Object.entries(COMMANDS)) {
    const path = `/opt/flannel/dist/${name}.cjs`;
    copy(bundle(name), image, path);
    chmodSync(join(image, path), 0o755);
    link(image, `/opt/bin/${command}`, path);
  }
  // For Docker hosts: a POSIX shell script to copy out of the image, which has no shell.
  placeFile(
    image,
    "/opt/bin/mk-docker-opts.sh",
    readFileSync(join(root, "deploy/docker/mk-docker-opts.sh"), "utf8"),
    0o755,
  );
  copy(join(root, "dist/status-page.html"), image, "/opt/flannel/dist/status-page.html");
  for (const name of OTHER_BUNDLES) copy(bundle(name), image, `/opt/flannel/dist/${name}.cjs`);
  const koffi = `@koromix/koffi-linux-${npm}`;
  for (const file of ["package.json", "index.js", `linux_${npm}/koffi.node`]) {
    copy(join(modules, koffi, file), image, `/opt/flannel/node_modules/${koffi}/${file}`);
  }
}

function placeFirewallTools(image: string, debian: string, architecture: Architecture): void {
  const programs = PROGRAMS.map((program) => join(debian, "usr/sbin", program));
  const extensions = `usr/lib/${architecture.tuple}/xtables`;
  const modules = globSync("*.so", { cwd: join(debian, extensions) });
  for (const program of programs) copy(program, image, `/usr/sbin/${basename(program)}`);
  for (const file of modules) copy(join(debian, extensions, file), image, `/${extensions}/${file}`);
  for (const tool of IPTABLES) {
    for (const variant of ["nft", "legacy"]) {
      const program = `/usr/sbin/xtables-${variant}-multi`;
      link(image, `/usr/sbin/${tool.replace(/^ip6?tables/, `$&-${variant}`)}`, program);
      link(image, `/opt/flannel/iptables/${variant}/${tool}`, program);
    }
  }
}

/** What Node.js and the firewall tools need. */
function placeLibraries(image: string, debian: string, architecture: Architecture): void {
  const programs = PROGRAMS.map((program) => join(image, "usr/sbin", program));
  for (const library of librariesOf([join(image, "usr/bin/node"), ...programs], debian, architecture)) {
    const file = basename(library);
    const isLoader = file === basename(architecture.loader);
    copy(library, image, isLoader ? architecture.loader : `/lib/${architecture.tuple}/${file}`);
  }
}

/** The libraries that these binaries need, directly or indirectly, as paths in the unpacked packages. */
function librariesOf(binaries: readonly string[], debian: string, { tuple }: Architecture): string[] {
  const found = new Map<string, string>();
  const queue = [...binaries];
  for (let binary = queue.pop(); binary !== undefined; binary = queue.pop()) {
    const needed = execFileSync("patchelf", ["--print-needed", binary], { encoding: "utf8" });
    for (const name of needed.split("\n").filter((line) => line !== "" && !found.has(line))) {
      const place = [`lib/${tuple}`, `usr/lib/${tuple}`, "lib64", "lib"]
        .map((directory) => join(debian, directory, name))
        .find((path) => existsSync(path));
      if (place === undefined) throw new Error(`${binary} needs ${name}, which none of PACKAGES has`);
      found.set(name, place);
      queue.push(place);
    }
  }
  return [...found.values()];
}

function bundle(name: string): string {
  const path = join(root, "dist", `${name}.cjs`);
  if (!existsSync(path)) throw new Error(`${path} is missing: run make build first`);
  return path;
}

/** Copies a file into the image; symbolic links are followed. */
function copy(from: string, image: string, to: string): void {
  mkdirSync(join(image, dirname(to)), { recursive: true });
  copyFileSync(from, join(image, to));
}

function placeFile(image: string, path: string, text: string, mode = 0o644): void {
  mkdirSync(join(image, dirname(path)), { recursive: true });
  writeFileSync(join(image, path), text);
  chmodSync(join(image, path), mode);
}

/** A relative link: it is valid wherever the root file system is mounted. */
function link(image: string, path: string, target: string): void {
  mkdirSync(join(image, dirname(path)), { recursive: true });
  symlinkSync(relative(dirname(path), target), join(image, path));
}
