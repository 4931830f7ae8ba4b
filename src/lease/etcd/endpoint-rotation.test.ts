import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreError } from "../../base/error.ts";
import { EndpointRotation } from "./endpoint-rotation.ts";

function start(first = 0) {
  const members = ["a", "b", "c"].map((url) => ({ url, hasWorked: false }));
  const down = new Set<string>();
  const tried: string[] = [];
  const rotation = new EndpointRotation(members, first, (error, { url }) => ({
    code: error instanceof TypeError ? "INVALID" : "UNAVAILABLE",
    reason: `${url}: down`,
    tryNext: !(error instanceof TypeError),
    staleToken: false,
  }));
  const request = () =>
    rotation.run(async ({ url }) => {
      tried.push(url);
      if (down.has(url)) throw new Error("down");
      return url;
    });
  return { rotation, down, tried, request };
}

test("stays with the endpoint that worked last, and tries each other one once", async () => {
  const { down, tried, request } = start(1);
  assert.equal(await request(), "b");
  down.add("b").add("c");
  assert.equal(await request(), "a");
  down.clear();
  assert.equal(await request(), "a");
  assert.deepEqual(tried, ["b", "b", "c", "a", "a"]);
});

test("names all endpoints in the order of the flag, wherever it began", async () => {
  for (const first of [0, 1, 2]) {
    const { down, request } = start(first);
    down.add("a").add("b").add("c");
    await assert.rejects(request(), { code: "UNAVAILABLE", message: "etcd at a: down; b: down; c: down" });
  }
});

test("does not ask another endpoint what this one refused", async () => {
  const { rotation } = start();
  let attempts = 0;
  const fail = (error: Error) =>
    rotation.run(async () => {
      attempts++;
      throw error;
    });
  await assert.rejects(fail(new TypeError("refused")), { code: "INVALID", message: "etcd at a: down" });
  await assert.rejects(fail(new StoreError("COMPACTED", "as it is")), { message: "as it is" });
  assert.equal(attempts, 2);
});
