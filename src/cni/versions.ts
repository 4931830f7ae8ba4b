/** Versions of the CNI specification. */

import { CNI_CODE, CniError } from "./cni-error.ts";

/** What this plugin speaks, oldest first. Each is answered in itself: the delegate is told the version and replies in it. */
export const SUPPORTED_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** The newest. */
export const CURRENT_VERSION = "1.1.0";

/** What a config without a version means. */
export const FIRST_VERSION = "0.1.0";

/** The version that brought a command that not every version has. */
const SINCE: Readonly<Record<string, string>> = { CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" };

/** Throws CniError if a config of that version is not for us, or does not know the command. */
export function checkVersion(version: string, command: string): void {
  const position = indexOfVersion(version);
  if (position < 0) {
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      "incompatible CNI versions",
      `config is ${JSON.stringify(version)}, plugin supports ${SUPPORTED_VERSIONS.join(", ")}`,
    );
  }
  const since = SINCE[command];
  if (since !== undefined && position < indexOfVersion(since)) {
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      `config version does not allow ${command}`,
      `cniVersion is ${version}; ${command} came with ${since}`,
    );
  }
}

const indexOfVersion = (version: string): number =>
  (SUPPORTED_VERSIONS as readonly string[]).indexOf(version);
