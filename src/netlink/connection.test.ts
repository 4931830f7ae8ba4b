/** Requests, dumps and batches against a scripted socket: what the kernel may answer, and what must come of it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasCode } from "../base/error.ts";
import { FakeNetlinkSocket, type FakeReply } from "../testing/fake-netlink-socket.ts";
import { NetlinkConnection } from "./connection.ts";
import { getLink, RTM_NEWLINK } from "./link.ts";
import { type NetlinkMessage, NLM_F_ACK, NLMSG_ERROR } from "./message.ts";
import { NetlinkError } from "./netlink-error.ts";
import { deleteRoute, newRoute, RTM_DELROUTE } from "./route.ts";

/** A connection to a kernel that answers with `answer`, and a record of what it was asked. */
function connect(answer: (request: NetlinkMessage, count: number) => FakeReply) {
  const asked: NetlinkMessage[] = [];
  const socket = new FakeNetlinkSocket((request) => answer(request, asked.push(request)));
  return { socket, asked, connection: new NetlinkConnection(socket) };
}

const route = (index: number) =>
  newRoute({ destination: `10.${index >> 8}.${index & 255}.0/24`, oif: 7, gateway: "192.0.2.1" });
const object = (byte: number) => ({ type: RTM_NEWLINK, payload: Uint8Array.of(byte, 0, 0, 0) });
const thrown = (run: () => unknown): NetlinkError => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof NetlinkError, String(error));
    return error;
  }
  return assert.fail("nothing was thrown");
};

test("a request returns the objects before the acknowledgement", () => {
  const { connection } = connect(() => ({ objects: [object(1), object(2), object(3)] }));
  const answers = connection.request(getLink("eth0"));
  assert.deepEqual(
    answers.map((message) => message.bytes[message.start]),
    [1, 2, 3],
  );
});

test("an error keeps the kernel's message, the errno, the offset and the request", () => {
  const { connection } = connect(() => ({ errno: 101, text: "Nexthop has invalid gateway", offset: 36 }));
  const error = thrown(() => connection.request(route(1)));
  assert.equal(error.code, "ENETUNREACH");
  assert.equal(error.errno, 101);
  assert.equal(error.kernelMessage, "Nexthop has invalid gateway");
  assert.equal(error.offsetInRequest, 36);
  assert.match(
    error.message,
    /^RTM_NEWROUTE \{.*dst: 10\.0\.1\.0, oif: 7.*\}: Nexthop has invalid gateway \(ENETUNREACH\)$/,
  );
});

test("an error without a message has the errno's name, an unknown errno its number", () => {
  assert.match(
    thrown(() => connect(() => ({ errno: 17 })).connection.request(route(1))).message,
    /: EEXIST$/,
  );
  assert.equal(thrown(() => connect(() => ({ errno: 512 })).connection.request(route(1))).code, "ERRNO_512");
});

test("the rest of a lost answer is discarded, and late answers are skipped", () => {
  const late = Uint8Array.of(20, 0, 0, 0, NLMSG_ERROR, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255); // to request 1
  const { connection, socket } = connect((_request, count) => {
    if (count === 2) socket.push(late);
    return count === 1 ? { lost: true } : {};
  });
  assert.equal(thrown(() => connection.request(route(1))).code, "ENOBUFS");
  socket.push(Uint8Array.of(1, 2, 3)); // malformed, and never read
  assert.deepEqual(connection.request(route(2)), []);
  assert.deepEqual(connection.batch([route(3)]), [undefined]);
});

test("no answer is ETIMEDOUT", () => {
  const { connection } = connect(() => ({ silent: true }));
  assert.equal(thrown(() => connection.request(route(1))).code, "ETIMEDOUT");
  assert.deepEqual(
    connection.batch([route(1), route(2)]).map((error) => error?.code),
    ["ETIMEDOUT", "ETIMEDOUT"],
  );
});

