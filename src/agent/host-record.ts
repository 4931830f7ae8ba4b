/**
 * What the datastore says of this host before it holds a lease, and what becomes of it: addresses that an operator has
 * written on the node, and what an earlier run published, so that peers need not learn anew.
 */

import { formatIp, type Ip, sameIp } from "../address/ip.ts";
import type { Host, PublishedData } from "../backend/backend.ts";
import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { InterfaceOptions } from "../config/options.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import type { HostRecord, LeaseStore } from "../lease/lease-store.ts";

const RETRY_MS = 1_000;

/** Of a datastore that knows hosts by their leases only. */
export const NOTHING_KNOWN: HostRecord = {
  publicIp: undefined,
  publicIpv6: undefined,
  publishedIp: undefined,
  publishedIpv6: undefined,
  attributes: undefined,
};

/** Asks until there is an answer; undefined if aborted before. What stands in the way is said once. */
export async function readHostRecord(
  store: LeaseStore,
  signal: AbortSignal,
  { logger, timers }: { readonly logger: Logger; readonly timers: Timers },
  onProblem: (problem: string | undefined) => void,
): Promise<HostRecord | undefined> {
  if (store.readHost === undefined) return NOTHING_KNOWN;
  let said = "";
  while (!signal.aborted) {
    try {
      const record = await store.readHost();
      onProblem(undefined);
      return record;
    } catch (error) {
      if (signal.aborted) break;
      const problem = messageOf(error);
      if (problem !== said)
        logger.error(`Cannot read what the datastore knows of this host, trying every second: ${problem}`);
      said = problem;
      onProblem(problem);
      await sleep(timers, RETRY_MS, signal);
    }
  }
  return undefined;
}

/** The options with the record's public addresses: what is written on one node goes before a flag that all nodes have. */
export function withRecord(options: InterfaceOptions, record: HostRecord, logger: Logger): InterfaceOptions {
  const choose = (flag: string, given: Ip | undefined, written: Ip | undefined): Ip | undefined => {
    if (given !== undefined && written !== undefined && !sameIp(given, written))
      logger.info(
        `The node's annotation names ${formatIp(written)}: --${flag}=${formatIp(given)} is not used`,
      );
    return written ?? given;
  };
  return {
    ...options,
    publicIp: choose("public-ip", options.publicIp, record.publicIp),
    publicIpv6: choose("public-ipv6", options.publicIpv6, record.publicIpv6),
  };
}

/** What peers are told of this host: its public addresses, or those that are to be published in their place. */
export const attributesOf = (host: Host, data: PublishedData, record: HostRecord): LeaseAttributes => ({
  publicIp: host.publicIp && (record.publishedIp ?? host.publicIp),
  publicIpv6: host.publicIpv6 && (record.publishedIpv6 ?? host.publicIpv6),
  ...data,
});
