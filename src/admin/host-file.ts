/** What flanneld.yaml of this host says, for commands that have some of flanneld's flags. */

import { printable } from "../base/printable.ts";
import type { CommandContext } from "../config/command.ts";
import { type ConfigFile, isUnreadable, readConfigFile } from "../config/config-file.ts";
import type { FileValue, ParsedFlags } from "../config/flags.ts";
import type { CONFIG_FILE_FLAG } from "../config/options-program-table.ts";

/**
 * Its values. For a user who may not read the default file it is left out, which is reported. Throws ConfigError for a named file
 * that cannot be read, and for faults in it.
 */
export async function readHostFile(
  flags: ParsedFlags<typeof CONFIG_FILE_FLAG>,
  { printError }: Pick<CommandContext, "printError">,
): Promise<readonly FileValue[] | undefined> {
  let file: ConfigFile | undefined;
  try {
    file = await readConfigFile(flags);
  } catch (error) {
    if (flags.sources["config-file"] !== undefined || !isUnreadable(error)) throw error;
    printError(`flannelctl: ${printable((error as Error).message)}; its settings are not used`);
  }
  return file?.values;
}
