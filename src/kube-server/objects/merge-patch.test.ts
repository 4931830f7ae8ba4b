/** The test cases of RFC 7386, appendix A. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Json } from "./kube-object.ts";
import { mergePatch } from "./merge-patch.ts";

const CASES: readonly (readonly [target: string, patch: string, result: string])[] = [
  ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
  ['{"a":"b"}', '{"a":null}', "{}"],
  ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
  ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
  ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
  ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
  ['["a","b"]', '["c","d"]', '["c","d"]'],
  ['{"a":"b"}', '["c"]', '["c"]'],
  ['{"a":"foo"}', "null", "null"],
  ['{"a":"foo"}', '"bar"', '"bar"'],
  ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
  ["[1,2]", '{"a":"b","c":null}', '{"a":"b"}'],
  ["{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
];

for (const [target, patch, result] of CASES) {
  test(`${target} patched with ${patch}`, () => {
    assert.deepEqual(mergePatch(JSON.parse(target) as Json, JSON.parse(patch) as Json), JSON.parse(result));
  });
}

test("a member named __proto__ is an ordinary member", () => {
  const patched = mergePatch({}, JSON.parse('{"__proto__":{"a":"1"}}') as Json);
  assert.equal(JSON.stringify(patched), '{"__proto__":{"a":"1"}}');
});
