/** The environment of flannelctl: on a host with flanneld's unit also the unit's settings, so that both use one datastore. */

import { readFileSync } from "node:fs";
import { messageOf } from "../base/error.ts";
import type { Environment } from "../config/flags.ts";
import { readUnitSettings, UNIT_SETTINGS_FILES } from "../config/unit-settings.ts";

let cached: Environment | undefined;

/** Variables of the process take precedence. A file that exists and cannot be read is reported. */
export function hostVariables(): Environment {
  cached ??= { ...readUnitSettings(UNIT_SETTINGS_FILES.flatMap(readIfPresent)), ...process.env };
  return cached;
}

function readIfPresent(path: string): string[] {
  try {
    return [readFileSync(path, "utf8")];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT")
      process.stderr.write(`flannelctl: ignoring the settings of flanneld's unit: ${messageOf(error)}\n`);
    return [];
  }
}
