/** The v2 API of a real etcd: its server, its etcdctl, its short history. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type EtcdServer, type EtcdServerOptions, startEtcd } from "./etcd.ts";

export interface Etcd2Server extends EtcdServer {
  /** Runs etcdctl (API 2) on it and returns what it printed. */
  ctl2(...args: string[]): Promise<string>;
  /** Switches the v2 API's authentication on: `root` with this password, and `user`, who has access to keys below `prefix`. */
  enableAuth2(user: string, password: string, prefix: string): Promise<void>;
  /** Drops its history, of which it keeps the last thousand changes, by `changes` (default: all) changes elsewhere. */
  forget(changes?: number): Promise<void>;
}

const FORGOTTEN_AFTER = 1_000;

export async function startEtcd2(options: EtcdServerOptions = {}): Promise<Etcd2Server> {
  const server = await startEtcd({ ...options, flags: ["--enable-v2=true", ...(options.flags ?? [])] });
  const certificates = options.tls?.certificates;
  const tls =
    certificates === undefined
      ? []
      : [
          ...["--ca-file", certificates.ca],
          ...["--cert-file", certificates.client.cert, "--key-file", certificates.client.key],
        ];
  let login: string[] = [];
  const ctl2 = async (...args: string[]) => {
    const flags = ["--no-sync", "--endpoints", server.endpoint, ...tls, ...login];
    const run = promisify(execFile)("etcdctl", [...flags, ...args], {
      env: { ...process.env, ETCDCTL_API: "2" },
    });
    run.child.stdin?.end();
    return (await run).stdout;
  };
  return {
    ...server,
    ctl2,
    async enableAuth2(user, password, prefix) {
      await ctl2("user", "add", `root:${password}`);
      await ctl2("role", "add", "flannel");
      await ctl2("role", "grant", "flannel", "--path", `${prefix}/*`, "--readwrite");
      await ctl2("user", "add", `${user}:${password}`);
      await ctl2("user", "grant", user, "--roles", "flannel");
      await ctl2("auth", "enable");
      login = ["--username", `root:${password}`];
      await ctl2("role", "revoke", "guest", "--path", "/*", "--readwrite");
    },
    async forget(changes = FORGOTTEN_AFTER + 1) {
      let left = changes;
      const write = async () => {
        while (left-- > 0) {
          const answer = await fetch(`${server.endpoint}/v2/keys/elsewhere`, {
            method: "PUT",
            body: new URLSearchParams({ value: "x" }),
          });
          if (!answer.ok) throw new Error(await answer.text());
          await answer.arrayBuffer();
        }
      };
      await Promise.all(Array.from({ length: 32 }, write));
    },
  };
}
