/** Versions of the CNI specification, and the commands that each has (specification 1.1.0, section 2). */

import { CNI_CODE, CniError } from "./cni-error.ts";

/** The versions that this plugin supports, oldest first. Results have the config's version: the delegate gets it and answers in it. */
export const SUPPORTED_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** The newest version. */
export const CURRENT_VERSION = "1.1.0";

/** The version of a config without cniVersion. */
export const FIRST_VERSION = "0.1.0";

/** The version that introduced a command. */
const SINCE: Readonly<Record<string, string>> = { CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" };

/** Throws CniError (code 1) if the version is not supported, or does not have the command. */
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
