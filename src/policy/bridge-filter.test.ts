/** br_netfilter: switched on where it is off, and reported where it cannot be. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { requireBridgeFilter } from "./bridge-filter.ts";

const IPV4 = "bridge/bridge-nf-call-iptables";
const IPV6 = "bridge/bridge-nf-call-ip6tables";

function sysctls(values: Record<string, string>, isWritable = true) {
  return {
    values,
    read: (key: string) => values[key],
    write(key: string, value: string) {
      if (!isWritable) throw new Error("EROFS");
      values[key] = value;
    },
  };
}

test("on for both families: nothing to do; off: switched on", () => {
  assert.equal(requireBridgeFilter(sysctls({ [IPV4]: "1", [IPV6]: "1" }, false)), undefined);
  const off = sysctls({ [IPV4]: "0", [IPV6]: "0" });
  assert.equal(requireBridgeFilter(off), undefined);
  assert.deepEqual(off.values, { [IPV4]: "1", [IPV6]: "1" });
});

test("not loaded, or read-only: a message with the remedy", () => {
  assert.match(requireBridgeFilter(sysctls({}))!, /modprobe br_netfilter/);
  assert.match(
    requireBridgeFilter(sysctls({ [IPV4]: "1", [IPV6]: "0" }, false))!,
    /sysctl -w net\.bridge\.bridge-nf-call-ip6tables=1/,
  );
});
