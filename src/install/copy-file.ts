/**
 * `cp` of the image, which has no shell and no coreutils, for the init containers of Go flannel's manifests:
 *
 *     cp -f /flannel /opt/cni/bin/flannel
 *     cp -f /etc/kube-flannel/cni-conf.json /etc/cni/net.d/10-flannel.conflist
 *
 * A file is copied under a temporary name and renamed, so that a reader sees the old file or the new one. /flannel is the
 * plugin, which is more than one file: copying it installs it.
 */

import {
  chmodSync,
  copyFileSync,
  existsSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { ConfigError, FlannelError, messageOf } from "../base/error.ts";
import { installPlugin } from "./install-plugin.ts";

/** What decides where the host sees a directory of this container. */
export interface CopyPorts {
  /** The text of /proc/self/mountinfo. */
  readonly mountInfo: string;
  /** FLANNEL_CNI_HOST_PATH: the host's directory of CNI plugins, if the mount does not say it. */
  readonly hostPath: string | undefined;
}

const FLAGS = /^-(?:[fpv]+|-force|-preserve|-verbose)$/;

/** Reads the ports from this container. */
export const copyPorts = (): CopyPorts => ({
  mountInfo: readFileSync("/proc/self/mountinfo", "utf8"),
  hostPath: process.env.FLANNEL_CNI_HOST_PATH,
});

/**
 * Runs `cp` with its arguments: `[-f] SOURCE… TARGET`. Returns lines about what was done. Throws ConfigError for wrong
 * arguments, FlannelError for what the file system refuses.
 */
export function copyFiles(args: readonly string[], ports: CopyPorts): string[] {
  const end = args.indexOf("--");
  const flags = (end < 0 ? args : args.slice(0, end)).filter((word) => word.startsWith("-"));
  const paths = args.filter(
    (word, index) => word !== "--" && (!word.startsWith("-") || (end >= 0 && index > end)),
  );
  const unknown = flags.find((flag) => !FLAGS.test(flag));
  const target = paths.at(-1);
  if (unknown !== undefined || target === undefined || paths.length < 2) {
    throw new ConfigError(
      `${unknown === undefined ? "cp needs a source and a target" : `cp does not support ${JSON.stringify(unknown)}`}; usage: cp [-f] SOURCE... TARGET`,
    );
  }
  const isDirectory = existsSync(target) && statSync(target).isDirectory();
  if (paths.length > 2 && !isDirectory) throw new ConfigError(`${target} is not a directory`);
  return paths.slice(0, -1).flatMap((source) => {
    const to = isDirectory ? join(target, basename(source)) : target;
    return isPlugin(source) ? installTree(source, to, ports) : copyFile(source, to);
  });
}

/** Copies one regular file atomically, with its permissions. Throws FlannelError. */
export function copyFile(source: string, target: string): string[] {
  const temporary = join(dirname(target), `.${basename(target)}.new-${process.pid}`);
  try {
    const stats = statSync(source);
    if (!stats.isFile()) throw new FlannelError("ENOTREG", "is not a regular file");
    copyFileSync(source, temporary);
    chmodSync(temporary, stats.mode & 0o777);
    renameSync(temporary, target);
    return [];
  } catch (error) {
    const code = (error as { code?: string }).code ?? "EIO";
    throw new FlannelError(code, `failed to copy ${source} to ${target}: ${messageOf(error)}`);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** A tree that {@link installPlugin} takes. */
const isPlugin = (path: string): boolean =>
  ["id", "node", "flannel.cjs"].every((file) => existsSync(join(path, file)));

function installTree(source: string, target: string, ports: CopyPorts): string[] {
  if (basename(target) !== "flannel") {
    throw new ConfigError(`the plugin can only be installed under the name flannel, not as ${target}`);
  }
  const to = dirname(target);
  const hostPath = ports.hostPath ?? hostPathOf(to, ports.mountInfo);
  const lines = installPlugin({ from: realpathSync(source), to, hostPath });
  if (hostPath === to) return lines;
  return [...lines, `the host sees ${to} as ${hostPath}; if that is wrong, set FLANNEL_CNI_HOST_PATH`];
}

/**
 * The host's path of a directory that is mounted here: the fourth field of its line in mountinfo (proc(5)) is its path
 * inside its file system. If that ends like the path here, or the other way round (a file system of its own for /opt, a
 * subvolume), the path is the same on the host.
 */
function hostPathOf(directory: string, mountInfo: string): string {
  const mount = mountInfo.split("\n").findLast((line) => line.split(" ")[4] === directory);
  const root = mount
    ?.split(" ")[3]
    ?.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
  if (root === undefined || root === "/" || root.endsWith(directory) || directory.endsWith(root))
    return directory;
  return root;
}
