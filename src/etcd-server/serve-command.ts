/** `flannelctl store serve`: the embedded store as a separate server. */

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
    help: "addresses to listen on, separated by commas",
  },
  "data-dir": {
    kind: "string",
    value: "directory",
    default: "/var/lib/flannel/store",
    help: "data directory; created if missing",
  },
  "cert-file": { kind: "string", value: "file", help: "server certificate (PEM), for TLS" },
  "key-file": { kind: "string", value: "file", help: "private key of the certificate (PEM)" },
  "trusted-ca-file": {
    kind: "string",
    value: "file",
    help: "accept only clients with a certificate signed by this authority (PEM)",
  },
  v: { kind: "int", value: "level", default: 0, help: "log verbosity" },
} as const satisfies FlagTable;

/** The commands of `flannelctl store`. */
export const storeCommands = (): Command =>
  defineGroup("The embedded store: an etcd-compatible server for one machine and small clusters.", {
    serve: defineCommand({
      summary: "run the store until SIGTERM or Ctrl-C",
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
      "Every client that reaches this server may change the network; accept only clients with a certificate (--trusted-ca-file)",
    );
  }
  await stopped.promise;
  logger.info("Stopping; all acknowledged writes are on disk");
  return 0;
}
