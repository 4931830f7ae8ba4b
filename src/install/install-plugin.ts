/**
 * Installs the CNI plugin on a host, from inside a container: one static executable, `<to>/flannel`, and nothing beside it.
 *
 * It is replaced by rename(2), so a runtime that starts the plugin meanwhile runs the old version or the new one. Earlier
 * versions consisted of a launcher and a tree, `<to>/.flannel-0.1.0-1f6c…/`: the tree of the launcher that is replaced
 * stays until the next installation, because a process that has just started still reads its files.
 */

import {
  chmodSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { FlannelError, messageOf } from "../base/error.ts";
import { makeDirectory } from "../base/make-directory.ts";

/** Source and target. */
export interface PluginPlaces {
  /** A directory with `flannel`, the executable, and `id`, its version and digest. */
  readonly from: string;
  /** The host's directory of CNI plugins, as this process sees it. */
  readonly to: string;
}

/** What runtimes call the plugin: the `type` in network configs. */
const NAME = "flannel";
const TREE_PREFIX = ".flannel-";
const TEMPORARY = ".new-";
/** The kernel reads this much of a script's first line (BINPRM_BUF_SIZE, linux/binfmts.h). */
const FIRST_LINE_BYTES = 256;

/** Installs the plugin if it is not there yet. Returns lines about what was done. Throws FlannelError for errors of the file system. */
export function installPlugin({ from, to }: PluginPlaces): string[] {
  const source = join(from, NAME);
  const plugin = join(to, NAME);
  try {
    const id = readFileSync(join(from, "id"), "utf8").trim();
    makeDirectory(to);
    const tree = treeOfLauncher(plugin);
    removeEntries(to, (entry) => entry.startsWith(TREE_PREFIX) && entry !== tree);
    if (isSame(source, plugin)) return [`${plugin}: version ${id} is already installed`];
    placeExecutable(source, plugin);
    const before = tree === undefined ? "" : `, replacing ${tree.slice(TREE_PREFIX.length)}`;
    return [`${plugin}: version ${id} installed${before}`];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new FlannelError(
      code,
      `failed to install the plugin in ${to}: ${messageOf(error)}${adviceOn(code, to)}`,
    );
  }
}

function placeExecutable(source: string, plugin: string): void {
  const fresh = join(dirname(plugin), `${TREE_PREFIX}${TEMPORARY}${process.pid}`);
  copyFileSync(source, fresh);
  chmodSync(fresh, 0o755); // the umask may have removed bits
  sync(fresh);
  renameSync(fresh, plugin);
  sync(dirname(plugin));
}

/** Whether the host has a regular file with these bytes that can be executed. */
function isSame(source: string, plugin: string): boolean {
  const found = lstatSync(plugin, { throwIfNoEntry: false });
  if (!found?.isFile() || found.size !== statSync(source).size || (found.mode & 0o777) !== 0o755)
    return false;
  return readFileSync(plugin).equals(readFileSync(source));
}

/** The tree that the launcher of an earlier version starts; undefined if there is none, or it is another program. */
function treeOfLauncher(plugin: string): string | undefined {
  if (!lstatSync(plugin, { throwIfNoEntry: false })?.isFile()) return undefined;
  const fd = openSync(plugin, "r");
  try {
    const head = Buffer.alloc(FIRST_LINE_BYTES);
    readSync(fd, head);
    return /^#!\S*\/(\.flannel-[^/\s]+)\/lib\//.exec(head.toString("latin1"))?.[1];
  } finally {
    closeSync(fd);
  }
}

/** Stale trees, and what an interrupted installation left. Only one installation runs at a time. */
function removeEntries(directory: string, isStale: (entry: string) => boolean): void {
  for (const entry of readdirSync(directory).filter(isStale)) {
    rmSync(join(directory, entry), { recursive: true, force: true });
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
  if (code === "ENOSPC") return "; the plugin needs 10 MB there while it is replaced";
  if (code === "EROFS") return "; it is read-only: choose another directory (the chart's flannel.cniBinDir)";
  if (code !== "EACCES" && code !== "EPERM") return "";
  const owner = statSync(directory, { throwIfNoEntry: false })?.uid;
  return owner === undefined || owner === 0
    ? ""
    : `; it belongs to user ${owner}, and this container may write to root's directories only: chown it to root, or add the capability DAC_OVERRIDE to this init container`;
}
