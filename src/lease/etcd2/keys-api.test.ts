/** Vectors: answers of etcd 3.4.23 with --enable-v2=true. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { decodeKeysBody, isRefusal, isRemoval, type KeysAnswer, pathOfKey } from "./keys-api.ts";

const decode = (text: string): KeysAnswer => {
  const body = decodeKeysBody(text);
  assert.ok(body !== undefined && !isRefusal(body), text);
  return body;
};

describe("keys API", () => {
  it("encodes every part of a key once", () => {
    assert.equal(
      pathOfKey("/n/subnets/10.5.52.0-24&fc00:0:0:34::-64"),
      "/v2/keys/n/subnets/10.5.52.0-24%26fc00%3A0%3A0%3A34%3A%3A-64",
    );
    assert.equal(pathOfKey("/n/a%25b c?d#"), "/v2/keys/n/a%2525b%20c%3Fd%23");
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (name) => {
        const { pathname } = new URL(pathOfKey(`/n/k${name.replaceAll("/", "")}`), "http://etcd");
        assert.equal(decodeURIComponent(pathname), `/v2/keys/n/k${name.replaceAll("/", "")}`);
      }),
    );
  });

  it("reads a listing: keys as they are, directories opened, expiring ones marked", () => {
    const { leaves, node } = decode(
      '{"action":"get","node":{"key":"/n/subnets","dir":true,"nodes":[{"key":"/n/subnets/10.5.52.0-24\\u0026fc00:0:0:34::-64","value":"{\\"a\\":\\"\\u003c","expiration":"2026-11-21T02:32:41.312147829Z","ttl":30,"modifiedIndex":6,"createdIndex":4},{"key":"/n/subnets/a","dir":true,"nodes":[{"key":"/n/subnets/a/b","value":"v","modifiedIndex":9,"createdIndex":9}],"modifiedIndex":9,"createdIndex":9},{"key":"/n/subnets/a%25b c?d#","value":"v","modifiedIndex":7,"createdIndex":7}],"modifiedIndex":4,"createdIndex":4}}',
    );
    assert.equal(node.isDirectory, true);
    assert.deepEqual(leaves, [
      {
        key: "/n/subnets/10.5.52.0-24&fc00:0:0:34::-64",
        value: '{"a":"<',
        isDirectory: false,
        hasTtl: true,
        expiration: "2026-11-21T02:32:41.312147829Z",
        createdIndex: 4,
        modifiedIndex: 6,
      },
      {
        key: "/n/subnets/a/b",
        value: "v",
        isDirectory: false,
        hasTtl: false,
        expiration: undefined,
        createdIndex: 9,
        modifiedIndex: 9,
      },
      {
        key: "/n/subnets/a%25b c?d#",
        value: "v",
        isDirectory: false,
        hasTtl: false,
        expiration: undefined,
        createdIndex: 7,
        modifiedIndex: 7,
      },
    ]);
  });

  it("reads changes, with what was there before", () => {
    const set = decode(
      '{"action":"set","node":{"key":"/n/x","value":"v","modifiedIndex":7,"createdIndex":7},"prevNode":{"key":"/n/x","value":"u","expiration":"2026-11-21T02:32:21.341232907Z","ttl":10,"modifiedIndex":6,"createdIndex":6}}',
    );
    assert.equal(isRemoval(set), false);
    assert.equal(set.previous?.value, "u");
    const expire = decode(
      '{"action":"expire","node":{"key":"/n/x","modifiedIndex":8,"createdIndex":7},"prevNode":{"key":"/n/x","value":"v","expiration":"2026-11-21T02:32:21Z","modifiedIndex":7,"createdIndex":7}}',
    );
    assert.equal(isRemoval(expire), true);
    assert.equal(expire.previous?.hasTtl, true, "a TTL of 0 is left out");
  });

  it("reads refusals", () => {
    assert.deepEqual(
      decodeKeysBody('{"errorCode":101,"message":"Compare failed","cause":"[3 != 4]","index":4}'),
      {
        errorCode: 101,
        message: "Compare failed",
        cause: "[3 != 4]",
      },
    );
  });

  it("takes nothing else for an answer", () => {
    for (const text of [
      "",
      "404 page not found",
      "null",
      "[]",
      "{}",
      '{"message":"Internal Server Error"}',
      '{"action":"get"}',
      '{"action":"get","node":{"key":"/n"}}',
      '{"action":"get","node":{"key":"/n","modifiedIndex":1.5,"createdIndex":1}}',
      '{"action":"get","node":{"key":"/n","dir":true,"nodes":[7],"modifiedIndex":1,"createdIndex":1}}',
      '{"action":"set","node":{"key":"/n","modifiedIndex":1,"createdIndex":1},"prevNode":7}',
    ]) {
      assert.equal(decodeKeysBody(text), undefined, text);
    }
    fc.assert(fc.property(fc.json(), (text) => void decodeKeysBody(text)));
    fc.assert(fc.property(fc.string(), (text) => void decodeKeysBody(text)));
  });

  it("opens directories nested a hundred thousand deep", () => {
    const open = '{"key":"/d","dir":true,"modifiedIndex":1,"createdIndex":1,"nodes":[';
    const leaf = '{"key":"/d/x","value":"v","modifiedIndex":1,"createdIndex":1}';
    const depth = 100_000;
    const { leaves } = decode(`{"action":"get","node":${open.repeat(depth)}${leaf}${"]}".repeat(depth)}}`);
    assert.equal(leaves.length, 1);
  });
});
