/** A small container runtime as far as CNI goes: executes network configs (CNI specification 1.1.0, section 3). */

import { nodeSystem } from "../../src/cni/node-system.ts";
import { findPlugin, runPlugin } from "../../src/cni/run-plugin.ts";
import { withNetns } from "../../src/linux/netns.ts";

/** A conflist. */
export interface NetworkConfig {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly PluginEntry[];
}

interface PluginEntry {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [key: string]: unknown;
}

export interface Container {
  readonly id: string;
  /** Path of its network namespace. */
  readonly netns: string;
  /** Default eth0. */
  readonly ifName?: string;
  /** Capability arguments, for the plugins that declare the capability. */
  readonly capabilities?: Readonly<Record<string, unknown>>;
}

/** What ADD gives; the members depend on the version. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is the plugins'
type CniResult = any;

export interface CniRuntime {
  add(container: Container): Promise<CniResult>;
  /** With the result of ADD, as far as there is one. */
  del(container: Container): Promise<void>;
  check(container: Container): Promise<void>;
  status(): Promise<void>;
  gc(valid: readonly Container[]): Promise<void>;
}

/**
 * @param hostNetns path of the namespace that the plugins run in
 * @param pluginPath directories of plugins
 */
export function cniRuntime(
  network: NetworkConfig,
  hostNetns: string,
  pluginPath: readonly string[],
): CniRuntime {
  const system = nodeSystem({ within: (start) => withNetns(hostNetns, start) });
  const results = new Map<string, CniResult>();
  const keyOf = ({ id, ifName = "eth0" }: Container): string => `${id} ${ifName}`;

  const run = (command: string, entry: PluginEntry, container: Container | undefined, more: object) => {
    const { capabilities, ...config } = entry;
    const offered = Object.entries(container?.capabilities ?? {}).filter(([name]) => capabilities?.[name]);
    return runPlugin(system, {
      path: findPlugin(system, entry.type, pluginPath),
      config: JSON.stringify({
        ...config,
        cniVersion: network.cniVersion,
        name: network.name,
        ...(offered.length === 0 ? {} : { runtimeConfig: Object.fromEntries(offered) }),
        ...more,
      }),
      environment: {
        PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
        CNI_COMMAND: command,
        CNI_PATH: pluginPath.join(":"),
        ...(container === undefined
          ? {}
          : {
              CNI_CONTAINERID: container.id,
              CNI_NETNS: container.netns,
              CNI_IFNAME: container.ifName ?? "eth0",
            }),
      },
    });
  };

  return {
    async add(container) {
      let prevResult: CniResult;
      for (const entry of network.plugins) {
        const output = await run("ADD", entry, container, prevResult === undefined ? {} : { prevResult });
        prevResult = JSON.parse(output);
      }
      results.set(keyOf(container), prevResult);
      return prevResult;
    },
    async del(container) {
      const prevResult = results.get(keyOf(container));
      for (const entry of network.plugins.toReversed()) {
        await run("DEL", entry, container, prevResult === undefined ? {} : { prevResult });
      }
      results.delete(keyOf(container));
    },
    async check(container) {
      const prevResult = results.get(keyOf(container));
      for (const entry of network.plugins) await run("CHECK", entry, container, { prevResult });
    },
    async status() {
      for (const entry of network.plugins) await run("STATUS", entry, undefined, {});
    },
    async gc(valid) {
      const attachments = valid.map(({ id, ifName = "eth0" }) => ({ containerID: id, ifname: ifName }));
      for (const entry of network.plugins) {
        await run("GC", entry, undefined, { "cni.dev/valid-attachments": attachments });
      }
    },
  };
}
