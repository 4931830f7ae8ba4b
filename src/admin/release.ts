/** `flannelctl leases release`: deletes a lease or reservation, after confirmation. */

import { ConfigError } from "../base/error.ts";
import type { Command, CommandContext } from "../config/command.ts";
import { includesSubnets } from "../lease/lease.ts";
import type { LeaseAdmin, LeaseRecord } from "../lease/lease-admin.ts";
import type { AdminPorts } from "./admin-ports.ts";
import { parseSubnets } from "./arguments.ts";
import { describeExpiry, describePublicIps, describeSubnet } from "./lease-text.ts";
import { defineStoreChange } from "./store-command.ts";

export const releaseCommand = (ports: AdminPorts): Command =>
  defineStoreChange(ports, {
    summary: "delete a lease or reservation (after confirmation)",
    words: ["SUBNET"],
    inKubernetes: "a node's subnet is free again once the node is deleted (kubectl delete node NAME)",
    flags: { yes: { kind: "bool", help: "do not ask" } },
    run: (store, { values, positional: [subnet] }, context) =>
      runRelease(store, subnet!, values.yes, ports, context),
  });

async function runRelease(
  store: LeaseAdmin,
  subnet: string,
  yes: boolean,
  ports: AdminPorts,
  { print, printError }: CommandContext,
): Promise<number> {
  const record = findRecord(await store.listRecords(), subnet);
  if (!yes) {
    const expiry = (await store.readExpiries([record])).get(record.key);
    const answer = await ports.confirm(question(record, describeExpiry(record, expiry, ports.wallClockMs())));
    if (answer === undefined) {
      printError(
        "flannelctl: there is no terminal to confirm on; give --yes to release without confirmation",
      );
      return 1;
    }
    if (!answer) {
      print("Nothing was released.");
      return 1;
    }
  }
  if (!(await store.release(record))) {
    printError(
      `flannelctl: ${describeSubnet(record)} was changed concurrently: nothing was released; check it and run the command again`,
    );
    return 1;
  }
  print(`${describeSubnet(record)} is released.`);
  return 0;
}

/** By its subnet, or one of its two, or by the whole key, which may be malformed. Throws ConfigError. */
function findRecord(records: readonly LeaseRecord[], text: string): LeaseRecord {
  const byKey = records.find(({ key }) => key === text);
  if (byKey !== undefined) return byKey;
  const named = parseSubnets(text);
  const found = records.find(({ subnets }) => subnets !== undefined && includesSubnets(subnets, named));
  if (found !== undefined) return found;
  throw new ConfigError(`there is no lease of ${text}; "leases" lists the existing ones`);
}

function question(record: LeaseRecord, expiry: string): string {
  const life = record.lifeId === undefined ? "a reservation" : `expires in ${expiry}`;
  return `Release ${describeSubnet(record)} of ${describePublicIps(record)} (${life})? If flanneld runs there, it acquires a subnet again at once.`;
}
