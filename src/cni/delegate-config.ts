/**
 * The config of the delegate, the plugin that creates the interface (bridge, unless the network config names another): the
 * network config's `delegate` and `ipam`, completed with this node's subnet.env.
 */

import { formatPrefix, parsePrefix } from "../address/prefix.ts";
import { isObject, kindOf, type Members } from "../config/json-members.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { NodeNetwork } from "./node-network.ts";
import type { PluginConfig } from "./plugin-config.ts";

/** The config of a delegate; `type` names the plugin. */
export interface DelegateConfig extends Members {
  readonly type: string;
}

/** Given members take precedence over the defaults, except for `name`, `cniVersion` and the address ranges. Throws CniError. */
export function delegateConfig(config: PluginConfig, node: NodeNetwork): DelegateConfig {
  if (config.fault !== undefined) throw config.fault;
  const given = config.delegate;
  const type = typeof given.type === "string" ? given.type : "bridge";
  return {
    ipMasq: !node.ipMasq, // exactly one of the two masquerades
    mtu: node.mtuBytes,
    ...(type === "bridge" ? { isGateway: true } : {}),
    ...given,
    type,
    name: config.name,
    ...(config.cniVersion === undefined ? {} : { cniVersion: config.cniVersion }),
    ...(config.runtimeConfig === undefined ? {} : { runtimeConfig: config.runtimeConfig }),
    ipam: ipamConfig(config.ipam, node),
  };
}

/** One set of ranges per family, so that a container gets an address of each; a route to each flannel network. */
function ipamConfig(given: Members, node: NodeNetwork): Members {
  return {
    type: "host-local",
    ...given,
    ranges: node.subnets.map((subnet) => [{ subnet: formatPrefix(subnet) }]),
    routes: [...givenRoutes(given), ...node.networks.map((network) => ({ dst: formatPrefix(network) }))],
  };
}

function givenRoutes({ routes }: Members): readonly unknown[] {
  if (routes === undefined || routes === null) return [];
  if (!Array.isArray(routes)) {
    throw new CniError(CNI_CODE.invalidConfig, `ipam.routes must be a list, but is ${kindOf(routes)}`);
  }
  for (const route of routes) {
    const dst = isObject(route) ? route.dst : undefined;
    if (typeof dst === "string" && parsePrefix(dst) !== undefined) continue;
    throw new CniError(
      CNI_CODE.invalidConfig,
      `ipam.routes must be objects with dst, a prefix such as "10.0.0.0/8"; one is ${JSON.stringify(route)}`,
    );
  }
  return routes;
}
