/**
 * Installs the CNI plugin on a host, from inside a container.
 *
 * The plugin is a tree (Node.js, its C library, the bundle) and a launcher of two lines beside it:
 *
 *     <to>/flannel                          the launcher, which runtimes start
 *     <to>/.flannel-0.1.0-1f6c…/            the tree; its name contains a digest of its content
 *         id  node  flannel.cjs  lib/ld-linux-….so  lib/*.so
 *
 * A tree gets its name when it is complete, and never changes; the launcher is replaced by rename(2). So a runtime that
 * starts the plugin meanwhile runs the old version or the new one, and one that has just started the old one still finds its
 * files: the previous tree is removed by the next installation.
 */

import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  globSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { ConfigError, FlannelError, hasCode, messageOf } from "../base/error.ts";
import { makeDirectory } from "../base/make-directory.ts";

/** Source and target. */
export interface PluginPlaces {
  /** The tree to install: a directory with `id`, `node`, `flannel.cjs` and `lib/`. */
  readonly from: string;
  /** The host's directory of CNI plugins, as this process sees it. */
  readonly to: string;
  /** The same directory, as the host sees it. */
  readonly hostPath: string;
}

/** What runtimes call the plugin: the `type` in network configs. */
const LAUNCHER = "flannel";
const TREE_PREFIX = ".flannel-";
const TEMPORARY = ".new-";
/** The kernel reads this much of a script's first line (BINPRM_BUF_SIZE, linux/binfmts.h, since 5.1). */
const FIRST_LINE_BYTES = 255;

/**
 * Installs the plugin; an existing tree of the same name is kept. Returns lines about what was done. Throws ConfigError
 * for a host path that the launcher cannot contain, FlannelError for errors of the file system.
 */
export function installPlugin({ from, to, hostPath }: PluginPlaces): string[] {
  const id = readFileSync(join(from, "id"), "utf8").trim();
  const name = `${TREE_PREFIX}${id}`;
  const text = launcherText(join(hostPath, name), loaderOf(from));
  const launcher = join(to, LAUNCHER);
  try {
    makeDirectory(to);
    const before = treeOfLauncher(launcher);
    removeTemporaries(to);
    const isThere = isComplete(from, join(to, name));
    if (!isThere) placeTree(from, join(to, name));
    const isSame = isThere && readIfPresent(launcher) === text;
    if (!isSame) placeLauncher(launcher, text);
    removeTrees(to, [name, before]);
    if (isSame) return [`${launcher}: version ${id} is already installed`];
    return [
      `${launcher}: version ${id} installed${before === undefined ? "" : `, replacing ${versionOf(before)}`}`,
    ];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new FlannelError(
      code,
      `failed to install the plugin in ${hostPath}: ${messageOf(error)}${adviceOn(code, to)}`,
    );
  }
}

/**
 * The kernel starts the C library's loader, which starts Node.js, which reads this file (execve(2), "Interpreter scripts";
 * ld.so(8)). No shell is needed, and the host's C library is not used.
 */
function launcherText(tree: string, loader: string): string {
  if (!/^\/[^\s\\"]*$/.test(tree)) {
    throw new ConfigError(
      `--host-path must be an absolute path without blanks and quotes, not ${JSON.stringify(tree)}`,
    );
  }
  const firstLine = `#!${tree}/lib/${loader} ${tree}/node`;
  if (Buffer.byteLength(firstLine) > FIRST_LINE_BYTES) {
    throw new ConfigError(
      `--host-path is too long: the kernel reads ${FIRST_LINE_BYTES} bytes of a script's first line, this one has ${Buffer.byteLength(firstLine)}`,
    );
  }
  return `${firstLine}\nrequire(${JSON.stringify(`${tree}/flannel.cjs`)});\n`;
}

function loaderOf(tree: string): string {
  const loader = readdirSync(join(tree, "lib")).find((file) => /^ld-linux.*\.so/.test(file));
  if (loader === undefined)
    throw new FlannelError("ENOENT", `${tree}/lib has no ld-linux*.so: the image is damaged`);
  return loader;
}

/** Whether all files exist with their full size. */
const isComplete = (from: string, tree: string): boolean =>
  filesOf(from).every((file) => {
    const path = join(tree, file);
    return existsSync(path) && statSync(path).size === statSync(join(from, file)).size;
  });

/** The files of a tree, relative to it. */
const filesOf = (tree: string): string[] =>
  globSync("**", { cwd: tree }).filter((file) => !statSync(join(tree, file)).isDirectory());

function placeTree(from: string, tree: string): void {
  const fresh = join(dirname(tree), `${basename(tree)}${TEMPORARY}${process.pid}`);
  for (const file of filesOf(from)) {
    const path = join(fresh, file);
    makeDirectory(dirname(path));
    copyFileSync(join(from, file), path);
    chmodSync(path, statSync(join(from, file)).mode & 0o777);
    sync(path);
  }
  // A damaged tree of the same name cannot be replaced in one step, and cannot be in use.
  if (existsSync(tree)) renameSync(tree, `${fresh}-damaged`);
  renameSync(fresh, tree);
  sync(dirname(tree));
  removeTemporaries(dirname(tree));
}

function placeLauncher(launcher: string, text: string): void {
  const fresh = join(dirname(launcher), `${TREE_PREFIX}launcher${TEMPORARY}${process.pid}`);
  writeFileSync(fresh, text, { mode: 0o755 });
  chmodSync(fresh, 0o755); // the umask may have removed bits
  sync(fresh);
  renameSync(fresh, launcher);
  sync(dirname(launcher));
}

/** Removes what an interrupted installation left. Only one installation runs at a time. */
function removeTemporaries(directory: string): void {
  removeEntries(directory, (entry) => entry.startsWith(TREE_PREFIX) && entry.includes(TEMPORARY));
}

function removeTrees(directory: string, kept: readonly (string | undefined)[]): void {
  removeEntries(directory, (entry) => entry.startsWith(TREE_PREFIX) && !kept.includes(entry));
}

function removeEntries(directory: string, isStale: (entry: string) => boolean): void {
  for (const entry of readdirSync(directory).filter(isStale)) {
    rmSync(join(directory, entry), { recursive: true, force: true });
  }
}

/** The tree that the existing launcher starts; undefined if there is none, or it is another program. */
function treeOfLauncher(launcher: string): string | undefined {
  if (!lstatSync(launcher, { throwIfNoEntry: false })?.isFile()) return undefined;
  const fd = openSync(launcher, "r");
  try {
    const head = Buffer.alloc(FIRST_LINE_BYTES + 1);
    readSync(fd, head);
    return /^#!\S*\/(\.flannel-[^/\s]+)\/lib\//.exec(head.toString("latin1"))?.[1];
  } finally {
    closeSync(fd);
  }
}

const versionOf = (tree: string): string => tree.slice(TREE_PREFIX.length);

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** fsync(2), so that a power cut leaves no half-written file under its final name. */
function sync(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function adviceOn(code: string, directory: string): string {
  if (code === "ENOSPC") return "; the plugin needs 250 MB there while it is replaced";
  if (code === "EROFS") return "; it is read-only: choose another directory (the chart's flannel.cniBinDir)";
  if (code !== "EACCES" && code !== "EPERM") return "";
  const owner = statSync(directory, { throwIfNoEntry: false })?.uid;
  return owner === undefined || owner === 0
    ? ""
    : `; it belongs to user ${owner}, and this container may write to root's directories only: chown it to root, or add the capability DAC_OVERRIDE to this init container`;
}
