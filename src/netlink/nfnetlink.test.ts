/** Notifications of nftables as a real kernel (6.18) sent them, and what must come of broken ones. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { NotificationSource, ReceivedNotifications } from "./monitor.ts";
import { type NftChange, type NftNotice, nftNotices } from "./nfnetlink.ts";

// iptables-nft -N FLANNEL-FWD, in a namespace without tables
const NEW_TABLE_AND_CHAIN =
  "3c000000000a000402000000dd2b0000020000020b00010066696c746572000008000300000000010c0004000000000000000001080002000000000044000000030a000203000000dd2b0000020000020b00010066696c746572000010000300464c414e4e454c2d465744000c00020000000000000000010800060000000000";
const BY_IPTABLES_NFT =
  "380000000f0a000002000000dd2b00000000000208000100000000020800020000002bdd1100030069707461626c65732d6e667400000000";

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));

/** Delivers one `received` after the other, then closes. */
function sourceOf(...all: readonly ReceivedNotifications[]): NotificationSource {
  const left = [...all];
  return { next: async () => left.shift(), [Symbol.dispose]() {} };
}
const received = (...datagrams: readonly string[]): ReceivedNotifications => ({
  datagrams: datagrams.map(bytes),
  overrun: false,
});

async function collect(source: NotificationSource, isOfInterest: (change: NftChange) => boolean) {
  const notices: NftNotice[] = [];
  for await (const batch of nftNotices(source, isOfInterest)) notices.push(...batch);
  return notices;
}

test("a transaction: what it changed, and who committed it", async () => {
  const seen: NftChange[] = [];
  const notices = await collect(sourceOf(received(NEW_TABLE_AND_CHAIN, BY_IPTABLES_NFT)), (change) => {
    seen.push(change);
    return change.chain === "FLANNEL-FWD";
  });
  assert.deepEqual(seen, [
    { family: "ip", table: "filter", object: "table", chain: undefined },
    { family: "ip", table: "filter", object: "chain", chain: "FLANNEL-FWD" },
  ]);
  assert.deepEqual(notices, [{ pid: 11229, processName: "iptables-nft" }]);
});

test("a transaction without objects of interest is no notice; its end may come later", async () => {
  const quiet = sourceOf(received(NEW_TABLE_AND_CHAIN, BY_IPTABLES_NFT, BY_IPTABLES_NFT));
  assert.deepEqual(await collect(quiet, () => false), []);
  const torn = sourceOf(received(NEW_TABLE_AND_CHAIN), received(BY_IPTABLES_NFT), received(BY_IPTABLES_NFT));
  assert.equal((await collect(torn, () => true)).length, 1);
});

test("lost or malformed messages mean: observe again", async () => {
  const lost = sourceOf({ datagrams: [], overrun: true });
  assert.deepEqual(await collect(lost, () => true), ["overrun"]);
  for (let length = 1; length < NEW_TABLE_AND_CHAIN.length / 2; length++) {
    const cut = sourceOf(received(NEW_TABLE_AND_CHAIN.slice(0, 2 * length)));
    for (const notice of await collect(cut, () => true)) assert.equal(notice, "overrun");
  }
});

test("messages of other subsystems (conntrack) are skipped", async () => {
  const conntrack = NEW_TABLE_AND_CHAIN.replaceAll("0a0004", "010004").replaceAll("030a0002", "03010002");
  assert.deepEqual(await collect(sourceOf(received(conntrack, BY_IPTABLES_NFT)), () => true), []);
});
