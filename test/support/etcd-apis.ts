/** A real etcd by either of its APIs, for tests that run on both stores. */

import { type EtcdServer, type EtcdServerOptions, startEtcd } from "./etcd.ts";
import { openEtcd2Store, openEtcdStore } from "./etcd-store.ts";
import { startEtcd2 } from "./etcd2.ts";

/** A server whose keys an operator writes with the etcdctl of one API. */
export interface ApiServer extends EtcdServer {
  put(key: string, value: string): Promise<void>;
  /** {@link EtcdServer.enableAuth} of this API. */
  protect(user: string, password: string, prefix: string): Promise<void>;
}

export interface EtcdApi {
  /** "etcd v3". */
  readonly name: string;
  start(options?: EtcdServerOptions): Promise<ApiServer>;
  /** A store that uses this API. */
  readonly open: typeof openEtcdStore;
}

export const ETCD_V3: EtcdApi = {
  name: "etcd v3",
  async start(options) {
    const server = await startEtcd(options);
    return {
      ...server,
      put: async (key, value) => void (await server.ctl("put", key, "--", value)),
      protect: server.enableAuth,
    };
  },
  open: openEtcdStore,
};

export const ETCD_V2: EtcdApi = {
  name: "etcd v2",
  async start(options) {
    const server = await startEtcd2(options);
    return {
      ...server,
      put: async (key, value) => void (await server.ctl2("set", key, "--", value)),
      protect: server.enableAuth2,
    };
  },
  open: openEtcd2Store,
};

export const ETCD_APIS: readonly EtcdApi[] = [ETCD_V3, ETCD_V2];
