/**
 * The tables of iptables-legacy, read from the kernel (linux/netfilter_ipv4/ip_tables.h, ip6_tables.h), to detect changes
 * without starting a process: the kernel sends no notifications for these tables.
 */

import { createHash, type Hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { check, sys } from "./ffi.ts";

// bits/socket.h, linux/in.h
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_RAW = 255;
const SOL_IP = 0;
const SOL_IPV6 = 41;

/** Of struct ipt_getinfo and struct ip6t_getinfo. */
const GETINFO_BYTES = 84;
const GETINFO_SIZE_AT = 80;
const TABLE_NAME_BYTES = 32;
/** Of struct ipt_get_entries and struct ip6t_get_entries: name, size, padding; then the entries. */
const ENTRIES_AT = 40;
const COUNTERS_BYTES = 16;

interface XtablesFamily {
  readonly domain: number;
  readonly level: number;
  /** IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES and IP6T_… */
  readonly getInfo: number;
  readonly getEntries: number;
  /** In struct ipt_entry and ip6t_entry: `next_offset` (u16) and `counters`. */
  readonly nextOffsetAt: number;
  readonly countersAt: number;
  /** File that lists the tables in the caller's network namespace: querying another one would create it. */
  readonly tables: string;
}

const XTABLES: readonly XtablesFamily[] = [
  {
    domain: AF_INET,
    level: SOL_IP,
    getInfo: 64,
    getEntries: 65,
    nextOffsetAt: 90,
    countersAt: 96,
    tables: "/proc/thread-self/net/ip_tables_names",
  },
  {
    domain: AF_INET6,
    level: SOL_IPV6,
    getInfo: 64,
    getEntries: 65,
    nextOffsetAt: 142,
    countersAt: 152,
    tables: "/proc/thread-self/net/ip6_tables_names",
  },
];

/** The tables that contain flannel's rules. */
const TABLES = ["filter", "nat"];

/** A digest of these tables in both families, without counters. Throws SyscallError: EPERM, ENOPROTOOPT; EAGAIN during a write. */
export function digestXtables(): string {
  const hash = createHash("sha256");
  for (const family of XTABLES) {
    const existing = readNames(family.tables);
    for (const table of TABLES.filter((name) => existing.includes(name))) addTable(hash, family, table);
  }
  return hash.digest("hex");
}

function addTable(hash: Hash, family: XtablesFamily, table: string): void {
  const fd = check(sys.socket(family.domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW), "socket", "iptables");
  try {
    const info = named(table, GETINFO_BYTES);
    readOption(fd, family.level, family.getInfo, info);
    const size = new DataView(info.buffer).getUint32(GETINFO_SIZE_AT, true);
    const entries = named(table, ENTRIES_AT + size);
    new DataView(entries.buffer).setUint32(TABLE_NAME_BYTES, size, true);
    readOption(fd, family.level, family.getEntries, entries);
    clearCounters(entries, family);
    hash.update(entries);
  } finally {
    sys.close(fd);
  }
}

function named(table: string, bytes: number): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(bytes);
  buffer.set(Buffer.from(table, "ascii"));
  return buffer;
}

const readOption = (fd: number, level: number, option: number, value: Uint8Array): void =>
  void check(
    sys.getsockopt(fd, level, option, value, Uint32Array.of(value.length)),
    "getsockopt",
    "iptables",
  );

function clearCounters(entries: Uint8Array<ArrayBuffer>, { nextOffsetAt, countersAt }: XtablesFamily): void {
  const view = new DataView(entries.buffer);
  for (let at = ENTRIES_AT; at + countersAt + COUNTERS_BYTES <= entries.length; ) {
    entries.fill(0, at + countersAt, at + countersAt + COUNTERS_BYTES);
    const next = view.getUint16(at + nextOffsetAt, true);
    if (next === 0) return;
    at += next;
  }
}

function readNames(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n");
  } catch {
    return []; // the kernel has no iptables
  }
}
