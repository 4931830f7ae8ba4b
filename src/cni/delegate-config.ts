/**
 * The config of the plugin that does the work (bridge, unless another is asked for): what the network config gives,
 * completed with what flanneld says about this node.
 */

import { formatPrefix, parsePrefix } from "../address/prefix.ts";
import { isObject, kindOf, type Members } from "../config/json-members.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { NodeNetwork } from "./node-network.ts";
import type { PluginConfig } from "./plugin-config.ts";

/** A config that can be handed to the plugin that it names. */
export interface DelegateConfig extends Members {
  readonly type: string;
}

/** What is given wins over the defaults, except for `name`, `cniVersion` and the address ranges. Throws CniError. */
export function delegateConfig(config: PluginConfig, node: NodeNetwork): DelegateConfig {
  const given = config.delegate;
  const type = typeof given.type === "string" ? given.type : "bridge";
  return {
    ipMasq: !node.ipMasq, // if flanneld does not masquerade, the delegate has to
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

/** One set of ranges per family, so that a container gets an address of each; routes to all flannel networks. */
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
      `ipam.routes must hold objects with dst, a prefix such as "10.0.0.0/8"; one is ${JSON.stringify(route)}`,
    );
  }
  return routes;
}
