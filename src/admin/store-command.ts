/** Commands against a datastore: the flags and variables that flanneld has for it, and the store opened by them. */

import type { Logger } from "../base/logger.ts";
import { printable } from "../base/printable.ts";
import { type Command, type CommandContext, defineCommand } from "../config/command.ts";
import { type FlagSource, type FlagTable, type ParsedFlags, variableOf } from "../config/flags.ts";
import { readEtcdDatastore } from "../config/options-datastore.ts";
import { FlagReader } from "../config/options-reader.ts";
import { DATASTORE_FLAGS, type DatastoreFlags, ENVIRONMENT_PREFIX } from "../config/options-table.ts";
import type { LeaseAdmin } from "../lease/lease-admin.ts";
import type { AdminPorts } from "./ports.ts";

/** As {@link defineCommand}; `words` are the command's arguments. */
export function defineStoreCommand<T extends FlagTable>(
  ports: AdminPorts,
  spec: {
    readonly summary: string;
    readonly words?: readonly string[];
    readonly flags: T;
    run(store: LeaseAdmin, flags: ParsedFlags<T>, context: CommandContext): Promise<number>;
  },
): Command {
  const { words = [] } = spec;
  return defineCommand({
    summary: spec.summary,
    synopsis: [...words, "[flags]"].join(" "),
    flags: { ...spec.flags, ...DATASTORE_FLAGS },
    takes: { words },
    environment: datastoreVariables(ports),
    async run(flags, context) {
      const options = readEtcdDatastore(new FlagReader(flags as ParsedFlags<DatastoreFlags>));
      await using store = await ports.openStore(options, loggerOf(context));
      return await spec.run(store, flags, context);
    },
  });
}

/** Without variables that are flanneld's alone, or that would set a command's own flags. */
function datastoreVariables({ variables }: AdminPorts): NonNullable<FlagSource["environment"]> {
  const names = Object.keys(DATASTORE_FLAGS).map((name) => variableOf(ENVIRONMENT_PREFIX, name));
  const known = Object.fromEntries(names.map((name) => [name, variables[name]]));
  return { prefix: ENVIRONMENT_PREFIX, variables: known };
}

function loggerOf({ printError }: CommandContext): Logger {
  const say = (message: string): void => printError(`flannelctl: ${printable(message)}`);
  return { info: say, warn: say, error: say, debug() {} };
}
