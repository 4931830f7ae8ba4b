/**
 * Lays out the image: for each architecture a root file system with only the files that it needs. Node.js and koffi are
 * npm packages of the lock file; nft, iptables and the C library are from the Debian release of this machine. No file of
 * the image is run, so one machine builds all architectures.
 *
 * usage: assemble.ts [amd64] [arm64]    → dist/image/{Dockerfile,root-amd64,root-arm64}
 *
 *     /opt/bin/{flanneld,flannelctl,install-cni}    the commands
 *     /opt/bin/{install-conf,cp}, /flannel          what the init containers of Go flannel's manifests use
 *     /opt/bin/mk-docker-opts.sh                    to be copied out: the image has no shell
 *     /opt/flannel/dist                             their bundles
 *     /opt/flannel/node_modules                     koffi's native part
 *     /opt/flannel/plugin                           installed on hosts: the CNI plugin, Node.js, the C library
 *     /opt/flannel/iptables/{nft,legacy}            the two variants, for PATH
 *     /usr, /lib…                                   the firewall tools; Node.js and the C library as links into plugin/
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

interface Architecture {
  /** Debian's and Docker's name. */
  readonly name: string;
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

const names = process.argv.slice(2);
const chosen = ARCHITECTURES.filter(({ name }) => (names.length === 0 ? ["amd64"] : names).includes(name));
if (chosen.length < names.length) {
  console.error(`assemble.ts: architectures are ${ARCHITECTURES.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}
for (const architecture of chosen) assemble(architecture);
copyFileSync(join(here, "Dockerfile"), join(out, "Dockerfile"));

function assemble(architecture: Architecture): void {
  const staging = mkdtempSync(join(tmpdir(), "flannel-image-"));
  try {
    const modules = installModules(staging, architecture);
    const debian = unpackPackages(staging, architecture);
    const image = join(staging, "root");
    placePlugin(image, debian, modules, architecture);
    placeCommands(image, modules, architecture);
    placeFirewallTools(image, debian, architecture);
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

/** Debian's packages for this architecture, unpacked; apt's lists and status are separate from the machine's. */
function unpackPackages(staging: string, { name }: Architecture): string {
  const place = join(staging, "debian");
  const state = join(staging, "apt");
  for (const directory of ["lists/partial", "cache/archives/partial", "downloads"]) {
    mkdirSync(join(state, directory), { recursive: true });
  }
  writeFileSync(join(state, "status"), "");
  const options = {
    "APT::Architecture": name,
    "APT::Architectures::": name,
    "APT::Sandbox::User": "root",
    "Dir::State::status": join(state, "status"),
    "Dir::State::Lists": join(state, "lists"),
    "Dir::Cache": join(state, "cache"),
  };
  const flags = ["-qq", ...Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`])];
  const cwd = join(state, "downloads");
  execFileSync("apt-get", [...flags, "update"], { cwd, stdio: "inherit" });
  execFileSync("apt-get", [...flags, "download", ...PACKAGES], { cwd, stdio: "inherit" });
  for (const file of globSync("*.deb", { cwd })) execFileSync("dpkg-deb", ["-x", join(cwd, file), place]);
  return place;
}

/**
 * Node.js without its debugging symbols (a fifth of it), and its libraries in `lib` beside it, which its rpath names: it must
 * not depend on the host's.
 */
function placePlugin(image: string, debian: string, modules: string, architecture: Architecture): void {
  const plugin = join(image, "opt/flannel/plugin");
  const node = join(plugin, "node");
  copy(join(modules, `node-linux-${architecture.npm}/bin/node`), image, "/opt/flannel/plugin/node");
  execFileSync("eu-strip", [node]);
  execFileSync("patchelf", ["--force-rpath", "--set-rpath", "$ORIGIN/lib", node]);
  chmodSync(node, 0o755);
  link(image, "/usr/bin/node", "/opt/flannel/plugin/node");
  for (const library of librariesOf([node], debian, architecture)) {
    const file = basename(library);
    copy(library, image, `/opt/flannel/plugin/lib/${file}`);
    const systemPlace =
      file === basename(architecture.loader) ? architecture.loader : `/lib/${architecture.tuple}/${file}`;
    link(image, systemPlace, `/opt/flannel/plugin/lib/${file}`);
  }
  copy(bundle("flannel"), image, "/opt/flannel/plugin/flannel.cjs");
  writeFileSync(join(plugin, "id"), `${version}-${digestOf(plugin)}\n`);
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
  // Where Go flannel's image of the plugin has it.
  link(image, "/flannel", "/opt/flannel/plugin");
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
  for (const library of librariesOf(programs, debian, architecture)) {
    const place = `/lib/${architecture.tuple}/${basename(library)}`;
    if (basename(library) !== basename(architecture.loader) && !existsSync(join(image, place)))
      copy(library, image, place);
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

/** Of the names and contents of all files: two trees of one version may differ. */
function digestOf(tree: string): string {
  const hash = createHash("sha256");
  for (const file of globSync("**/*", { cwd: tree }).sort()) {
    hash.update(`${file}\0`);
    if (!globSync(`${file}/*`, { cwd: tree }).length) hash.update(readFileSync(join(tree, file)));
  }
  return hash.digest("hex").slice(0, 12);
}
