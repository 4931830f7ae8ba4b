/** `flannelctl leases`: which host has which subnet and for how long; once, or with each change. */

import { describeTypes } from "../backend/backend-types.ts";
import { StoreError } from "../base/error.ts";
import { printable, printableJson } from "../base/printable.ts";
import { formatTable } from "../base/table.ts";
import { type Command, type CommandContext, defineGroup } from "../config/command.ts";
import type { LeaseInspector, LeaseRecord, RecordUpdate } from "../lease/lease-admin.ts";
import type { AdminPorts } from "./admin-ports.ts";
import { compareRecords, describeExpiry, headerOf, jsonOf, leasesOf, rowOf } from "./lease-text.ts";
import { releaseCommand } from "./release.ts";
import { reserveCommand } from "./reserve.ts";
import { defineStoreCommand } from "./store-command.ts";

export const leaseCommands = (ports: AdminPorts): Command =>
  defineGroup(
    "The subnets that hosts have leased.",
    {
      list: defineStoreCommand(ports, {
        summary: "show them, sorted by subnet",
        flags: {
          json: { kind: "bool", help: "as JSON; with --watch one object a line" },
          watch: { kind: "bool", help: "then print every change until Ctrl-C" },
        },
        run: (store, { values }, context) => {
          const { keysAreNodes = false } = store;
          const show = values.json
            ? jsonOutput(context, keysAreNodes)
            : tableOutput(context, keysAreNodes, ports);
          return values.watch ? runWatch(store, show, ports.untilInterrupted()) : runList(store, show);
        },
      }),
      reserve: reserveCommand(ports),
      release: releaseCommand(ports),
    },
    { standard: "list" },
  );

/** By key, in wall-clock ms; undefined = not known. */
type Expiries = ReadonlyMap<string, number> | undefined;
type Change = "added" | "changed" | "removed";

/** How leases are printed. */
interface Output {
  all(records: readonly LeaseRecord[], expiries: Expiries): void;
  /** The same, before the changes. */
  first(records: readonly LeaseRecord[], expiries: Expiries): void;
  change(change: Change, record: LeaseRecord, expiries: Expiries): void;
}

async function runList(store: LeaseInspector, output: Output): Promise<number> {
  const records = [...(await store.listRecords())].sort(compareRecords);
  output.all(records, await store.readExpiries(records));
  return 0;
}

async function runWatch(store: LeaseInspector, output: Output, signal: AbortSignal): Promise<number> {
  await store.listRecords(); // fails now if it cannot work: the watch retries for ever
  let known: Map<string, LeaseRecord> | undefined;
  for await (const update of store.watchRecords(signal)) {
    if (update.type === "snapshot" && known === undefined) {
      const records = [...update.records].sort(compareRecords);
      known = new Map(records.map((record) => [record.key, record]));
      output.first(records, await expiriesIfAny(store, records));
      continue;
    }
    const before: Map<string, LeaseRecord> = known ?? new Map();
    for (const [change, record] of changesBy(update, before)) {
      if (change === "removed") before.delete(record.key);
      else before.set(record.key, record);
      const expiries = change === "removed" ? new Map() : await expiriesIfAny(store, [record]);
      output.change(change, record, expiries);
    }
  }
  return 0;
}

/** What an update changes in `known`. */
function changesBy(
  update: RecordUpdate,
  known: ReadonlyMap<string, LeaseRecord>,
): (readonly [Change, LeaseRecord])[] {
  const put = (record: LeaseRecord): (readonly [Change, LeaseRecord])[] => {
    const before = known.get(record.key);
    if (before?.revision === record.revision) return [];
    return [[before === undefined ? "added" : "changed", record]];
  };
  const remove = (key: string): (readonly [Change, LeaseRecord])[] => {
    const before = known.get(key);
    return before === undefined ? [] : [["removed", before]];
  };
  switch (update.type) {
    case "put":
      return put(update.record);
    case "delete":
      return remove(update.key);
    case "snapshot": {
      const now = new Set(update.records.map(({ key }) => key));
      const gone = [...known.keys()].filter((key) => !now.has(key));
      return [...gone.flatMap(remove), ...[...update.records].sort(compareRecords).flatMap(put)];
    }
  }
}

/** A watch survives an outage: then the expiries are unknown. */
async function expiriesIfAny(store: LeaseInspector, records: readonly LeaseRecord[]): Promise<Expiries> {
  try {
    return await store.readExpiries(records);
  } catch (error) {
    if (error instanceof StoreError) return undefined;
    throw error;
  }
}

function tableOutput(
  { print, printError }: CommandContext,
  keysAreNodes: boolean,
  { wallClockMs }: AdminPorts,
): Output {
  const cells = (record: LeaseRecord, expiries: Expiries): string[] => {
    const known = expiries?.get(record.key);
    const expiry =
      expiries === undefined && record.lifeId !== undefined
        ? "?"
        : describeExpiry(record, known, wallClockMs());
    return rowOf(record, expiry, keysAreNodes);
  };
  const all: Output["all"] = (records, expiries) => {
    if (records.length === 0) print("There are no leases.");
    else {
      const rows = records.map((record) => cells(record, expiries));
      formatTable([headerOf(keysAreNodes), ...rows]).forEach(print);
      const conflict = describeTypes(leasesOf(records));
      if (conflict !== undefined) printError(`flannelctl: ${printable(conflict)}`);
    }
  };
  return {
    all,
    first: all,
    change(change, record, expiries) {
      const time = new Date(wallClockMs()).toTimeString().slice(0, 8);
      const row = change === "removed" ? rowOf(record, "-", keysAreNodes) : cells(record, expiries);
      const widths = keysAreNodes ? [NODE_WIDTH, ...CHANGE_WIDTHS] : CHANGE_WIDTHS;
      const padded = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
      print([time, change.padEnd("changed".length), ...padded].join("  ").trimEnd());
    },
  };
}

/** Of the columns of changes, which come one by one: as wide as they usually are. */
const CHANGE_WIDTHS = [18, 15, 7, 10];
const NODE_WIDTH = 16;

function jsonOutput({ print }: CommandContext, keysAreNodes: boolean): Output {
  const json = (record: LeaseRecord, expiries: Expiries) =>
    jsonOf(record, expiries?.get(record.key), keysAreNodes);
  return {
    all(records, expiries) {
      const list = records.map((record) => json(record, expiries));
      print(printableJson(JSON.stringify(list, undefined, 2)));
    },
    first(records, expiries) {
      for (const record of records) {
        print(printableJson(JSON.stringify({ change: "listed", ...json(record, expiries) })));
      }
    },
    change(change, record, expiries) {
      print(printableJson(JSON.stringify({ change, ...json(record, expiries) })));
    },
  };
}
