/** Notifications from a scripted source: decoded, filtered, and never the end of the watch. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { deleteLink, setLink } from "./link.ts";
import { type NetlinkRequest, writeRequest } from "./message.ts";
import { decodeNotifications, monitor, type Notification, type ReceivedNotifications } from "./monitor.ts";
import { deleteFdbEntry, newNeighbour } from "./neighbour.ts";
import { deleteRoute, newRoute } from "./route.ts";
import { Writer } from "./writer.ts";

/** A notification looks like the request that would have caused it, with the causer's port id. */
function notification(request: NetlinkRequest, portId = 0): Uint8Array {
  const writer = new Writer();
  writeRequest(writer, request, 0, 0);
  writer.patchU32(12, portId);
  return writer.written.slice();
}

const join = (...parts: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(parts.flatMap((part) => [...part]));
const shape = (batch: readonly Notification[]): string[] =>
  batch.map((event) =>
    event.type === "overrun" ? "overrun" : `${event.change} ${event.type} by ${event.portId}`,
  );

async function watch(received: readonly ReceivedNotifications[]): Promise<string[][]> {
  const queue = [...received];
  const source = { next: async () => queue.shift(), [Symbol.dispose]() {} };
  const batches: string[][] = [];
  for await (const batch of monitor(source)) batches.push(shape(batch));
  return batches;
}

const route = newRoute({ destination: "10.5.2.0/24", oif: 5 });

test("each kind of object is reported, with what happened and who did it", async () => {
  const datagrams = [
    join(notification(route, 9), notification(deleteRoute({ destination: "10.5.2.0/24" }))),
    notification(deleteLink(5)),
    notification(newNeighbour({ ifindex: 5, address: "10.5.2.0", mac: "02:00:00:00:00:01" }), 9),
    notification(deleteFdbEntry({ ifindex: 5, mac: "02:00:00:00:00:01", destination: "192.0.2.2" })),
  ];
  assert.deepEqual(await watch([{ datagrams, overrun: false }]), [
    ["new route by 9", "delete route by 0", "delete link by 0", "new neighbour by 9", "delete fdb by 0"],
  ]);
});

test("W21 a receive error is an overrun in the stream, and the stream goes on", async () => {
  const good = { datagrams: [notification(route)], overrun: false };
  assert.deepEqual(await watch([good, { datagrams: [], overrun: true }, good]), [
    ["new route by 0"],
    ["overrun"],
    ["new route by 0"],
  ]);
});

test("W21 a malformed notification is an overrun too; the others are reported", async () => {
  const datagrams = [Uint8Array.of(1, 2, 3), notification(route)];
  assert.deepEqual(await watch([{ datagrams, overrun: false }]), [["new route by 0", "overrun"]]);
});

test("own changes and unknown messages are left out, and no batch is empty", async () => {
  const datagrams = [notification(route, 9), notification({ ...route, type: 36 })];
  const received = { datagrams, overrun: false };
  assert.deepEqual(shape(decodeNotifications(received, { ignorePortId: 9 })), []);
  assert.deepEqual(await watch([{ datagrams: [], overrun: false }]), []);
});

test("a bridge port that leaves is not a deleted device", () => {
  const bytes = notification(setLink(5, {}));
  bytes[4] = 17; // RTM_DELLINK
  bytes[16] = 7; // AF_BRIDGE
  assert.deepEqual(decodeNotifications({ datagrams: [bytes], overrun: false }), []);
});
