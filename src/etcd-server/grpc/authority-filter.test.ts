import assert from "node:assert/strict";
import { connect } from "node:http2";
import { Duplex } from "node:stream";
import { test } from "node:test";
import fc from "fast-check";
import { FLAG, FRAME, frameOf, grpcFields, headerBlock, PREFACE } from "../../../test/support/raw-http2.ts";
import { AuthorityFilter } from "./authority-filter.ts";
import { repairAuthority } from "./hpack-authority.ts";

const request = (authority: string, flags: number = FLAG.END_HEADERS) =>
  frameOf(FRAME.HEADERS, flags, 1, headerBlock(grpcFields("/etcdserverpb.Maintenance/Status", authority)));

/** What the filter gives, whichever way the bytes are cut. */
function filtered(bytes: Buffer, cuts: readonly number[] = []): Buffer {
  const filter = new AuthorityFilter();
  const parts: Buffer[] = [];
  let at = 0;
  for (const length of [...cuts, bytes.length]) {
    parts.push(Buffer.from(filter.push(bytes.subarray(at, at + length))));
    at += length;
  }
  return Buffer.concat(parts);
}

test("F14 forbidden characters of :authority become dots, nothing else changes", () => {
  for (const [sent, read] of [
    ["http://127.0.0.1:2379", "http:..127.0.0.1:2379"],
    ["#initially=[127.0.0.1:2379]", ".initially=[127.0.0.1:2379]"],
    [`${"x".repeat(300)}/`, `${"x".repeat(300)}.`],
    ["store:2379", "store:2379"],
    ["[::1]:2379", "[::1]:2379"],
  ] as const) {
    const before = Buffer.concat([PREFACE, frameOf(FRAME.SETTINGS, 0, 0)]);
    const after = frameOf(FRAME.DATA, 0, 1, Buffer.from("http://data"));
    const expected = Buffer.concat([before, request(read), after]);
    assert.deepEqual(filtered(Buffer.concat([before, request(sent), after])), expected);
  }
});

test("F14 the same however the bytes are cut, with padding, priority and continuations", () => {
  const block = headerBlock(grpcFields("/x", "http://a:1"));
  const padded = Buffer.concat([Buffer.of(3), Buffer.alloc(5), block, Buffer.alloc(3)]);
  const stream = Buffer.concat([
    PREFACE,
    frameOf(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.PADDED | FLAG.PRIORITY, 1, padded),
    frameOf(FRAME.HEADERS, 0, 3, block.subarray(0, 40)),
    frameOf(FRAME.CONTINUATION, FLAG.END_HEADERS, 3, block.subarray(40)),
    frameOf(FRAME.PING, 0, 0, Buffer.alloc(8)),
  ]);
  const good = headerBlock(grpcFields("/x", "http:..a:1"));
  const expected = Buffer.concat([
    PREFACE,
    frameOf(FRAME.HEADERS, FLAG.END_HEADERS, 1, good),
    frameOf(FRAME.HEADERS, FLAG.END_HEADERS, 3, good),
    frameOf(FRAME.PING, 0, 0, Buffer.alloc(8)),
  ]);
  const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 20 });
  fc.assert(fc.property(cuts, (each) => assert.deepEqual(filtered(stream, each), expected)));
});

test("arbitrary bytes pass without loss and without an exception", () => {
  const bytes = fc.uint8Array({ maxLength: 400 });
  const property = fc.property(bytes, fc.array(fc.integer({ min: 1, max: 50 })), (sent, cuts) => {
    const stream = Buffer.concat([PREFACE, sent, frameOf(FRAME.DATA, 0, 1, Buffer.alloc(20_000))]);
    assert.ok(filtered(stream, cuts).length <= stream.length + 100);
  });
  fc.assert(property);
  fc.assert(fc.property(bytes, (block) => void repairAuthority(Buffer.from(block))));
});

test("a header block without end is not held for ever", () => {
  const filter = new AuthorityFilter();
  const piece = frameOf(FRAME.CONTINUATION, 0, 1, Buffer.alloc(1000));
  let passed = filter.push(Buffer.concat([PREFACE, frameOf(FRAME.HEADERS, 0, 1, Buffer.alloc(10))])).length;
  for (let count = 0; count < 40; count++) passed += filter.push(piece).length;
  assert.equal(passed, PREFACE.length + 19 + 40 * piece.length);
});

test("a client is conforming once a request of it needed no repair", () => {
  const good = new AuthorityFilter();
  good.push(PREFACE);
  assert.equal(good.isConforming, false);
  good.push(request("store"));
  assert.equal(good.isConforming, true);
  const bad = new AuthorityFilter();
  bad.push(Buffer.concat([PREFACE, request("http://store"), request("store")]));
  assert.equal(bad.isConforming, false);
});

/** The header block that node:http2's client sends: Huffman-coded, with dynamic entries. */
async function nodeBlock(authority: string): Promise<Buffer> {
  const sent: Buffer[] = [];
  const wire = new Duplex({
    read() {},
    write(piece: Buffer, _, done) {
      sent.push(piece);
      done();
    },
  });
  const client = connect("http://x", { createConnection: () => wire });
  client.on("error", () => {});
  client.request({ ":method": "POST", ":path": "/x", ":authority": authority }).on("error", () => {});
  while (Buffer.concat(sent).length < PREFACE.length + 9 + 20)
    await new Promise((resolve) => setImmediate(resolve));
  client.destroy();
  return Buffer.concat(sent);
}

test("Huffman codes agree with nghttp2's for every printable character", async () => {
  for (let code = 33; code < 127; code++) {
    const character = String.fromCharCode(code);
    if (character === "\\") continue; // a code of 19 bits: passes unrepaired, is refused by nghttp2
    const authority = `aaaaaaaaaaaaaaaaaaaaaaaa/${character}${character}${character}a`;
    const out = filtered(await nodeBlock(authority)).toString("latin1");
    const permitted = authority.replace(/[^A-Za-z0-9\-._~!$&'()*+,;=:@%[\]]/g, ".");
    assert.ok(out.includes(permitted), character);
  }
});