test("a dump collects all parts", () => {
  const { connection } = connect(() => ({ objects: [1, 2, 3, 4, 5].map(object) }));
  assert.equal(connection.dump(getLink()).length, 5);
});

test("an interrupted dump is retried, and fails with EINTR in the end", () => {
  const calm = connect((_request, count) => ({ objects: [object(count)], interrupted: count < 4 }));
  const answers = calm.connection.dump(getLink());
  assert.equal(calm.asked.length, 4);
  assert.deepEqual(
    answers.map((message) => message.bytes[message.start]),
    [4],
  );
  const restless = connect(() => ({ objects: [], interrupted: true }));
  assert.equal(thrown(() => restless.connection.dump(getLink())).code, "EINTR");
});

test("a dump that lost answers is retried too", () => {
  const { connection } = connect((_request, count) =>
    count === 1 ? { objects: [], lost: true } : { objects: [object(1)] },
  );
  assert.equal(connection.dump(getLink()).length, 1);
});

test("a dump's error is in its last message, with the kernel's text", () => {
  const { connection } = connect(() => ({ objects: [], errno: 2, text: "ipv4: FIB table does not exist" }));
  const error = thrown(() => connection.dump(getLink()));
  assert.equal(error.code, "ENOENT");
  assert.equal(error.kernelMessage, "ipv4: FIB table does not exist");
});

test("a batch takes few sends with one acknowledgement each, and finds the request of each error", () => {
  const { connection, socket, asked } = connect((request) => {
    const third = request.bytes[request.start + 18]!; // 10.x.Y.0
    return third === 77 ? { errno: 17, text: "no" } : {};
  });
  const outcomes = connection.batch(Array.from({ length: 1200 }, (_, index) => route(index)));
  assert.equal(outcomes.length, 1200);
  assert.equal(asked.length, 1200);
  assert.ok(socket.sends <= 4, `${socket.sends} sends`);
  assert.equal(asked.filter((request) => (request.flags & NLM_F_ACK) !== 0).length, socket.sends);
  const failed = outcomes.flatMap((error, index) => (error === undefined ? [] : [index]));
  assert.deepEqual(failed, [77, 256 + 77, 512 + 77, 768 + 77, 1024 + 77]);
  assert.match(outcomes[333]!.message, /RTM_NEWROUTE .*dst: 10\.1\.77\.0/);
});

test("a batch may be empty, of one, all failing, or failing at its last", () => {
  assert.deepEqual(connect(() => ({})).connection.batch([]), []);
  assert.deepEqual(connect(() => ({})).connection.batch([route(1)]), [undefined]);
  const all = connect(() => ({ errno: 1 })).connection.batch([1, 2, 3].map(route));
  assert.deepEqual(
    all.map((error) => error?.code),
    ["EPERM", "EPERM", "EPERM"],
  );
  const last = connect((request) => (request.type === RTM_DELROUTE ? { errno: 3 } : {}));
  const outcomes = last.connection.batch([route(1), deleteRoute({ destination: "10.9.0.0/16" })]);
  assert.deepEqual(
    outcomes.map((error) => error?.code),
    [undefined, "ESRCH"],
  );
});

test("a batch whose answers were lost reports ENOBUFS for the unknown results, and only for those", () => {
  const { connection } = connect((_request, count) => {
    if (count === 3) return { errno: 17 };
    return count === 500 ? { lost: true } : {};
  });
  const outcomes = connection.batch(Array.from({ length: 1200 }, (_, index) => route(index)));
  assert.equal(outcomes[2]?.code, "EEXIST");
  assert.equal(outcomes.filter((error) => hasCode(error, "ENOBUFS")).length, 499);
  assert.deepEqual(new Set(outcomes.slice(500)), new Set([undefined]));
});

test("closing the connection closes the socket", () => {
  const { socket, connection } = connect(() => ({}));
  connection[Symbol.dispose]();
  assert.equal(socket.isClosed, true);
});
