/** For the e2e tests of the CNI plugin: a host with Debian's delegates and a runtime that calls bin/flannel. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { CniError } from "../../src/cni/cni-error.ts";
import { freshNetns } from "../netns/support.ts";
import { CNI_PROGRAMS } from "./cni-programs.ts";
import { type Container, cniRuntime, type NetworkConfig } from "./cni-runtime.ts";

export const DEBIAN_PLUGINS = "/usr/lib/cni";
export const PLUGIN_PATH = [CNI_PROGRAMS[0]!.directory, DEBIAN_PLUGINS];

export const IPV4 = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\n";
export const IPV6 = "FLANNEL_IPV6_NETWORK=fc00:5::/48\nFLANNEL_IPV6_SUBNET=fc00:5:0:72::1/64\n";
export const REST = "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

/** A host with subnet.env, and a runtime with the network of flannel's manifest. */
export function makeHost(
  t: TestContext,
  { env = IPV4 + REST, cniVersion = "1.0.0", ipam = {}, delegate = {} } = {},
) {
  const root = mkdtempSync(join(tmpdir(), `cni-e2e-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const subnetFile = join(root, "run/subnet.env");
  const dataDir = join(root, "flannel");
  const networks = join(root, "networks");
  mkdirSync(join(root, "run"));
  writeFileSync(subnetFile, env);
  const host = freshNetns(t, "h");
  const network = {
    cniVersion,
    name: "cbr0",
    plugins: [
      {
        type: "flannel",
        subnetFile,
        dataDir,
        ipam: { dataDir: networks, ...ipam },
        delegate: { hairpinMode: true, isDefaultGateway: true, ...delegate },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  } satisfies NetworkConfig;
  const runtime = cniRuntime(network, host.path, PLUGIN_PATH);
  let count = 0;
  return {
    host,
    subnetFile,
    dataDir,
    network,
    ...runtime,
    pod: (more: Partial<Container> = {}) => {
      const netns = freshNetns(t, "p");
      return { id: `pod${count++}-${process.pid}`, netns: netns.path, ns: netns, ...more };
    },
    /** Files in the plugin's data directory. */
    kept: () => (existsSync(dataDir) ? readdirSync(dataDir) : []),
    /** The addresses that host-local has reserved. */
    held: () => {
      const directory = join(networks, "cbr0");
      if (!existsSync(directory)) return [];
      return readdirSync(directory).filter((name) => name !== "lock" && !name.startsWith("last_reserved_ip"));
    },
    /** The host's veth interfaces. */
    veths: () =>
      (host.json("ip", "-json", "link") as { ifname: string }[])
        .map(({ ifname }) => ifname)
        .filter((name) => name.startsWith("veth")),
    natRules: () => host.run("/usr/sbin/iptables-save", "-t", "nat").match(/^-A .*/gm) ?? [],
  };
}

export const addressesIn = (pod: { ns: { json(...words: [string, ...string[]]): unknown } }): string[] =>
  (
    pod.ns.json("ip", "-json", "address", "show", "dev", "eth0") as {
      addr_info: { local: string; scope: string }[];
    }[]
  )
    .flatMap(({ addr_info }) => addr_info)
    .filter(({ scope }) => scope === "global")
    .map(({ local }) => local);

export const isCniError =
  (code: number, message: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof CniError, String(error));
    assert.equal(error.cniCode, code, error.message);
    assert.match(error.message, message);
    return true;
  };
