import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CMD_REQUEST, CMD_RESPONSE, decodePacket, EVENT, encodePacket, type ViciSection } from "./vici.ts";

const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

test("a packet is laid out as strongSwan's README of VICI shows it", () => {
  const message = {
    key1: "value1",
    section1: { "sub-section": { key2: "value2" }, list1: ["item1", "item2"] },
  };
  const element = (type: number, name = "", value?: string) =>
    Buffer.concat([
      Buffer.of(type),
      name === "" ? Buffer.alloc(0) : Buffer.concat([Buffer.of(name.length), Buffer.from(name)]),
      value === undefined ? Buffer.alloc(0) : Buffer.concat([Buffer.of(0, value.length), Buffer.from(value)]),
    ]);
  const payload = Buffer.concat([
    Buffer.of(0, 7),
    Buffer.from("version"),
    element(3, "key1", "value1"),
    element(1, "section1"),
    element(1, "sub-section"),
    element(3, "key2", "value2"),
    element(2),
    element(4, "list1"),
    element(5, "", "item1"),
    element(5, "", "item2"),
    element(6),
    element(2),
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(payload.length);
  assert.deepEqual(
    encodePacket({ type: CMD_REQUEST, name: "version", message }),
    Buffer.concat([length, payload]),
  );
});

const name = fc
  .string({ minLength: 1, maxLength: 20 })
  .filter((text) => text !== "__proto__" && !/^\d+$/.test(text));
const section: fc.Arbitrary<ViciSection> = fc.letrec((tie) => ({
  section: fc.dictionary(
    name,
    fc.oneof(
      { depthSize: "small" },
      fc.string(),
      fc.array(fc.string()),
      tie("section") as fc.Arbitrary<ViciSection>,
    ),
  ),
})).section as fc.Arbitrary<ViciSection>;

test("every message is read as it was written, whole packets only", () => {
  fc.assert(
    fc.property(section, fc.constantFrom(CMD_RESPONSE, EVENT), (message, type) => {
      const bytes = encodePacket({ type, name: "list-sa", message });
      const decoded = decodePacket(Buffer.concat([bytes, Buffer.of(1, 2)]))!;
      assert.equal(decoded.sizeBytes, bytes.length);
      assert.deepEqual(plain(decoded.packet.message), plain(message));
      assert.equal(decodePacket(bytes.subarray(0, -1)), undefined);
    }),
  );
});

test("random packets are read or refused, and nothing else happens", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (payload) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(payload.length);
      try {
        decodePacket(Buffer.concat([length, payload]));
      } catch (error) {
        assert.equal((error as { code?: string }).code, "EPROTO");
      }
    }),
    { numRuns: 2000 },
  );
  assert.throws(() => decodePacket(Buffer.of(0xff, 0, 0, 0)), { code: "EPROTO" });
});
