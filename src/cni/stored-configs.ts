/**
 * What ADD keeps for DEL: the delegate's config, in `<dataDir>/<containerId>`, where Go's plugin keeps it too.
 *
 * Go has that one place for each container. A container with two flannel interfaces needs two, and it must be known
 * whose the first is:
 *
 *     4f2a…           the config of the container's first interface
 *     .4f2a…          a symbolic link whose text is the name of that interface, where it is not just eth0 alone
 *     4f2a…:net1      the config of another interface; no container ID has a colon
 *
 * Files are written whole or not at all, and are on the disk before the delegate runs: after a power cut the runtime
 * still asks for DEL, and the delegate still holds addresses.
 */

import {
  closeSync,
  fchmodSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { hasCode, isAlreadyExists, isNotFound, messageOf } from "../base/error.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { Attachment } from "./parameters.ts";

export interface StoredConfig {
  readonly path: string;
  readonly text: string;
}

/** A stored config seen without knowing what was asked for. */
export interface FoundConfig extends StoredConfig {
  readonly containerId: string;
  readonly ifName: string;
  /** Whether the name is only likely: Go's plugin does not keep it. */
  readonly isGuess: boolean;
}

/** The interface that runtimes make unless they make several. */
const USUAL_INTERFACE = "eth0";

/** The directory and its files may tell about the host's network: root only, as Go's plugin has it. */
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** Keeps a config, and gives back what was kept for this interface before, if anything. Throws CniError. */
export function storeConfig(dataDir: string, attachment: Attachment, text: string): string | undefined {
  return describeFailure(`cannot keep the delegate's config in ${dataDir}`, () => {
    makeDirectory(dataDir);
    const temporary = join(dataDir, `:${process.pid}.${Math.random().toString(36).slice(2)}`);
    try {
      writeDurably(temporary, text);
      const before = putInPlace(dataDir, attachment, temporary);
      syncDirectory(dataDir);
      return before;
    } finally {
      rmSync(temporary, { force: true });
    }
  });
}

/** What is kept for an interface; undefined = nothing. Throws CniError if it cannot be read. */
export function findConfig(dataDir: string, attachment: Attachment): StoredConfig | undefined {
  return describeFailure("cannot read what ADD has kept", () => {
    const own = ownConfig(dataDir, attachment);
    if (own !== undefined) return own;
    // Of Go's plugin: it does not keep the name, and takes the config for any interface's.
    return readOwner(ownerLink(dataDir, attachment.containerId)) === undefined
      ? readConfig(join(dataDir, attachment.containerId))
      : undefined;
  });
}

/** Forgets a config. Throws CniError if it cannot be removed. */
export function removeConfig(dataDir: string, { containerId }: Attachment, { path }: StoredConfig): void {
  describeFailure(`cannot remove ${path}`, () => {
    // In this order, so that no link stays without its file.
    if (path === join(dataDir, containerId)) rmSync(ownerLink(dataDir, containerId), { force: true });
    rmSync(path, { force: true });
  });
}

/** All that is kept; takes away links that Go's plugin has left behind. Throws CniError. */
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
 * Two interfaces of a container may be made at the same time: link(2) decides whose the first place is. The symbolic link
 * is there before an interface that is not eth0 takes it, and says eth0 before another one counts on that.
 */
function putInPlace(dataDir: string, attachment: Attachment, temporary: string): string | undefined {
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

/** Makes a name; false if it exists. */
function unlessTaken(make: () => void): boolean {
  try {
    make();
    return true;
  } catch (error) {
    if (isAlreadyExists(error)) return false;
    throw error;
  }
}

/** The config that is this interface's, or most likely so. */
function ownConfig(dataDir: string, { containerId, ifName }: Attachment): StoredConfig | undefined {
  const further = readConfig(join(dataDir, `${containerId}:${ifName}`));
  if (further !== undefined) return further;
  // In this order: an owner is named before its config is there.
  const first = readConfig(join(dataDir, containerId));
  const owner = readOwner(ownerLink(dataDir, containerId)) ?? USUAL_INTERFACE;
  return owner === ifName ? first : undefined;
}

const ownerLink = (dataDir: string, containerId: string): string => join(dataDir, `.${containerId}`);

const readOwner = (link: string): string | undefined => unlessNotFound(() => readlinkSync(link));

const readConfig = (path: string): StoredConfig | undefined =>
  unlessNotFound(() => ({ path, text: readFileSync(path, "utf8") }));

const namesIn = (dataDir: string): string[] => unlessNotFound(() => readdirSync(dataDir)) ?? [];

/** mkdir -p. Node's own never comes to an end where mkdir(2) says ENOENT although the parent is there, as in /proc. */
function makeDirectory(path: string): void {
  const make = (): void => {
    try {
      mkdirSync(path, { mode: DIRECTORY_MODE });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error; // if it is no directory, what follows says so
    }
  };
  try {
    make();
  } catch (error) {
    if (!hasCode(error, "ENOENT") || dirname(path) === path) throw error;
    makeDirectory(dirname(path));
    make();
  }
}

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

function unlessNotFound<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isNotFound(error)) return undefined;
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
