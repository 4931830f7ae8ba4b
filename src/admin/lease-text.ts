/**
 * Leases as text: rows of a table for operators, JSON for programs. Keys and values come from the datastore: control
 * characters are escaped, so that they cannot command a terminal.
 */

import { formatIp } from "../address/ip.ts";
import { formatPrefix, type Prefix } from "../address/prefix.ts";
import { printable } from "../base/printable.ts";
import type { Lease } from "../lease/lease.ts";
import type { LeaseRecord } from "../lease/lease-admin.ts";

/** Longest key and longest data of a node that are shown in full, in characters. */
const MAX_KEY_LENGTH = 60;
const MAX_DATA_LENGTH = 100;

const COLUMNS: readonly string[] = ["SUBNET", "PUBLIC IP", "BACKEND", "EXPIRES IN", "NODE DATA"];

/** `keysAreNodes`, here and below, as a LeaseInspector has it. */
export const headerOf = (keysAreNodes = false): readonly string[] =>
  keysAreNodes ? ["NODE", ...COLUMNS] : COLUMNS;

/** A row under {@link headerOf}. `expiry` as {@link describeExpiry} gives it. */
export function rowOf(record: LeaseRecord, expiry: string, keysAreNodes = false): string[] {
  const { key, subnets, attributes, problem } = record;
  return [
    ...(keysAreNodes ? [cut(printable(key), MAX_KEY_LENGTH)] : []),
    keysAreNodes && subnets === undefined ? "-" : describeSubnet(record),
    describePublicIps(record),
    cut(printable(attributes?.backendType || "-"), MAX_KEY_LENGTH),
    expiry,
    problem === undefined ? describeData(record) : `${keysAreNodes ? "no lease" : "invalid"}: ${problem}`,
  ];
}

/** "10.5.3.0/24", for dual stack "10.5.3.0/24,fc00:0:0:3::/64"; the key if it names no subnet. */
export function describeSubnet({ key, subnets }: LeaseRecord): string {
  const prefixes = [subnets?.ipv4, subnets?.ipv6].filter((prefix) => prefix !== undefined);
  if (prefixes.length === 0) return cut(printable(key), MAX_KEY_LENGTH) || '""';
  return prefixes.map(formatPrefix).join(",");
}

/** "192.168.64.3", "192.168.64.3,2001:db8::3", "-". */
export function describePublicIps({ attributes }: Pick<LeaseRecord, "attributes">): string {
  const ips = [attributes?.publicIp, attributes?.publicIpv6].filter((ip) => ip !== undefined);
  return ips.map(formatIp).join(",") || "-";
}

/** "23h 12m", "never" for a reservation, "expired". */
export function describeExpiry(
  { lifeId }: LeaseRecord,
  expiresAtMs: number | undefined,
  nowMs: number,
): string {
  if (lifeId === undefined) return "never";
  return expiresAtMs === undefined ? "expired" : formatDuration(expiresAtMs - nowMs);
}

/** In its two largest units: "1d 3h", "23h 12m", "59m 3s", "42s". */
export function formatDuration(durationMs: number): string {
  const total = Math.max(0, Math.round(durationMs / 1000));
  const [days, hours] = [Math.floor(total / 86_400), Math.floor(total / 3600) % 24];
  const [minutes, seconds] = [Math.floor(total / 60) % 60, total % 60];
  if (days > 0) return `${days}d ${hours}h`;
  if (hours > 0) return `${hours}h ${minutes}m`;
  return minutes > 0 ? `${minutes}m ${seconds}s` : `${seconds}s`;
}

/** A record for programs; null is what is not there. */
export function jsonOf(
  record: LeaseRecord,
  expiresAtMs: number | undefined,
  keysAreNodes = false,
): Record<string, unknown> {
  const { key, subnets, attributes, problem, lifeId, revision } = record;
  const text = <T>(value: T | undefined, format: (value: T) => string) =>
    value === undefined ? null : format(value);
  return {
    key,
    subnet: text(subnets?.ipv4, formatPrefix),
    ipv6Subnet: text(subnets?.ipv6, formatPrefix),
    publicIP: text(attributes?.publicIp, formatIp),
    publicIPv6: text(attributes?.publicIpv6, formatIp),
    backendType: attributes?.backendType || null,
    backendData: attributes?.backendData ?? null,
    backendV6Data: attributes?.backendV6Data ?? null,
    reservation: !keysAreNodes && lifeId === undefined,
    expiresAt: text(expiresAtMs, (ms) => new Date(ms).toISOString()),
    revision: String(revision),
    problem: problem ?? null,
  };
}

/** The records that are leases, as hosts see them. */
export const leasesOf = (records: readonly LeaseRecord[]): Lease[] =>
  records.flatMap(({ key, subnets, attributes, lifeId, revision }) =>
    subnets === undefined || attributes === undefined
      ? []
      : [{ key, subnets, attributes, renewedAt: lifeId === undefined ? undefined : BigInt(revision) }],
  );

/** By subnet, IPv4 first; what names no subnet comes last, by key. */
export function compareRecords(a: LeaseRecord, b: LeaseRecord): number {
  return (
    comparePrefixes(a.subnets?.ipv4, b.subnets?.ipv4) ||
    comparePrefixes(a.subnets?.ipv6, b.subnets?.ipv6) ||
    (a.key < b.key ? -1 : Number(a.key > b.key))
  );
}

function comparePrefixes(a: Prefix | undefined, b: Prefix | undefined): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  return a.base === b.base ? a.length - b.length : a.base < b.base ? -1 : 1;
}

function describeData({ attributes }: LeaseRecord): string {
  const data = [attributes?.backendData, attributes?.backendV6Data].filter((value) => value !== undefined);
  return cut(printable(data.map((value) => JSON.stringify(value)).join(" ")), MAX_DATA_LENGTH) || "-";
}

const cut = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length)}…` : text;
