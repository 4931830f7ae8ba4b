/**
 * Codecs against a real kernel's bytes (vectors.json: what Linux answered, and what `ip` and `bridge` said of the same
 * objects), round trips of everything that can be asked for, and random bytes.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { type AddressSpec, decodeAddress, newAddress } from "./address.ts";
import { attributeTable, nested } from "./attribute.ts";
import { NetlinkConnection } from "./connection.ts";
import * as kind from "./kind.ts";
import { decodeLink, type LinkSpec, newLink, setLink, setNoLinkLocal } from "./link.ts";
import { type NetlinkMessage, type NetlinkRequest, splitMessages, writeRequest } from "./message.ts";
import { decodeNotifications } from "./monitor.ts";
import { decodeFdbEntry, decodeNeighbour, newFdbEntry, newNeighbour } from "./neighbour.ts";
import { NetlinkDecodeError, NetlinkError } from "./netlink-error.ts";
import { decodeRoute, newRoute, type RouteSpec } from "./route.ts";
import { Writer } from "./writer.ts";

interface Vectors {
  readonly messages: readonly {
    name: string;
    decoder: keyof typeof DECODERS;
    hex: string;
    expected: object;
  }[];
  readonly answers: readonly {
    name: string;
    hex: string;
    errno: number;
    kernelMessage?: string;
    offset?: number;
  }[];
}

const DECODERS = {
  link: decodeLink,
  address: decodeAddress,
  route: decodeRoute,
  neighbour: decodeNeighbour,
  fdb: decodeFdbEntry,
} as const satisfies Record<string, (message: NetlinkMessage) => unknown>;

const vectors: Vectors = JSON.parse(readFileSync(new URL("./vectors.json", import.meta.url), "utf8"));
const fromHex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
/** Without the members that are undefined. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
/** What the kernel would receive. */
function sent(request: NetlinkRequest): NetlinkMessage {
  const writer = new Writer();
  writeRequest(writer, request, 1, 0);
  const [message, ...more] = splitMessages(writer.written.slice());
  assert.equal(more.length, 0);
  return message!;
}

for (const { name, decoder, hex, expected } of vectors.messages) {
  test(`real kernel: ${name}`, () => {
    const [message] = splitMessages(fromHex(hex));
    assert.deepEqual(plain(DECODERS[decoder](message!)), expected);
  });
}

for (const { name, hex, errno, kernelMessage, offset } of vectors.answers) {
  test(`real kernel's answer: ${name}`, () => {
    const bytes = fromHex(hex);
    bytes.set([1, 0, 0, 0], 8); // the sequence number of a first request
    const socket = { portId: 1, send() {}, receive: () => bytes, discard() {}, close() {} };
    let error: unknown;
    try {
      new NetlinkConnection(socket).request(setLink(1, { up: true }));
    } catch (caught) {
      error = caught;
    }
    if (errno === 0) return assert.equal(error, undefined);
    assert.ok(error instanceof NetlinkError);
    assert.deepEqual(
      [error.errno, error.kernelMessage, error.offsetInRequest],
      [errno, kernelMessage, offset],
    );
  });
}

const ipv4 = fc.ipV4();
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":"));
const ifindex = fc.integer({ min: 1, max: 0x7fff_ffff });
const u8 = fc.integer({ min: 0, max: 255 });
const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const EVERY_KIND = attributeTable({
  A_U8: [1, "u8", kind.u8],
  A_U16: [2, "u16", kind.u16],
  A_U16BE: [3, "u16be", kind.u16be],
  A_U32: [4, "u32", kind.u32],
  A_U32BE: [5, "u32be", kind.u32be],
  A_I32: [6, "i32", kind.i32],
  A_U64: [7, "u64", kind.u64],
  A_STRING: [8, "string", kind.string],
  A_BYTES: [9, "bytes", kind.bytes],
  A_FLAG: [10, "flag", kind.flag],
  A_BOOL: [11, "bool", kind.bool],
  A_IP: [12, "ip", kind.ip],
  A_MAC: [13, "mac", kind.mac],
  A_NESTED: [0x3fff, "nested", nested(attributeTable({ B_U8: [1, "u8", kind.u8] }))],
});
const written = (encode: (writer: Writer) => void): Uint8Array => {
  const writer = new Writer();
  encode(writer);
  return writer.written.slice();
};

