/**
 * Commands on a datastore: flanneld's flags and variables for it, and the store that they name. All stores can be read;
 * objects of Kubernetes are not changed.
 */

import { ConfigError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { printable } from "../base/printable.ts";
import { type Command, type CommandContext, defineCommand } from "../config/command.ts";
import { type FlagTable, type ParsedFlags, variableOf } from "../config/flags.ts";
import type { Example } from "../config/flags-text.ts";
import { type DatastoreOptions, readDatastore } from "../config/options-datastore.ts";
import { CONFIG_FILE_FLAG } from "../config/options-program-table.ts";
import { FlagReader } from "../config/options-reader.ts";
import { ENVIRONMENT_PREFIX, STORE_FLAGS, STORE_GROUPS, type StoreFlags } from "../config/options-table.ts";
import type { LeaseAdmin, LeaseInspector } from "../lease/lease-admin.ts";
import type { AdminPorts } from "./admin-ports.ts";
import { readHostFile } from "./host-file.ts";

interface StoreCommand<T extends FlagTable, Store> {
  readonly summary: string;
  /** The command's arguments. */
  readonly words?: readonly string[];
  readonly flags: T;
  /** Command lines after the name. */
  readonly examples?: readonly Example[];
  run(store: Store, flags: ParsedFlags<T>, context: CommandContext): Promise<number>;
}

/** A command that reads. */
export const defineStoreCommand = <T extends FlagTable>(
  ports: AdminPorts,
  spec: StoreCommand<T, LeaseInspector>,
): Command => define(ports, spec, ports.inspectStore);

/** A command that changes something; `inKubernetes` says what to do there instead. */
export const defineStoreChange = <T extends FlagTable>(
  ports: AdminPorts,
  spec: StoreCommand<T, LeaseAdmin> & { readonly inKubernetes: string },
): Command =>
  define(ports, spec, async (options, logger) => {
    if (options.kind === "kube") throw new ConfigError(`not with Kubernetes: ${spec.inKubernetes}`);
    return ports.openStore(options, logger);
  });

/** A command on this host that changes the datastore where that is possible: in Kubernetes it gets a store for reading. */
export const defineHostCommand = <T extends FlagTable>(
  ports: AdminPorts,
  spec: StoreCommand<T, LeaseInspector | LeaseAdmin>,
): Command =>
  define(ports, spec, (options, logger) =>
    options.kind === "kube" ? ports.inspectStore(options, logger) : ports.openStore(options, logger),
  );

function define<T extends FlagTable, Store extends LeaseInspector>(
  ports: AdminPorts,
  spec: StoreCommand<T, Store>,
  open: (options: DatastoreOptions, logger: Logger) => Promise<Store>,
): Command {
  const { words = [] } = spec;
  return defineCommand({
    summary: spec.summary,
    synopsis: [...words, "[flags]"].join(" "),
    flags: { ...spec.flags, ...STORE_FLAGS, ...CONFIG_FILE_FLAG },
    groups: STORE_GROUPS,
    ...(spec.examples && { examples: spec.examples }),
    takes: { words },
    environment: datastoreVariables(ports),
    readFile: async (flags, context) => {
      const values = await readHostFile(flags as ParsedFlags<typeof CONFIG_FILE_FLAG>, context);
      return values?.filter(({ name }) => Object.hasOwn(STORE_FLAGS, name)); // not a command's own flag of that name
    },
    async run(flags, context) {
      for (const note of flags.notes) loggerOf(context).warn(note);
      const read = new FlagReader(flags as ParsedFlags<StoreFlags>);
      await using store = await open(readDatastore(read, ports.variables), loggerOf(context));
      return await spec.run(store, flags, context);
    },
  });
}

/** Without variables that are flanneld's alone, or that would set a command's own flags. Read when the command runs. */
function datastoreVariables(ports: AdminPorts) {
  const names = Object.keys({ ...STORE_FLAGS, ...CONFIG_FILE_FLAG });
  const known = names.map((name) => variableOf(ENVIRONMENT_PREFIX, name));
  return {
    prefix: ENVIRONMENT_PREFIX,
    get variables() {
      return Object.fromEntries(known.map((name) => [name, ports.variables[name]]));
    },
    names,
  };
}

function loggerOf({ printError }: CommandContext): Logger {
  const say = (message: string): void => printError(`flannelctl: ${printable(message)}`);
  return { info: say, warn: say, error: say, debug() {} };
}
