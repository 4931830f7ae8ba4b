/**
 * The network config that this host's flanneld.yaml proposes, and the one in the datastore. The first host of a cluster
 * writes it, by compare-and-swap; after that the datastore's wins, and each difference is reported with the command that
 * changes it.
 */

import { isDeepStrictEqual } from "node:util";
import { ConfigError, messageOf, StoreError } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { type DeclaredNetwork, placeOf } from "../config/declared-network.ts";
import { isObject, type Members } from "../config/json-members.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import type { LeaseAdmin, LeaseInspector, LeaseRecord } from "../lease/lease-admin.ts";
import { parsePublicIps, parseSubnets } from "./arguments.ts";
import { effectiveConfig, hideSecrets, reportConfig } from "./config-report.ts";
import { describePublicIps, describeSubnet } from "./lease-text.ts";
import { requireFit, reserveSubnets } from "./reserve.ts";

/**
 * Writes the config and its reservations if the datastore has none, else reports differences. Throws StoreError
 * (UNAVAILABLE, UNAUTHENTICATED; FORBIDDEN only for reading) and ConfigError for a reservation that does not fit.
 */
export async function settleDeclaredConfig(
  declared: DeclaredNetwork,
  admin: LeaseAdmin,
  logger: Logger,
): Promise<void> {
  const stored = await admin.readNetworkConfig();
  if (stored === undefined) checkReservations(declared);
  if (stored === undefined && (await write(declared, admin, logger))) {
    logger.info(
      `Wrote the network config of ${declared.path} to ${admin.configPlace}: ${hideSecrets(declared.text)}`,
    );
    for (const { subnet, publicIp } of declared.reserved) {
      for (const line of await reserveSubnets(admin, parseSubnets(subnet), parsePublicIps(publicIp)))
        logger.info(line);
    }
    return;
  }
  const text = stored?.text ?? (await admin.readNetworkConfig())?.text;
  if (text === undefined) return; // not permitted to write it: the start reports that there is none
  reportDifferences(declared, text, { place: admin.configPlace, logger });
  if (declared.reserved.length > 0) reportReservations(declared, await admin.listRecords(), logger);
}

/** Reports how a config that this host may not write differs from the declared one. Throws StoreError. */
export async function compareDeclaredConfig(
  declared: DeclaredNetwork,
  inspector: Pick<LeaseInspector, "configPlace" | "readNetworkConfig">,
  logger: Logger,
): Promise<void> {
  const stored = await inspector.readNetworkConfig();
  const change = "edit that file, or the ConfigMap that it is mounted from";
  if (stored !== undefined)
    reportDifferences(declared, stored.text, { place: inspector.configPlace, logger, change });
  for (const { source } of declared.reserved.slice(0, 1)) {
    logger.warn(`${source}: Subnet.reserved has no effect in Kubernetes, which assigns the nodes' subnets`);
  }
}

/** Before anything is written. Throws ConfigError. */
function checkReservations({ text, reserved }: DeclaredNetwork): void {
  const network = parseNetworkConfig(text);
  for (const { subnet, publicIp, source } of reserved) {
    try {
      requireFit(network, parseSubnets(subnet), parsePublicIps(publicIp));
    } catch (error) {
      throw new ConfigError(`${source}: Subnet.reserved: ${messageOf(error)}`, { cause: error });
    }
  }
}

async function write(declared: DeclaredNetwork, admin: LeaseAdmin, logger: Logger): Promise<boolean> {
  try {
    return await admin.writeNetworkConfig(declared.text, undefined);
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "FORBIDDEN") throw error;
    logger.warn(`Failed to write the network config of ${declared.path}: ${error.message}`);
    return false;
  }
}

function reportDifferences(
  { stated, path }: DeclaredNetwork,
  text: string,
  { place, logger, change }: { readonly place: string; readonly logger: Logger; readonly change?: string },
): void {
  const report = reportConfig(text);
  if (report.network === undefined) return; // its faults are reported where it is read
  const stored = effectiveConfig(report.network) as Members;
  const remedy = change ?? `to change it: flannelctl config set ${path}`;
  for (const [name, { value, source }] of Object.entries(stated)) {
    if (isEqual(value, stored[name])) continue;
    const says = (what: unknown) => hideSecrets(what === undefined ? "nothing" : JSON.stringify(what));
    logger.warn(
      `${source} says ${placeOf(name)} ${says(value)}, but ${place} says ${says(stored[name])}, which is used; ${remedy}`,
    );
  }
}

/** Only the members of an object that the file states: a backend has defaults. Its type and their names have no case. */
function isEqual(declared: unknown, stored: unknown): boolean {
  if (!isObject(declared)) return isDeepStrictEqual(declared, stored);
  const lower = (value: Members) =>
    new Map(Object.entries(value).map(([name, member]) => [name.toLowerCase(), member]));
  const others = isObject(stored) ? lower(stored) : new Map<string, unknown>();
  return [...lower(declared)].every(([name, member]) => {
    const [one, other] = [member, others.get(name)].map((each) =>
      name === "type" && typeof each === "string" ? each.toLowerCase() : each,
    );
    return isDeepStrictEqual(one, other);
  });
}

function reportReservations(
  { reserved }: DeclaredNetwork,
  records: readonly LeaseRecord[],
  logger: Logger,
): void {
  for (const { subnet, publicIp, source } of reserved) {
    const record = records.find((candidate) => describeSubnet(candidate) === subnet);
    const holder = record === undefined ? undefined : describePublicIps(record);
    if (holder === publicIp) continue;
    const now = holder === undefined ? "it is not reserved" : `it belongs to ${holder}`;
    const release = holder === undefined ? "" : `flannelctl leases release '${subnet}', then `;
    logger.warn(
      `${source} reserves ${subnet} for ${publicIp}, but ${now}; to reserve it: ${release}flannelctl leases reserve ${subnet} ${publicIp}`,
    );
  }
}
