/**
 * The root file system of the virtual machine, as an initramfs (kernel documentation, early-userspace/buffer-format): busybox,
 * Node.js, the programs that the tests run with their libraries, the kernel's modules, and the tests as bundles, because
 * stripping types from hundreds of files takes long on an emulated processor.
 */

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { build } from "esbuild";

/** Programs of the host by name; the first path of $PATH counts. */
const PROGRAMS = [
  ...["ip", "bridge", "ping", "nft", "xtables-nft-multi", "wg", "unshare", "nsenter", "setpriv", "mount"],
  ...["tcpdump"],
];
/** strongSwan's IKE daemon, at the place where flanneld finds it, and the plugins that flanneld has it load. */
const CHARON = "/usr/lib/ipsec/charon";
const CHARON_PLUGINS = [
  ...["random", "nonce", "openssl", "aes", "sha1", "sha2", "hmac", "kdf", "gmp", "gcm", "curve25519"],
  ...["kernel-netlink", "socket-default", "vici"],
].map((name) => `/usr/lib/ipsec/plugins/libstrongswan-${name}.so`);
/** Names under which the kernel's and our own code call them. */
const LINKS: Readonly<Record<string, string>> = {
  iptables: "xtables-nft-multi",
  "iptables-save": "xtables-nft-multi",
  "iptables-restore": "xtables-nft-multi",
  "iptables-nft": "xtables-nft-multi",
  "iptables-nft-save": "xtables-nft-multi",
  "iptables-nft-restore": "xtables-nft-multi",
  ip6tables: "xtables-nft-multi",
  "ip6tables-save": "xtables-nft-multi",
  "ip6tables-restore": "xtables-nft-multi",
  "ip6tables-nft-save": "xtables-nft-multi",
  "ip6tables-nft-restore": "xtables-nft-multi",
};
/** Of the modules, these folders are enough: network, its drivers, cryptography. */
const MODULE_FOLDERS = [
  "net",
  "crypto",
  "lib",
  "arch/x86/crypto",
  "drivers/net",
  "drivers/crypto",
  "drivers/char",
];

export interface RootOptions {
  /** An empty directory to lay it out in. */
  readonly root: string;
  /** The project's directory. */
  readonly project: string;
  /** The kernel's release, as in /lib/modules. */
  readonly release: string;
  /** Test files, relative to the project. */
  readonly tests: readonly string[];
}

/** Lays out the files. Throws when a program is missing on this machine. */
export async function layOutRoot({ root, project, release, tests }: RootOptions): Promise<void> {
  for (const folder of ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "var", "project/node_modules"])
    mkdirSync(join(root, folder), { recursive: true });
  symlinkSync("/run", join(root, "var/run"));
  const files = new Set<string>();
  for (const program of PROGRAMS) {
    const path = execFileSync("sh", ["-c", 'PATH=$PATH:/usr/sbin:/sbin; command -v "$0"', program], {
      encoding: "utf8",
    }).trim();
    addProgram(files, path);
    copyAs(root, path, join("bin", program));
  }
  for (const path of [CHARON, ...CHARON_PLUGINS]) {
    addProgram(files, path);
    copyAs(root, path, path);
  }
  const node = realpathSync(process.execPath);
  addProgram(files, node);
  copyAs(root, node, "bin/node");
  copyAs(root, "/bin/busybox", "bin/busybox");
  for (const [name, target] of Object.entries(LINKS)) symlinkSync(target, join(root, "bin", name));
  for (const plugin of globSync("/usr/lib/*/xtables/*.so")) copyAs(root, plugin, plugin);
  for (const file of files) copyAs(root, file, file);
  addModules(root, release);
  addProject(root, project);
  await bundleTests(join(root, "project"), project, tests);
  await bundleWorker(join(root, "project"), project);
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/:/bin/sh\n");
  writeFileSync(join(root, "etc/protocols"), "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nesp 50 ESP\n");
  copyFileSync(join(import.meta.dirname, "init.sh"), join(root, "init"));
  chmodSync(join(root, "init"), 0o755);
}

/** The program's libraries and loader, as ldd(1) finds them. */
function addProgram(files: Set<string>, path: string): void {
  for (const [, library] of execFileSync("ldd", [path], { encoding: "utf8" }).matchAll(/(\/\S+) \(0x/g))
    files.add(library!);
}

function copyAs(root: string, from: string, to: string): void {
  const path = join(root, to);
  mkdirSync(dirname(path), { recursive: true });
  if (!existsSync(path)) copyFileSync(realpathSync(from), path);
}

function addModules(root: string, release: string): void {
  const modules = `/lib/modules/${release}`;
  for (const folder of MODULE_FOLDERS) {
    const from = join(modules, "kernel", folder);
    if (existsSync(from)) cpSync(from, join(root, from), { recursive: true });
  }
  for (const name of readdirSync(modules)) {
    if (/^modules\./.test(name)) copyAs(root, join(modules, name), join(modules, name));
  }
}

/** What the bundles leave outside: koffi with its native part, and files that sources read beside themselves. */
function addProject(root: string, project: string): void {
  for (const name of ["koffi", "@koromix"]) {
    const from = join(project, "node_modules", name);
    if (existsSync(from))
      cpSync(from, join(root, "project/node_modules", name), { recursive: true, dereference: true });
  }
  copyFileSync(join(project, "package.json"), join(root, "project/package.json"));
}

async function bundleTests(outdir: string, project: string, tests: readonly string[]): Promise<void> {
  await build({
    absWorkingDir: project,
    entryPoints: tests.map((file) => ({ in: file, out: basename(file, ".ts") })),
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node26",
    external: ["koffi"],
    logLevel: "warning",
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
}

/** The thread of userspace WireGuard devices, where the bundled tests look for it. */
async function bundleWorker(outdir: string, project: string): Promise<void> {
  await build({
    absWorkingDir: project,
    entryPoints: ["src/cmd/wireguard-worker.ts"],
    outfile: join(outdir, "wireguard-worker.cjs"),
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node26",
    external: ["koffi"],
    logLevel: "warning",
  });
}
