/**
 * A datastore with faults to inject, with one interface: etcd v3, etcd v2 or embedded, a process behind a line.
 *
 *     hosts ──▶ line ──▶ server
 */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Logger } from "../../src/base/logger.ts";
import type { EtcdOptions } from "../../src/lease/etcd/etcd-options.ts";
import type { LeaseStore } from "../../src/lease/lease-store.ts";
import { makeDataDirectory, type StoreProcess, startStoreProcess } from "./embedded.ts";
import { freePort, startEtcd } from "./etcd.ts";
import { openEtcd2Store, openEtcdStore } from "./etcd-store.ts";
import { startEtcd2 } from "./etcd2.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

const PREFIX = "/coreos.com/network";
/** Lets clients look more often than every 5 s whether it is there. */
const ALLOW_EAGER = ["--grpc-keepalive-min-time", "100ms"];

export interface FaultBed extends AsyncDisposable {
  readonly line: TcpProxy;
  /** Opens the store of one more host, through the line. */
  open(logger: Logger, options?: Partial<EtcdOptions>): LeaseStore;
  /** Writes and removes keys below the prefix, as an operator does, past the line. */
  put(key: string, value: string): Promise<void>;
  remove(key: string): Promise<void>;
  /** Ends the life of a lease before its time. */
  revoke(key: string): Promise<void>;
  /** Has the store forget its history. */
  forget(): Promise<void>;
  /** Ends the server (SIGKILL), and starts it again with its data or with none. */
  kill(): Promise<void>;
  start(): Promise<void>;
  startEmpty(): Promise<void>;
}

export const STORES: Readonly<Record<string, () => Promise<FaultBed>>> = {
  etcd3: async () => {
    const server = await startEtcd({ flags: ALLOW_EAGER });
    const line = await startTcpProxy(Number(new URL(server.endpoint).port));
    return {
      ...{ line, open: (logger, options) => openEtcdStore(urlOf(line), options, logger).store },
      ...operateV3((...args) => server.ctl(...args)),
      ...{ kill: server.kill, start: server.start, startEmpty: server.startEmpty },
      async [Symbol.asyncDispose]() {
        await line[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
      },
    };
  },

  etcd2: async () => {
    const server = await startEtcd2();
    const line = await startTcpProxy(Number(new URL(server.endpoint).port));
    const remove = async (key: string) => void (await server.ctl2("rm", `${PREFIX}/${key}`));
    return {
      ...{ line, open: (logger, options) => openEtcd2Store(urlOf(line), options, logger).store },
      put: async (key, value) => void (await server.ctl2("set", `${PREFIX}/${key}`, "--", value)),
      ...{ remove, revoke: remove, forget: () => server.forget() },
      ...{ kill: server.kill, start: server.start, startEmpty: server.startEmpty },
      async [Symbol.asyncDispose]() {
        await line[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
      },
    };
  },

  embedded: async () => {
    const port = await freePort();
    await using made = new AsyncDisposableStack();
    let directory = makeDataDirectory();
    made.defer(() => directory[Symbol.dispose]());
    let server: StoreProcess;
    const start = async () => {
      server = await startStoreProcess(directory.path, ["--listen", `127.0.0.1:${port}`]);
    };
    await start();
    made.defer(async () => void (await server.kill()));
    const line = made.use(await startTcpProxy(port));
    const parts = made.move();
    const ctl = async (...args: string[]) => {
      const flags = ["--endpoints", `http://127.0.0.1:${port}`];
      const env = { ...process.env, ETCDCTL_API: "3" };
      return (await promisify(execFile)("etcdctl", [...flags, ...args], { env })).stdout;
    };
    return {
      ...{ line, open: (logger, options) => openEtcdStore(urlOf(line), options, logger).store },
      ...operateV3(ctl),
      kill: async () => void (await server.kill()),
      start,
      async startEmpty() {
        directory[Symbol.dispose]();
        directory = makeDataDirectory();
        await start();
      },
      [Symbol.asyncDispose]: () => parts.disposeAsync(),
    };
  },
};

const urlOf = (line: TcpProxy) => `http://127.0.0.1:${line.port}`;

/** With etcdctl (API 3). */
function operateV3(ctl: (...args: string[]) => Promise<string>) {
  return {
    put: async (key: string, value: string) => void (await ctl("put", `${PREFIX}/${key}`, "--", value)),
    remove: async (key: string) => void (await ctl("del", `${PREFIX}/${key}`)),
    async revoke(key: string) {
      // JSON would round the id, which has 63 bits.
      const fields = await ctl("get", "--write-out=fields", `${PREFIX}/${key}`);
      await ctl("lease", "revoke", BigInt(/"Lease" : (\d+)/.exec(fields)![1]!).toString(16));
    },
    async forget() {
      const { revision } = JSON.parse(await ctl("get", "--write-out=json", "x")).header;
      await ctl("compact", String(revision));
    },
  };
}
