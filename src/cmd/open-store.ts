/**
 * Opens the store that the options name; the only place that knows all of them. The modules of a store are loaded with it,
 * so that a start reads no more than it uses.
 */

import { formatIp } from "../address/ip.ts";
import { ConfigError, StoreError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { DeclaredNetwork } from "../config/declared-network.ts";
import type { ListenAddress } from "../config/listen-address.ts";
import type { FlanneldOptions } from "../config/options.ts";
import type { DatastoreOptions, EmbeddedDatastore, EtcdDatastore } from "../config/options-datastore.ts";
import type { KubeDatastore } from "../config/options-kube.ts";
import type { KeyStorePorts } from "../lease/keys/key-store-ports.ts";
import type { KeyValueStore } from "../lease/keys/key-value-store.ts";
import type { LeaseAdmin, LeaseInspector } from "../lease/lease-admin.ts";
import type { LeaseStore } from "../lease/lease-store.ts";
import type { OutagePorts } from "../lease/outage.ts";

/** A store for flanneld; with an embedded one, disposing this ends its server too. */
export interface OpenedStore extends AsyncDisposable {
  readonly store: LeaseStore;
  /** Where the network config is, in an operator's words. */
  readonly configPlace: string;
}

type StoreOptions = Pick<FlanneldOptions, "datastore" | "setNodeNetworkUnavailable" | "declaredNetwork">;
type StorePorts = Pick<OutagePorts, "logger" | "onOutage">;

/** Opens flanneld's store, and serves it if it is embedded. Throws ConfigError. */
export async function openLeaseStore(
  { datastore: options, setNodeNetworkUnavailable, declaredNetwork: declared }: StoreOptions,
  ports: StorePorts,
): Promise<OpenedStore> {
  const { logger } = ports;
  if (options.kind === "kube") {
    const opened = await openKubeStore({ ...options, setNodeNetworkUnavailable }, ports);
    if (declared === undefined) return opened;
    const { store, configPlace } = opened;
    const readNetworkConfig = async () => ({ text: await store.readNetworkConfig() });
    const { compareDeclaredConfig } = await import("../admin/declared-config.ts");
    const compare = () => compareDeclaredConfig(declared, { configPlace, readNetworkConfig }, logger);
    return { ...opened, store: beforeConfig(store, compare) };
  }
  await using parts = new AsyncDisposableStack();
  if (options.kind === "embedded") await serveEmbedded(options, ports.logger, parts);
  const onMissingConfig = options.kind === "etcd3" ? hintOnce(options, ports.logger, parts) : undefined;
  const store = parts.use(
    await openEtcdStore(options, { ...ports, ...(onMissingConfig && { onMissingConfig }) }),
  );
  const owned = parts.move();
  return {
    store: declared === undefined ? store : beforeConfig(store, () => settle(declared, options, logger)),
    configPlace: `etcd${options.kind === "etcd2" ? " (v2)" : ""} key ${options.etcd.prefix}/config`,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function settle(declared: DeclaredNetwork, options: EtcdDatastore, logger: Logger): Promise<void> {
  const { settleDeclaredConfig } = await import("../admin/declared-config.ts");
  await using admin = await openLeaseAdmin(options, logger);
  await settleDeclaredConfig(declared, admin, logger);
}

/** The same store, with something that has to succeed once before its first network config is read. */
function beforeConfig(store: LeaseStore, prepare: () => Promise<void>): LeaseStore {
  let isPrepared = false;
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (name !== "readNetworkConfig" || isPrepared)
        return typeof value === "function" ? value.bind(target) : value;
      return async (): Promise<string> => {
        await prepare();
        isPrepared = true;
        return target.readNetworkConfig();
      };
    },
  });
}

/** Opens any store for flannelctl to read. Throws ConfigError. */
export async function openLeaseInspector(options: DatastoreOptions, logger: Logger): Promise<LeaseInspector> {
  if (options.kind !== "kube") return openLeaseAdmin(options, logger);
  const { createKubeLeaseInspector } = await import("../lease/kube/kube-lease-inspector.ts");
  return createKubeLeaseInspector(options, { logger });
}

