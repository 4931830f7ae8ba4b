/**
 * `cp` of the image, which has no shell and no coreutils, for the init containers of Go flannel's manifests:
 *
 *     cp -f /flannel /opt/cni/bin/flannel
 *     cp -f /etc/kube-flannel/cni-conf.json /etc/cni/net.d/10-flannel.conflist
 *
 * A file is copied under a temporary name and renamed, so that a reader sees the old file or the new one. /flannel is the
 * plugin: copying it installs it, and so removes what earlier versions have installed.
 */

import { chmodSync, copyFileSync, existsSync, realpathSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ConfigError, FlannelError, messageOf } from "../base/error.ts";
import { installPlugin } from "./install-plugin.ts";

const FLAGS = /^-(?:[fpv]+|-force|-preserve|-verbose)$/;

/**
 * Runs `cp` with its arguments: `[-f] SOURCE… TARGET`. Returns lines about what was done. Throws ConfigError for wrong
 * arguments, FlannelError for what the file system refuses.
 */
export function copyFiles(args: readonly string[]): string[] {
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
    return isPlugin(source) ? installAs(source, to) : copyFile(source, to);
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

/** What {@link installPlugin} takes: the image's /flannel, beside which its version is. */
function isPlugin(path: string): boolean {
  const directory = directoryOf(path);
  return directory !== undefined && existsSync(join(directory, "id"));
}

function directoryOf(path: string): string | undefined {
  try {
    const file = realpathSync(path);
    return basename(file) === "flannel" ? dirname(file) : undefined;
  } catch {
    return undefined; // copying it reports what is wrong
  }
}

function installAs(source: string, target: string): string[] {
  if (basename(target) !== "flannel") {
    throw new ConfigError(`the plugin can only be installed under the name flannel, not as ${target}`);
  }
  return installPlugin({ from: directoryOf(source)!, to: dirname(target) });
}
