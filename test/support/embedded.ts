/**
 * An embedded store and its server on a free port of the loopback, with its own directory: in this process, where a
 * test can look into it, or in one of its own, which can be killed.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { EmbeddedServer } from "../../src/etcd-server/embedded-server.ts";
import type { ServerTls } from "../../src/etcd-server/grpc/front-door.ts";
import type { TrafficLimits } from "../../src/etcd-server/grpc/traffic.ts";
import { EmbeddedStore, type EmbeddedStoreOptions } from "../../src/etcd-server/store/embedded-store.ts";
import { FLANNELCTL } from "./programs.ts";

const START_DEADLINE_MS = 60_000;

/** A directory that is removed with the test, even if the test crashes. */
export function makeDataDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), `flannel-embedded-${process.pid}-`));
  const remove = () => rmSync(path, { recursive: true, force: true });
  process.on("exit", remove);
  return {
    path,
    [Symbol.dispose]() {
      process.off("exit", remove);
      remove();
    },
  };
}

export interface RunningStore extends AsyncDisposable {
  readonly store: EmbeddedStore;
  /** "http://127.0.0.1:41234". */
  readonly endpoint: string;
  readonly dataDirectory: string;
}

/** Serves a store in this process; `dataDirectory` = the caller's directory. */
export async function startEmbedded(
  options: Partial<EmbeddedStoreOptions> & {
    readonly tls?: ServerTls;
    readonly port?: number;
    readonly limits?: TrafficLimits;
  } = {},
): Promise<RunningStore> {
  const logger: Logger = options.logger ?? silentLogger;
  const own = options.dataDirectory === undefined ? makeDataDirectory() : undefined;
  const dataDirectory = options.dataDirectory ?? own!.path;
  const store = EmbeddedStore.open({ ...options, dataDirectory, logger });
  const listen = [{ host: "127.0.0.1", port: options.port ?? 0 }];
  const server = await EmbeddedServer.start({
    store,
    listen,
    tls: options.tls,
    limits: options.limits,
    logger,
  });
  return {
    store,
    endpoint: server.endpoints[0]!,
    dataDirectory,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      own?.[Symbol.dispose]();
    },
  };
}

export interface StoreProcess extends AsyncDisposable {
  readonly endpoint: string;
  readonly pid: number;
  /** Its log so far. */
  readonly log: readonly string[];
  /** Ends it (SIGKILL by default) and returns its exit code. */
  kill(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Runs `store serve` in a process of its own. Throws with its log if it does not start. */
export async function startStoreProcess(
  dataDirectory: string,
  flags: readonly string[] = [],
): Promise<StoreProcess> {
  const args = ["store", "serve", "--listen", "127.0.0.1:0", "--data-dir", dataDirectory, ...flags];
  const child = spawn(FLANNELCTL, args, { stdio: ["ignore", "ignore", "pipe"] });
  const killNow = () => void child.kill("SIGKILL");
  process.on("exit", killNow);
  const log: string[] = [];
  try {
    const endpoint = await serving(child, log);
    const end = async (signal: NodeJS.Signals = "SIGKILL") => {
      process.off("exit", killNow);
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const exit = once(child, "exit");
      child.kill(signal);
      await exit;
      return child.exitCode;
    };
    return {
      endpoint,
      pid: child.pid!,
      log,
      kill: end,
      async [Symbol.asyncDispose]() {
        await end();
      },
    };
  } catch (error) {
    process.off("exit", killNow);
    child.kill("SIGKILL");
    throw error;
  }
}

async function serving(child: ChildProcess, log: string[]): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (reason: string) => reject(new Error(`the store ${reason}:\n${log.join("\n")}`));
  const timer = setTimeout(() => fail("does not serve"), START_DEADLINE_MS);
  child.once("close", (code) => fail(`exited with ${code}`));
  createInterface({ input: child.stderr! }).on("line", (line) => {
    log.push(line);
    const endpoint = /serves etcd's clients at (https?:\/\/[^\s,;]+)/.exec(line)?.[1];
    if (endpoint !== undefined) resolve(endpoint);
  });
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}
