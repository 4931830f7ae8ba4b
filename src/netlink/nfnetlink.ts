/**
 * Notifications of nftables (linux/netfilter/nfnetlink.h, nf_tables.h): what a transaction changed, and who committed it.
 * iptables-nft changes the same tables, so its changes are reported here too. For the tables of iptables-legacy there are no notifications.
 *
 * A transaction comes as its changes and then one NFT_MSG_NEWGEN with the process that made it (Linux 4.14).
 */

import { attributeTable } from "./attribute.ts";
import { bytes, string, u8, u16be, u32be } from "./kind.ts";
import { layoutOf, type NetlinkMessage, splitMessages } from "./message.ts";
import type { NotificationSource, ReceivedNotifications } from "./monitor.ts";
import { struct } from "./struct.ts";

/** Netlink family (linux/netlink.h) and multicast group (enum nfnetlink_groups). */
export const NETLINK_NETFILTER = 12;
export const NFNLGRP_NFTABLES = 7;

// linux/netfilter/nfnetlink.h: the subsystem is the message type's upper byte
const NFNL_SUBSYS_NFTABLES = 10;
// linux/netfilter/nf_tables.h, enum nf_tables_msg_types
const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_DELTABLE = 2;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_DELCHAIN = 5;
const NFT_MSG_NEWRULE = 6;
const NFT_MSG_DELRULE = 8;
const NFT_MSG_NEWGEN = 15;

/** linux/netfilter.h, NFPROTO_…, in nft's words. */
const NFPROTO_NAMES: Readonly<Record<number, string>> = {
  1: "inet",
  2: "ip",
  3: "arp",
  5: "netdev",
  7: "bridge",
  10: "ip6",
};

const NFGENMSG = struct("nfgenmsg", [
  ["family", u8],
  ["_version", u8],
  ["_resId", u16be],
]);
const GENERATION = layoutOf(
  NFGENMSG,
  attributeTable({
    NFTA_GEN_ID: [1, "generation", u32be],
    NFTA_GEN_PROC_PID: [2, "pid", u32be],
    NFTA_GEN_PROC_NAME: [3, "processName", string],
  }),
);
const CHAIN = layoutOf(
  NFGENMSG,
  attributeTable({
    NFTA_CHAIN_TABLE: [1, "table", string],
    NFTA_CHAIN_NAME: [3, "chain", string],
    NFTA_CHAIN_HOOK: [4, "hook", bytes],
  }),
);
const RULE = layoutOf(
  NFGENMSG,
  attributeTable({ NFTA_RULE_TABLE: [1, "table", string], NFTA_RULE_CHAIN: [2, "chain", string] }),
);
/** Tables, sets and their elements, objects, flowtables: the table's name is attribute 1 of all of them. */
const OTHER = layoutOf(NFGENMSG, attributeTable({ NFTA_TABLE_NAME: [1, "table", string] }));

/** Where something was added, changed or deleted. */
export interface NftChange {
  /** "ip", "ip6", "inet"… */
  readonly family: string;
  readonly table: string;
  readonly object: "table" | "chain" | "rule" | "other";
  /** Of a chain its name, of a rule its chain's. */
  readonly chain: string | undefined;
  /** A chain at a hook, whose creation changes what happens to packets at once. */
  readonly isBaseChain?: true;
}

/** Who committed a transaction. */
interface NftCommitter {
  /** In the initial pid namespace. Undefined before Linux 4.14. */
  readonly pid: number | undefined;
  /** Its comm (proc(5)): "nft", "iptables-nft-re". */
  readonly processName: string | undefined;
}

/** A transaction that changed something of interest; or the news that some were lost, so that the rules have to be observed again. */
export type NftNotice = NftCommitter | "overrun";

/** Batches of notices, never empty, until the source is closed. Of transactions that changed nothing of interest there is none. */
export async function* nftNotices(
  source: NotificationSource,
  isOfInterest: (change: NftChange) => boolean,
): AsyncGenerator<readonly NftNotice[], void, void> {
  const transaction = { isOfInterest: false };
  for (let received = await source.next(); received !== undefined; received = await source.next()) {
    const batch = readTransactions(received, transaction, isOfInterest);
    if (batch.length > 0) yield batch;
  }
}

/** `transaction` is the one under way: its end may come with the next datagrams. */
function readTransactions(
  received: ReceivedNotifications,
  transaction: { isOfInterest: boolean },
  isOfInterest: (change: NftChange) => boolean,
): NftNotice[] {
  const notices: NftNotice[] = [];
  let overrun = received.overrun;
  for (const datagram of received.datagrams) {
    try {
      for (const message of splitMessages(datagram)) {
        if (message.type >> 8 !== NFNL_SUBSYS_NFTABLES) continue;
        if ((message.type & 255) === NFT_MSG_NEWGEN) {
          if (transaction.isOfInterest) notices.push(decodeCommitter(message));
          transaction.isOfInterest = false;
        } else if (!transaction.isOfInterest) {
          transaction.isOfInterest = isOfInterest(decodeNftChange(message));
        }
      }
    } catch {
      overrun = true; // NetlinkDecodeError: the decoders throw nothing else
    }
  }
  if (overrun) notices.push("overrun");
  return notices;
}

/** Decodes any NFT_MSG_… but NEWGEN. Throws NetlinkDecodeError. */
function decodeNftChange({ type, bytes: message, start, end }: NetlinkMessage): NftChange {
  switch (type & 255) {
    case NFT_MSG_NEWCHAIN:
    case NFT_MSG_DELCHAIN: {
      const { family, table = "", chain, hook } = CHAIN.decode(message, start, end);
      const change = { family: familyName(family), table, object: "chain", chain } as const;
      return hook === undefined ? change : { ...change, isBaseChain: true };
    }
    case NFT_MSG_NEWRULE:
    case NFT_MSG_DELRULE: {
      const { family, table = "", chain } = RULE.decode(message, start, end);
      return { family: familyName(family), table, object: "rule", chain };
    }
    case NFT_MSG_NEWTABLE:
    case NFT_MSG_DELTABLE: {
      const { family, table = "" } = OTHER.decode(message, start, end);
      return { family: familyName(family), table, object: "table", chain: undefined };
    }
    default: {
      const { family, table = "" } = OTHER.decode(message, start, end);
      return { family: familyName(family), table, object: "other", chain: undefined };
    }
  }
}

function decodeCommitter({ bytes, start, end }: NetlinkMessage): NftCommitter {
  const { pid, processName } = GENERATION.decode(bytes, start, end);
  return { pid, processName };
}

const familyName = (number: number): string => NFPROTO_NAMES[number] ?? `#${number}`;
