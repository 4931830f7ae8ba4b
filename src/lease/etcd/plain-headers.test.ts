import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Headers as PlainHeaders } from "./plain-headers.ts";

const name = fc.constantFrom("Te", "te", "Content-Type", "x-a", "X-B");
const value = fc.stringMatching(/^[!-~]{1,6}$/);
const step = fc.oneof(
  fc.record({ how: fc.constantFrom("set", "append"), name, value }),
  fc.record({ how: fc.constant("delete"), name, value }),
);

test("behaves like the web's Headers in everything that Connect's client uses", () => {
  fc.assert(
    fc.property(fc.dictionary(name, value), fc.array(step, { maxLength: 12 }), (init, steps) => {
      const [plain, web] = [new PlainHeaders(init), new Headers(init)];
      for (const each of steps) {
        for (const headers of [plain, web]) {
          if (each.how === "set") headers.set(each.name, each.value);
          else if (each.how === "append") headers.append(each.name, each.value);
          else headers.delete(each.name);
        }
      }
      assert.deepEqual([...plain], [...web]);
      assert.deepEqual([...new PlainHeaders(plain)], [...web]);
      const listed: [string, string][] = [];
      plain.forEach((text, key) => void listed.push([key, text]));
      assert.deepEqual(listed, [...web]);
      for (const key of ["te", "CONTENT-TYPE", "x-c"]) {
        assert.equal(plain.get(key), web.get(key));
        assert.equal(plain.has(key), web.has(key));
      }
    }),
  );
});
