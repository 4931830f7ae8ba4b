/** Keeps the firewall as the options and the lease want it: at once when these change, and at every resync. */

import type { Prefix } from "../address/prefix.ts";
import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { FamilyConfig, NetworkConfig } from "../config/network-config.ts";
import type { FirewallOptions } from "../config/options.ts";
import type { FirewallExec } from "../firewall/exec.ts";
import { Firewall } from "../firewall/firewall.ts";
import { type FirewallNetwork, type FirewallRules, firewallRules } from "../firewall/rules.ts";
import type { SubnetPair } from "../lease/lease.ts";
import type { Readiness } from "./readiness.ts";

const RETRY_MS = 1_000;

export interface FirewallKeeperOptions {
  readonly options: FirewallOptions;
  readonly network: NetworkConfig;
  readonly exec: FirewallExec;
  readonly logger: Logger;
  readonly timers: Timers;
  readonly readiness: Readiness;
}

/** Runs until aborted; the rules stay. `subnets` gives the host's own at the time. */
export async function keepFirewall(
  keeper: FirewallKeeperOptions,
  subnets: () => SubnetPair,
  signal: AbortSignal,
): Promise<void> {
  const { options, network, exec, logger, timers, readiness } = keeper;
  await using firewall = new Firewall({
    mode: network.enableNftables ? "nftables" : "iptables",
    exec,
    logger,
  });
  let said: string | undefined;
  let isFirst = true;
  while (!signal.aborted) {
    try {
      const changes = await firewall.ensure(rulesOf(options, network, subnets()));
      if (changes.length > 0) logger[isFirst ? "info" : "warn"](`Firewall: ${changes.join("; ")}`);
      if (said !== undefined) logger.info("The firewall is as it should be again");
      said = undefined;
      isFirst = false;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== said) logger.error(`The firewall is not as it should be, trying on: ${problem}`);
      said = problem;
    }
    readiness.set("firewall", said);
    await sleep(timers, said === undefined ? options.resyncMs : RETRY_MS, signal);
  }
}

function rulesOf(options: FirewallOptions, network: NetworkConfig, subnets: SubnetPair): FirewallRules {
  const pair = (config: FamilyConfig | undefined, subnet: Prefix | undefined): FirewallNetwork | undefined =>
    config === undefined || subnet === undefined ? undefined : { network: config.network, subnet };
  return firewallRules({
    ipv4: pair(network.ipv4, subnets.ipv4),
    ipv6: pair(network.ipv6, subnets.ipv6),
    ipMasq: options.ipMasq,
    forwardRules: options.forwardRules,
    randomFully: options.randomFully,
  });
}
