/**
 * The configs that ADD stores for DEL: the delegate's config, in `<dataDir>/<containerId>`, as Go's plugin does.
 *
 * Go's plugin has this one file for each container. A container with two flannel interfaces needs two files, and a record
 * of which interface the first belongs to:
 *
 *     4f2a…           the config of the container's first interface
 *     .4f2a…          a symbolic link to the name of that interface; absent if it is eth0 alone
 *     4f2a…:net1      the config of another interface; no container ID has a colon
 *
 * Files are written atomically, and synced before the delegate runs: after a power cut the runtime still calls DEL, and the
 * delegate's addresses are still reserved. What is not a regular file (a directory, a FIFO) is not a stored config.
 */

import {
  closeSync,
  fchmodSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { hasCode, isAlreadyExists, isNotFound, messageOf } from "../base/error.ts";
import { makeDirectory } from "../base/make-directory.ts";
import { readRegularFile } from "../base/regular-file.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { Attachment } from "./parameters.ts";

/** A stored config. */
export interface StoredConfig {
  readonly path: string;
  readonly text: string;
}

/** A stored config from a listing, with the attachment that it belongs to. */
export interface FoundConfig extends StoredConfig {
  readonly containerId: string;
  readonly ifName: string;
  /** Whether `ifName` is only likely: Go's plugin does not store it. */
  readonly isGuess: boolean;
}

/** As much as the plugin accepts on stdin. */
const MAX_CONFIG_BYTES = 16 * 1024 * 1024;

/** The interface that runtimes create unless they create several. */
const USUAL_INTERFACE = "eth0";

/** Configs describe the host's network: accessible to root only, as in Go's plugin. */
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** Stores a config; returns the one that it replaces, undefined = none. Throws CniError (code 5). */
export function storeConfig(dataDir: string, attachment: Attachment, text: string): string | undefined {
  return describeFailure(`failed to store the delegate's config in ${dataDir}`, () => {
    makeDirectory(dataDir, DIRECTORY_MODE);
    const temporary = join(dataDir, `:${process.pid}.${Math.random().toString(36).slice(2)}`);
    try {
      writeDurably(temporary, text);
      const before = placeConfig(dataDir, attachment, temporary);
      syncDirectory(dataDir);
      return before;
    } finally {
      rmSync(temporary, { force: true });
    }
  });
}

/** The config stored for an interface; undefined = none. Throws CniError (code 5) if it cannot be read. */
export function findConfig(dataDir: string, attachment: Attachment): StoredConfig | undefined {
  return describeFailure("failed to read the stored config", () => {
    const own = ownConfig(dataDir, attachment);
    if (own !== undefined) return own;
    // Go's plugin does not store the name, and uses the config for any interface.
    return readOwner(ownerLink(dataDir, attachment.containerId)) === undefined
      ? readConfig(join(dataDir, attachment.containerId))
      : undefined;
  });
}

/** Removes a config. Throws CniError (code 5). */
export function removeConfig(dataDir: string, { containerId }: Attachment, { path }: StoredConfig): void {
  describeFailure(`cannot remove ${path}`, () => {
    // In this order, so that no link remains without its file.
    if (path === join(dataDir, containerId)) rmSync(ownerLink(dataDir, containerId), { force: true });
    rmSync(path, { force: true });
  });
}

/** All stored configs; removes stale links whose config Go's plugin has deleted. Throws CniError (code 5). */
export function listConfigs(dataDir: string): FoundConfig[] {
  return describeFailure(`cannot list ${dataDir}`, () => {
    const found: FoundConfig[] = [];
    for (const name of namesIn(dataDir)) {
      if (name.startsWith(":")) continue;
      if (name.startsWith(".")) {
        const isDangling = readConfig(join(dataDir, name.slice(1))) === undefined;
        if (isDangling) rmSync(join(dataDir, name), { force: true });
        continue;
      }
      const config = readConfig(join(dataDir, name));
      const [containerId = "", ifName = readOwner(ownerLink(dataDir, containerId))] = name.split(":", 2);
      const isGuess = ifName === undefined;
      if (config !== undefined)
        found.push({ ...config, containerId, ifName: ifName ?? USUAL_INTERFACE, isGuess });
    }
    return found;
  });
}

/**
 * Two interfaces of a container may be added at the same time: link(2) decides which of them gets the first file. The
 * symbolic link exists before an interface other than eth0 takes that file, and names eth0 before another one relies on that.
 */
function placeConfig(dataDir: string, attachment: Attachment, temporary: string): string | undefined {
  const { containerId, ifName } = attachment;
  const own = ownConfig(dataDir, attachment);
  if (own !== undefined) {
    renameSync(temporary, own.path);
    return own.text;
  }
  const isUsual = ifName === USUAL_INTERFACE;
  const owner = ownerLink(dataDir, containerId);
  const isClaimed = isUsual || unlessTaken(() => symlinkSync(ifName, owner));
  const isFirst =
    (isClaimed || readOwner(owner) === ifName) &&
    unlessTaken(() => linkSync(temporary, join(dataDir, containerId)));
  if (!isFirst) renameSync(temporary, join(dataDir, `${containerId}:${ifName}`));
  const firstIsUsual = isFirst === isUsual;
  if (firstIsUsual && isClaimed && readOwner(owner) !== undefined) {
    symlinkSync(USUAL_INTERFACE, `${temporary}.owner`);
    renameSync(`${temporary}.owner`, owner);
  }
  return undefined;
}

/** Creates a name; false if it exists. */
function unlessTaken(make: () => void): boolean {
  try {
    make();
    return true;
  } catch (error) {
    if (isAlreadyExists(error)) return false;
    throw error;
  }
}

/** The config of this interface, certainly or most likely. */
function ownConfig(dataDir: string, { containerId, ifName }: Attachment): StoredConfig | undefined {
  const further = readConfig(join(dataDir, `${containerId}:${ifName}`));
  if (further !== undefined) return further;
  // In this order: the link exists before the config.
  const first = readConfig(join(dataDir, containerId));
  const owner = readOwner(ownerLink(dataDir, containerId)) ?? USUAL_INTERFACE;
  return owner === ifName ? first : undefined;
}

const ownerLink = (dataDir: string, containerId: string): string => join(dataDir, `.${containerId}`);

const readOwner = (link: string): string | undefined => unlessNotFound(() => readlinkSync(link));

const readConfig = (path: string): StoredConfig | undefined =>
  unlessNotFound(() => ({ path, text: readRegularFile(path, MAX_CONFIG_BYTES) }));

const namesIn = (dataDir: string): string[] => unlessNotFound(() => readdirSync(dataDir)) ?? [];

function writeDurably(path: string, text: string): void {
  const file = openSync(path, "wx", FILE_MODE);
  try {
    fchmodSync(file, FILE_MODE); // whatever the umask says
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/** Names and places at which no ADD can have stored anything. */
const NEVER_STORED = ["ENOTDIR", "ENAMETOOLONG", "EISDIR", "ENOTREG"];

function unlessNotFound<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isNotFound(error) || NEVER_STORED.some((code) => hasCode(error, code))) return undefined;
    throw error;
  }
}

function describeFailure<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const hint = hasCode(error, "EROFS") ? "; choose a writable directory with dataDir" : "";
    throw new CniError(CNI_CODE.io, `${what}: ${messageOf(error)}${hint}`, "", { cause: error });
  }
}
