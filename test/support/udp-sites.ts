/**
 * Two hosts on a backend that flanneld carries itself (udp, userspace WireGuard), with flanneld and a container each.
 *
 *     container ── br0 ── host 1 ══ UDP 8285 ══ host 2 ── br0 ── container        (test/support/underlay.ts)
 */

import { join } from "node:path";
import type { TestContext } from "node:test";
import type { TestNetns } from "../netns/support.ts";
import type { EtcdServer } from "./etcd.ts";
import { type Flanneld, type FlanneldOptions, readyFlanneld } from "./flanneld.ts";
import { ping } from "./ping.ts";
import { ServiceManager } from "./service-manager.ts";
import { makeContainer, makeHosts, type TestHost } from "./underlay.ts";
import { until } from "./until.ts";

export const CONFIG_KEY = "/coreos.com/network/config";
export const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}';
export const PORT = 8285;

export interface Site {
  readonly host: TestHost;
  readonly container: TestNetns & { readonly address: string };
  readonly subnet: string;
  readonly mtuBytes: number;
  flanneld: Flanneld;
}

/** Makes them, and waits for a first ping from one container to the other. */
export async function makeSites(
  t: TestContext,
  etcd: EtcdServer,
  optionsOf: (host: TestHost) => Partial<FlanneldOptions> = () => ({}),
  config = CONFIG,
): Promise<[Site, Site]> {
  await etcd.ctl("put", CONFIG_KEY, config);
  const hosts = await makeHosts(t, etcd, 2);
  const sites = await Promise.all(
    hosts.map(async (host): Promise<Site> => {
      const { flanneld, subnet, mtuBytes } = await readyFlanneld(t, host, optionsOf(host));
      return { host, subnet, mtuBytes, flanneld, container: makeContainer(t, host, { subnet, mtuBytes }) };
    }),
  );
  const [a, b] = sites as [Site, Site];
  await until(
    async () => (await ping(a.container.path, b.container.address, { count: 1 })) === 1,
    "a first ping",
  );
  return [a, b];
}

/** The same, the first one with a service manager that keeps its descriptors. */
export async function makeManaged(t: TestContext, etcd: EtcdServer) {
  let manager: ServiceManager | undefined;
  const [a, b] = await makeSites(t, etcd, (host) => {
    if (manager !== undefined) return {};
    const own = new ServiceManager(join(host.directory, "notify"));
    t.after(() => own[Symbol.dispose]());
    manager = own;
    return { manager: own };
  });
  return { a, b, manager: manager! };
}