test("every kind of attribute round-trips", () => {
  const values = fc.record(
    {
      u8,
      u16: fc.integer({ min: 0, max: 0xffff }),
      u16be: fc.integer({ min: 0, max: 0xffff }),
      u32,
      u32be: u32,
      i32: fc.integer(),
      u64: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
      string: fc.string({ unit: "grapheme" }).filter((text) => !text.includes("\0")),
      bytes: fc.uint8Array(),
      flag: fc.constant(true),
      bool: fc.boolean(),
      ip: fc.constantFrom("0.0.0.0", "255.255.255.255", "::", "2001:db8::1", "::ffff:192.0.2.1"),
      mac,
      nested: fc.record({ u8 }, { noNullPrototype: true }),
    },
    { requiredKeys: [], noNullPrototype: true },
  );
  fc.assert(
    fc.property(values, (value) => {
      const bytes = written((writer) => EVERY_KIND.encode(writer, value));
      assert.equal(bytes.length % 4, 0);
      assert.deepEqual(EVERY_KIND.decode(bytes, 0, bytes.length), value);
    }),
  );
});

test("numbers are encoded in the byte order of their kind", () => {
  const bytes = written((writer) =>
    EVERY_KIND.encode(writer, { u16: 0x1234, u16be: 0x1234, u32be: 0x12345678 }),
  );
  assert.equal(Buffer.from(bytes).toString("hex"), "060002003412000006000300123400000800050012345678");
});

test("unknown attributes are skipped, and a false flag is not sent", () => {
  const FUTURE = attributeTable({ A_NEW: [99, "new", kind.string], A_U8: [1, "u8", kind.u8] });
  const bytes = written((writer) => FUTURE.encode(writer, { new: "unheard of", u8: 7 }));
  assert.deepEqual(EVERY_KIND.decode(bytes, 0, bytes.length), { u8: 7 });
  assert.equal(written((writer) => EVERY_KIND.encode(writer, { flag: false })).length, 0);
});

test("routes round-trip", () => {
  const spec = fc.record({
    destination: fc.tuple(ipv4, fc.integer({ min: 0, max: 32 })).map(([ip, length]) => `${ip}/${length}`),
    oif: maybe(ifindex),
    gateway: maybe(fc.constantFrom("192.0.2.1", "10.5.2.0")),
    onlink: fc.boolean(),
    prefsrc: maybe(ipv4),
    priority: fc.integer({ min: 1, max: 0xffff_ffff }),
    table: fc.integer({ min: 1, max: 0xffff_ffff }),
    protocol: u8,
    scope: u8,
    type: u8,
  });
  fc.assert(
    fc.property(spec, (route) => {
      const { family, flags, tos, nextHops, ...same } = decodeRoute(sent(newRoute(route as RouteSpec)))!;
      assert.deepEqual({ family, tos, nextHops }, { family: 4, tos: 0, nextHops: [] });
      assert.deepEqual(plain(same), plain(route));
    }),
  );
});

test("IPv6 routes and multipath routes round-trip", () => {
  const nextHops = [
    { oif: 3, gateway: "192.0.2.2", weight: 1, onlink: false },
    { oif: 4, gateway: undefined, weight: 256, onlink: true },
  ];
  assert.deepEqual(decodeRoute(sent(newRoute({ destination: "10.0.0.0/8", nextHops })))?.nextHops, nextHops);
  const six = decodeRoute(
    sent(newRoute({ destination: "fc00:0:0:2::/64", oif: 9, gateway: "fc00:0:0:2::", onlink: true })),
  );
  assert.deepEqual(
    [six?.family, six?.destination, six?.gateway, six?.onlink],
    [6, "fc00:0:0:2::/64", "fc00:0:0:2::", true],
  );
});

test("addresses round-trip", () => {
  const addresses: AddressSpec[] = [
    { ifindex: 3, prefix: "10.5.1.0/32", scope: 0, flags: 0x280 },
    { ifindex: 0x7fff_ffff, prefix: "2001:db8::1/64", scope: 253, flags: 2 },
  ];
  for (const spec of addresses) {
    const { ifindex, prefix, scope, flags } = decodeAddress(sent(newAddress(spec)))!;
    assert.deepEqual({ ifindex, prefix, scope, flags }, spec);
  }
});

