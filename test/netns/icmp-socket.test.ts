/** The socket of the probes against the kernel: batches, sizes, both families, and what its filters keep away. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ipToBytes, parseIp } from "../../src/address/ip.ts";
import { type IcmpSocket, openIcmp } from "../../src/linux/icmp-socket.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { ECHO_HEAD_BYTES, readEcho, writeEchoRequest } from "../../src/probe/echo.ts";
import { until } from "../support/until.ts";
import { freshNetns } from "./support.ts";

const MINE = 0x1234;
const FOREIGN = 0x4321;

for (const [family, address] of [
  [4, "127.0.0.1"],
  [6, "::1"],
] as const) {
  test(`IPv${family}: a socket receives the replies to its own probes, and requests while it wants them`, async (t) => {
    const netns = freshNetns(t);
    const ip = parseIp(address)!;
    const received: { readonly type: string; readonly identifier: number; readonly sequence: number }[] = [];
    const foreign: number[] = [];
    using mine = withNetns(netns.path, () =>
      openIcmp(family, MINE, (source, message, start, length) => {
        assert.deepEqual(source.bytes.slice(source.at, source.at + ipToBytes(ip).length), ipToBytes(ip));
        received.push(readEcho(message, family, start, length)!);
      }),
    )!;
    using other = withNetns(netns.path, () =>
      openIcmp(family, FOREIGN, (_, message, start, length) =>
        foreign.push(readEcho(message, family, start, length)!.sequence),
      ),
    )!;
    const head = new Uint8Array(ECHO_HEAD_BYTES);
    const send = (socket: IcmpSocket, identifier: number, from: number, count: number): void => {
      for (let sequence = from; sequence < from + count; sequence++) {
        // Any size, up to a jumbo frame: the kernel checks the checksum before it answers.
        const sizeBytes = sequence % 2 === 0 ? 104 : 9_000;
        const length = writeEchoRequest(head, family, { identifier, sequence, nonce: sequence }, sizeBytes);
        socket.queue({ family, bytes: ipToBytes(ip), at: 0 }, head, length);
      }
      socket.flush();
    };
    const sequences = (from: number, count: number) => Array.from({ length: count }, (_, at) => from + at);

    send(other, FOREIGN, 0, 20);
    await until(() => foreign.length === 20, "the replies to the other socket");
    assert.deepEqual(received, []);

    // No more at once than fit into the receive buffer at full size.
    for (let from = 0; from < 80; from += 10) {
      send(mine, MINE, from, 10);
      await until(() => received.length === from + 10, "all replies");
    }
    assert.deepEqual(
      received.map(({ sequence }) => sequence),
      sequences(0, 80),
    );
    assert.ok(received.every(({ type, identifier }) => type === "reply" && identifier === MINE));

    received.length = 0;
    mine.receiveRequests(true);
    send(other, FOREIGN, 100, 1);
    await until(() => received.length === 1, "the request of the other socket");
    assert.deepEqual(received, [{ type: "request", identifier: FOREIGN, sequence: 100, nonce: 100 }]);
    mine.receiveRequests(false);
    send(other, FOREIGN, 101, 1);
    await until(() => foreign.at(-1) === 101, "the reply");
    send(mine, MINE, 200, 1);
    await until(() => received.length > 1, "the reply to this socket");
    assert.deepEqual(received[1], { type: "reply", identifier: MINE, sequence: 200, nonce: 200 });
  });
}

test("what the kernel refuses is lost, and what is queued behind it is sent", async (t) => {
  const netns = freshNetns(t);
  const received: number[] = [];
  using socket = withNetns(netns.path, () =>
    openIcmp(4, MINE, (_, message, start, length) =>
      received.push(readEcho(message, 4, start, length)!.sequence),
    ),
  )!;
  const head = new Uint8Array(ECHO_HEAD_BYTES);
  for (let sequence = 0; sequence < 150; sequence++) {
    // There is no route to the second.
    const to = ipToBytes(parseIp(sequence % 3 === 0 ? "192.0.2.1" : "127.0.0.1")!);
    const length = writeEchoRequest(head, 4, { identifier: MINE, sequence, nonce: sequence }, 84);
    socket.queue({ family: 4, bytes: to, at: 0 }, head, length);
  }
  socket.flush();
  await until(() => received.length === 100, "the replies");
  assert.ok(received.every((sequence) => sequence % 3 !== 0));
});
