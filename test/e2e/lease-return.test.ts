/**
 * A lease that an operator deletes or revokes while its host lives: the host acquires it again, and no packet between pods
 * is lost meanwhile, in any direction. The bed and the packets are those of `make soak`.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { BACKENDS, Bed } from "../soak/bed.ts";
import { Pings } from "../soak/pings.ts";
import { until } from "../support/until.ts";

for (const backend of BACKENDS) {
  test(`F25 ${backend}: a lease that is deleted, revoked or overwritten and acquired again costs no packet`, async () => {
    await using bed = await Bed.start(backend);
    using pings = new Pings(bed.hosts.map(({ pod }) => pod));
    await until(() => pings.isFlowing(0), "packets in every direction");
    const [host] = bed.hosts;
    const { etcd } = bed;
    const { leaseKey } = host!;
    for (const [what, remove] of [
      ["deleted", () => etcd.ctl(["del", leaseKey])],
      ["revoked", () => etcd.revoke(leaseKey)],
      ["overwritten", () => etcd.ctl(["put", leaseKey, "junk"])],
    ] as const) {
      const before = await etcd.ctl(["get", "--write-out=json", leaseKey]);
      const sinceMs = performance.now();
      await remove();
      await until(async () => {
        const now = await etcd.ctl(["get", "--write-out=json", leaseKey]);
        return now !== before && (await bed.problems()).length === 0;
      }, `acquired again: ${what}`);
      // past the second that a missing lease still counts, when a peer would remove what it has programmed
      await until(() => performance.now() > sinceMs + 1_500, "the grace is over");
      const untilMs = performance.now();
      await until(() => pings.isFlowing(untilMs), `packets after: ${what}`);
      const lost = pings.lossesBetween(sinceMs, untilMs).filter((loss) => loss.lost > 0);
      assert.deepEqual(lost, [], what);
    }
  });
}
