import assert from "node:assert/strict";
import { test } from "node:test";
import { isNotFound } from "../base/error.ts";
import { NetlinkError } from "../netlink/netlink-error.ts";
import { LINK, ROUTE } from "../testing/sample-objects.ts";
import { explain } from "./advice.ts";
import type { StateObject, StateOperation } from "./objects.ts";

const create = (object: StateObject): StateOperation => ({ action: "create", object });
const remove = (object: StateObject): StateOperation => ({ action: "remove", object });

const CASES: readonly (readonly [operation: StateOperation, code: string, advice: RegExp])[] = [
  [create(LINK), "EOPNOTSUPP", /this kernel has no vxlan: load it with 'modprobe vxlan'/],
  [create(LINK), "EEXIST", /another device uses VNI 1 on UDP port 8472 .*choose another VNI or Port/],
  [create(LINK), "EADDRINUSE", /another device uses VNI 1 on UDP port 8472/],
  [create(LINK), "EPERM", /needs root or the capability CAP_NET_ADMIN/],
  [remove(ROUTE), "EPERM", /needs root or the capability CAP_NET_ADMIN/],
  [create(ROUTE), "EEXIST", /a route to 10\.5\.2\.0\/24 that is not flannel's is there .*remove it/],
];

for (const [operation, code, advice] of CASES) {
  test(`${code} to ${operation.action} a ${operation.object.kind}: what to do`, () => {
    const explained = explain(operation, new NetlinkError(code, "RTM_NEW…"));
    assert.equal(explained.code, code);
    assert.match(explained.message, advice);
    assert.match(explained.message, /RTM_NEW…/);
  });
}

test("an error without advice is returned unchanged", () => {
  const error = new NetlinkError("ESRCH", "RTM_DELROUTE");
  assert.equal(explain(remove(ROUTE), error), error);
  assert.ok(isNotFound(explain(remove(ROUTE), error)));
});