test("neighbours and forwarding entries round-trip", () => {
  fc.assert(
    fc.property(ifindex, mac, ipv4, u8, (index, hardware, address, protocol) => {
      const neighbour = decodeNeighbour(
        sent(newNeighbour({ ifindex: index, mac: hardware, address, protocol })),
      );
      assert.deepEqual(neighbour, {
        family: 4,
        ifindex: index,
        address,
        mac: hardware,
        state: 0x80,
        flags: 0,
        protocol,
      });
      const entry = decodeFdbEntry(
        sent(newFdbEntry({ ifindex: index, mac: hardware, destination: address })),
      );
      assert.deepEqual(plain(entry), {
        ifindex: index,
        mac: hardware,
        destination: address,
        state: 0x80,
        flags: 2,
      });
    }),
  );
});

test("links round-trip", () => {
  const spec = fc.record({
    name,
    kind: fc.constant("vxlan" as const),
    mac: maybe(mac),
    mtuBytes: fc.integer({ min: 68, max: 65535 }),
    masterIndex: maybe(ifindex),
    vxlan: fc.record({
      vni: fc.integer({ min: 1, max: 0xff_ffff }),
      lowerIndex: maybe(ifindex),
      local: maybe(fc.constantFrom("192.0.2.1", "2001:db8::1")),
      port: fc.integer({ min: 1, max: 65535 }),
      learning: fc.boolean(),
      gbp: fc.constantFrom(true, undefined),
      udpChecksum: maybe(fc.boolean()),
    }),
  });
  fc.assert(
    fc.property(spec, (link: LinkSpec) => {
      const { name, kind, mac, mtuBytes, masterIndex, vxlan } = decodeLink(sent(newLink(link)));
      assert.deepEqual(plain({ name, kind, mac, mtuBytes, masterIndex, vxlan }), plain(link));
    }),
  );
  assert.equal(decodeLink(sent(setNoLinkLocal("flannel.1"))).hasNoLinkLocal, true);
  assert.equal(decodeLink(sent(setLink(4, { up: true }))).isUp, true);
});

test("text that is not an address is refused before anything is sent", () => {
  assert.throws(
    () => sent(newNeighbour({ ifindex: 1, address: "10.0.0.256" })),
    /not an IP address: "10.0.0.256"/,
  );
  assert.throws(
    () => sent(newFdbEntry({ ifindex: 1, mac: "2:0", destination: "::1" })),
    /not a link-layer address: "2:0"/,
  );
});

/** Runs a decoder on bytes that need make no sense: it gives a value or a NetlinkDecodeError within those bytes. */
function mayOnlyRefuse(run: () => unknown, length: number): void {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof NetlinkDecodeError, String(error));
    assert.ok(error.offset >= 0 && error.offset <= length, `offset ${error.offset} of ${length}`);
  }
}

const asMessage = (bytes: Uint8Array, end = bytes.length): NetlinkMessage => ({
  type: 0,
  flags: 0,
  sequence: 0,
  portId: 0,
  bytes,
  start: 0,
  end,
});

test("random bytes give a value or a decode error, never anything else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      mayOnlyRefuse(() => splitMessages(bytes), bytes.length);
      for (const decode of Object.values(DECODERS))
        mayOnlyRefuse(() => decode(asMessage(bytes)), bytes.length);
      decodeNotifications({ datagrams: [bytes], overrun: false });
    }),
    { numRuns: 500 },
  );
});

test("real messages cut short anywhere give a value or a decode error", () => {
  for (const { decoder, hex } of vectors.messages) {
    const payload = fromHex(hex).subarray(16);
    for (let end = 0; end < payload.length; end++) {
      mayOnlyRefuse(() => DECODERS[decoder](asMessage(payload.slice(0, end))), end);
    }
  }
});

test("real messages with bytes changed give a value or a decode error", () => {
  const change = fc.record({
    vector: fc.constantFrom(...vectors.messages),
    changes: fc.array(fc.tuple(fc.nat(2000), u8), { minLength: 1, maxLength: 4 }),
  });
  fc.assert(
    fc.property(change, ({ vector, changes }) => {
      const payload = fromHex(vector.hex).subarray(16);
      for (const [at, value] of changes) payload[at % payload.length] = value;
      mayOnlyRefuse(() => DECODERS[vector.decoder](asMessage(payload.slice())), payload.length);
    }),
    { numRuns: 3000 },
  );
});
