/** `flannelctl store serve`: the embedded store as a server of its own. */

import { Klog, writeToStderr } from "../base/klog.ts";
import { type Command, defineCommand, defineGroup } from "../config/command.ts";
import type { FlagTable, FlagValues } from "../config/flags.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { isLoopback, parseListenAddress, readServerTls } from "./listen-options.ts";
import { EmbeddedStore } from "./store/embedded-store.ts";

const SERVE = {
  listen: {
    kind: "list",
    value: "address:port",
    default: ["127.0.0.1:2379"],
    help: "where clients reach it; several with commas",
  },
  "data-dir": {
    kind: "string",
    value: "directory",
    default: "/var/lib/flannel/store",
    help: "where it keeps its data; made if it is not there",
  },
  "cert-file": { kind: "string", value: "file", help: "its certificate (PEM), for TLS" },
  "key-file": { kind: "string", value: "file", help: "the certificate's key (PEM)" },
  "trusted-ca-file": {
    kind: "string",
    value: "file",
    help: "let in only clients with a certificate of this authority (PEM)",
  },
  v: { kind: "int", value: "level", default: 0, help: "how much is logged" },
} as const satisfies FlagTable;

/** The commands of `flannelctl store`. */
export const storeCommands = (): Command =>
  defineGroup("The embedded store: an etcd for one machine and small clusters, on one server.", {
    serve: defineCommand({
      summary: "run it until SIGTERM or Ctrl-C",
      synopsis: "[flags]",
      flags: SERVE,
      run: ({ values }) => runServe(values),
    }),
  });

async function runServe(values: FlagValues<typeof SERVE>): Promise<number> {
  const logger = new Klog({ write: writeToStderr, verbosity: values.v, pid: process.pid });
  const listen = values.listen.map((text) => parseListenAddress(text, "--listen"));
  const tls = readServerTls({
    cert: { flag: "--cert-file", path: values["cert-file"] },
    key: { flag: "--key-file", path: values["key-file"] },
    clientCa: { flag: "--trusted-ca-file", path: values["trusted-ca-file"] },
  });
  const stopped = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stopped.resolve());
  await using store = EmbeddedStore.open({ dataDirectory: values["data-dir"], logger });
  await using _server = await EmbeddedServer.start({ store, listen, tls, logger });
  if (tls?.clientCa === undefined && !listen.every(isLoopback)) {
    logger.warn(
      "whoever reaches this server may change the network: let in only clients with a certificate (--trusted-ca-file)",
    );
  }
  await stopped.promise;
  logger.info("stopping: what was acknowledged is on disk");
  return 0;
}
