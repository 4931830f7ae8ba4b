/**
 * What the datastore knows about this host before it has a lease, and how it is used: addresses that an operator set on the
 * node, and what an earlier run published, so that peers need not learn new MACs.
 */

import { formatIp, type Ip, sameIp } from "../address/ip.ts";
import type { Host, PublishedData } from "../backend/backend.ts";
import type { Logger } from "../base/logger.ts";
import { type RetryPorts, retry } from "../base/retry.ts";
import type { InterfaceOptions } from "../config/options.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import type { HostRecord, LeaseStore } from "../lease/lease-store.ts";

const RETRY_MS = 1_000;

/** The record in a datastore that has only leases. */
export const NOTHING_KNOWN: HostRecord = {
  publicIp: undefined,
  publicIpv6: undefined,
  publishedIp: undefined,
  publishedIpv6: undefined,
  attributes: undefined,
};

/** Reads the record, with retries; undefined if aborted before. Each problem is logged once. */
export async function readHostRecord(
  store: LeaseStore,
  signal: AbortSignal,
  ports: RetryPorts,
  onProblem: (problem: string | undefined) => void,
): Promise<HostRecord | undefined> {
  const { readHost } = store;
  if (readHost === undefined) return NOTHING_KNOWN;
  return retry(
    {
      failure: "Failed to read the record of this host from the datastore",
      attempt: () => readHost.call(store),
      ...{ pauseMs: RETRY_MS, signal, onProblem },
    },
    ports,
  );
}

/** The options with the record's public addresses: the annotation of one node takes precedence over a flag of all nodes. */
export function withRecord(options: InterfaceOptions, record: HostRecord, logger: Logger): InterfaceOptions {
  const choose = (flag: string, given: Ip | undefined, annotated: Ip | undefined): Ip | undefined => {
    if (given !== undefined && annotated !== undefined && !sameIp(given, annotated))
      logger.info(
        `The node's annotation names ${formatIp(annotated)}: --${flag}=${formatIp(given)} is not used`,
      );
    return annotated ?? given;
  };
  return {
    ...options,
    publicIp: choose("public-ip", options.publicIp, record.publicIp),
    publicIpv6: choose("public-ipv6", options.publicIpv6, record.publicIpv6),
  };
}

/** What this host publishes: its public addresses, or those that the record overrides them with. */
export const attributesOf = (host: Host, data: PublishedData, record: HostRecord): LeaseAttributes => ({
  publicIp: host.publicIp && (record.publishedIp ?? host.publicIp),
  publicIpv6: host.publicIpv6 && (record.publishedIpv6 ?? host.publicIpv6),
  ...data,
});
