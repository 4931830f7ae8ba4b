/** The firewall that a host should have, from its options, network config and subnets. */

import type { NetworkConfig } from "../config/network-config.ts";
import type { FamilyConfig } from "../config/network-family.ts";
import type { FirewallOptions } from "../config/options.ts";
import type { PrefixPair } from "../config/subnet-env.ts";
import { type FirewallNetwork, type FirewallRules, firewallRules } from "../firewall/rules.ts";
import type { TunnelListener } from "../firewall/tunnel-packets.ts";

/** The desired firewall. */
export interface DesiredFirewall {
  readonly mode: "iptables" | "nftables";
  readonly rules: FirewallRules;
  /** Where the tunnel receives packets. */
  readonly listeners?: readonly TunnelListener[];
}

/** The firewall that options, network config and the host's own subnets ask for. */
export function desiredFirewall(
  options: FirewallOptions,
  network: Omit<NetworkConfig, "backend">,
  subnets: PrefixPair,
): DesiredFirewall {
  const familyOf = (
    config: FamilyConfig | undefined,
    family: keyof PrefixPair,
  ): FirewallNetwork | undefined => {
    const subnet = subnets[family];
    return config === undefined || subnet === undefined ? undefined : { network: config.network, subnet };
  };
  const { ipMasq, forwardRules, randomFully } = options;
  return {
    mode: network.enableNftables ? "nftables" : "iptables",
    rules: firewallRules({
      ipv4: familyOf(network.ipv4, "ipv4"),
      ipv6: familyOf(network.ipv6, "ipv6"),
      ...{ ipMasq, forwardRules, randomFully },
    }),
  };
}
