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

import { hasCode, isAlreadyExists, isNotFound, messageOf } from "../base/error.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { Attachment } from "./parameters.ts";
import { joinPath, type System } from "./system.ts";

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
export function storeConfig(
  system: System,
  dataDir: string,
  attachment: Attachment,
  text: string,
): string | undefined {
  return describeFailure(`failed to store the delegate's config in ${dataDir}`, () => {
    system.makeDirectory(dataDir, DIRECTORY_MODE);
    const temporary = joinPath(dataDir, `:${system.pid}.${Math.random().toString(36).slice(2)}`);
    try {
      system.writeNewFile(temporary, text, FILE_MODE);
      const before = placeConfig(system, dataDir, attachment, temporary);
      system.syncDirectory(dataDir);
      return before;
    } finally {
      system.remove(temporary);
    }
  });
}

/** The config stored for an interface; undefined = none. Throws CniError (code 5) if it cannot be read. */
export function findConfig(
  system: System,
  dataDir: string,
  attachment: Attachment,
): StoredConfig | undefined {
  return describeFailure("failed to read the stored config", () => {
    const own = ownConfig(system, dataDir, attachment);
    if (own !== undefined) return own;
    // Go's plugin does not store the name, and uses the config for any interface.
    return readOwner(system, ownerLink(dataDir, attachment.containerId)) === undefined
      ? readConfig(system, joinPath(dataDir, attachment.containerId))
      : undefined;
  });
}

/** Removes a config. Throws CniError (code 5). */
export function removeConfig(
  system: System,
  dataDir: string,
  { containerId }: Attachment,
  { path }: StoredConfig,
): void {
  describeFailure(`cannot remove ${path}`, () => {
    // In this order, so that no link remains without its file.
    if (path === joinPath(dataDir, containerId)) system.remove(ownerLink(dataDir, containerId));
    system.remove(path);
  });
}

/** All stored configs; removes stale links whose config Go's plugin has deleted. Throws CniError (code 5). */
export function listConfigs(system: System, dataDir: string): FoundConfig[] {
  return describeFailure(`cannot list ${dataDir}`, () => {
    const found: FoundConfig[] = [];
    for (const name of namesIn(system, dataDir)) {
      if (name.startsWith(":")) continue;
      if (name.startsWith(".")) {
        const isDangling = readConfig(system, joinPath(dataDir, name.slice(1))) === undefined;
        if (isDangling) system.remove(joinPath(dataDir, name));
        continue;
      }
      const config = readConfig(system, joinPath(dataDir, name));
      const [containerId = "", ifName = readOwner(system, ownerLink(dataDir, containerId))] = name.split(
        ":",
        2,
      );
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
function placeConfig(
  system: System,
  dataDir: string,
  attachment: Attachment,
  temporary: string,
): string | undefined {
  const { containerId, ifName } = attachment;
  const own = ownConfig(system, dataDir, attachment);
  if (own !== undefined) {
    system.rename(temporary, own.path);
    return own.text;
  }
  const isUsual = ifName === USUAL_INTERFACE;
  const owner = ownerLink(dataDir, containerId);
  const isClaimed = isUsual || unlessTaken(() => system.symlink(ifName, owner));
  const isFirst =
    (isClaimed || readOwner(system, owner) === ifName) &&
    unlessTaken(() => system.link(temporary, joinPath(dataDir, containerId)));
  if (!isFirst) system.rename(temporary, joinPath(dataDir, `${containerId}:${ifName}`));
  const firstIsUsual = isFirst === isUsual;
  if (firstIsUsual && isClaimed && readOwner(system, owner) !== undefined) {
    system.symlink(USUAL_INTERFACE, `${temporary}.owner`);
    system.rename(`${temporary}.owner`, owner);
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
function ownConfig(
  system: System,
  dataDir: string,
  { containerId, ifName }: Attachment,
): StoredConfig | undefined {
  const further = readConfig(system, joinPath(dataDir, `${containerId}:${ifName}`));
  if (further !== undefined) return further;
  // In this order: the link exists before the config.
  const first = readConfig(system, joinPath(dataDir, containerId));
  const owner = readOwner(system, ownerLink(dataDir, containerId)) ?? USUAL_INTERFACE;
  return owner === ifName ? first : undefined;
}

const ownerLink = (dataDir: string, containerId: string): string => joinPath(dataDir, `.${containerId}`);

const readOwner = (system: System, link: string): string | undefined =>
  unlessNotFound(() => system.readLink(link));

const readConfig = (system: System, path: string): StoredConfig | undefined =>
  unlessNotFound(() => ({ path, text: system.readRegularFile(path, MAX_CONFIG_BYTES) }));

const namesIn = (system: System, dataDir: string): string[] =>
  unlessNotFound(() => system.list(dataDir)) ?? [];

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