/** The operator's side of a store, which reaches an embedded one where flanneld serves it. Throws ConfigError. */
export async function openLeaseAdmin(options: EtcdDatastore, logger: Logger): Promise<LeaseAdmin> {
  const { createKeyLeaseAdmin } = await import("../lease/keys/key-lease-admin.ts");
  return createKeyLeaseAdmin(await openKeys(options, { logger }));
}

/** Looks for the config in etcd's v2 API, the first time it is missing: beside the start, which does not wait for it. */
function hintOnce({ etcd }: EtcdDatastore, logger: Logger, parts: AsyncDisposableStack): () => void {
  const closed = new AbortController();
  parts.defer(() => closed.abort());
  let hasLooked = false;
  return () => {
    if (hasLooked) return;
    hasLooked = true;
    void (async () => {
      const { hintAtV2Config } = await import("../lease/etcd2/config-hint.ts");
      const { hideSecrets } = await import("../admin/config-report.ts");
      const hasSecret = (text: string) => hideSecrets(text) !== text;
      await hintAtV2Config(etcd, { logger, hasSecret, signal: closed.signal });
    })();
  };
}

async function openEtcdStore(options: EtcdDatastore, ports: KeyStorePorts): Promise<LeaseStore> {
  const { createKeyLeaseStore } = await import("../lease/keys/key-lease-store.ts");
  return createKeyLeaseStore(await openKeys(options, ports), ports);
}

async function openKeys(
  { kind, etcd }: EtcdDatastore,
  ports: KeyStorePorts,
): Promise<KeyValueStore<unknown>> {
  if (kind === "etcd2") return (await import("../lease/etcd2/etcd2-keys.ts")).openEtcd2Keys(etcd, ports);
  return (await import("../lease/etcd/etcd-keys.ts")).openEtcdKeys(etcd, ports);
}

async function openKubeStore(
  options: KubeDatastore & Pick<StoreOptions, "setNodeNetworkUnavailable">,
  ports: StorePorts,
): Promise<OpenedStore> {
  const { createKubeLeaseStore } = await import("../lease/kube/kube-lease-store.ts");
  const { describeConfigFile } = await import("../lease/kube/net-config-file.ts");
  const store = await createKubeLeaseStore(options, ports);
  return {
    store,
    configPlace: describeConfigFile(options.netConfigPath),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

async function serveEmbedded(
  options: EmbeddedDatastore,
  logger: Logger,
  parts: AsyncDisposableStack,
): Promise<void> {
  const { EmbeddedStore } = await import("../etcd-server/store/embedded-store.ts");
  const { EmbeddedServer } = await import("../etcd-server/embedded-server.ts");
  const store = parts.use(EmbeddedStore.open({ dataDirectory: options.dataDirectory, logger }));
  const listen = options.listen.map(({ ip, port }) => ({ host: formatIp(ip), port }));
  parts.use(await EmbeddedServer.start({ store, listen, logger }));
  if (!options.listen.every(isLoopback)) {
    logger.warn(
      "Every host that reaches the embedded store may change the network; open its port to the hosts of the cluster only, " +
        "or serve it with certificates (flannelctl store serve)",
    );
  }
  if (options.initialConfig !== undefined) await writeInitialConfig(options, options.initialConfig, logger);
}

async function writeInitialConfig(options: EmbeddedDatastore, config: string, logger: Logger): Promise<void> {
  await using admin = await openLeaseAdmin(options, logger);
  try {
    if (await admin.writeNetworkConfig(config, undefined)) {
      logger.info(`Wrote the network config ${config}`);
    } else if ((await admin.readNetworkConfig())?.text !== config) {
      logger.info("--network has no effect: a network config exists already (flannelctl config get)");
    }
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    const reason = `failed to reach the own embedded store (${error.message})`;
    throw new ConfigError(`${reason}: is the loopback interface up?`, { cause: error });
  }
}

/** 127.0.0.0/8 or ::1. */
const isLoopback = ({ ip }: ListenAddress): boolean =>
  ip.family === 4 ? ip.value >> 24n === 127n : ip.value === 1n;
