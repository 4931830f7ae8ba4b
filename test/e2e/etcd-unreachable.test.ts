/**
 * flanneld and an etcd whose host is down: ARP gets no answer, so connections time out or fail with EHOSTUNREACH by turns.
 *
 *     flanneld ── eth0 10.9.0.1 ╌╌ (10.9.0.9, no host)
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { freshNetns } from "../netns/support.ts";
import { spawnFlanneld } from "../support/flanneld.ts";

describe("an endpoint that cannot be reached", { concurrency: true }, () => {
  for (const datastore of ["etcd3", "etcd2"]) {
    test(`F20 is one line in the log, not one at each attempt (${datastore})`, async (t) => {
      const netns = freshNetns(t);
      netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far");
      netns.run("ip", "address", "add", "10.9.0.1/24", "dev", "eth0");
      for (const link of ["lo", "eth0", "far"]) netns.run("ip", "link", "set", link, "up");
      const args = ["--iface=eth0", `--datastore=${datastore}`, "--etcd-endpoints=http://10.9.0.9:2379"];
      const flanneld = spawnFlanneld(t, netns, { args });
      await flanneld.logged(/No usable network config; retrying: etcd at http:\/\/10\.9\.0\.9:2379/, {
        deadlineMs: 20_000,
      });
      // Each time that the kernel has given up on the neighbour, an attempt has failed at once, and the next one times out.
      let rounds = 0;
      let before = "";
      const hasFailedAgain = () => {
        const state =
          /FAILED|INCOMPLETE/.exec(netns.run("ip", "neighbour", "show", "10.9.0.9"))?.[0] ?? before;
        if (state === "INCOMPLETE" && before === "FAILED") rounds++;
        before = state;
        return rounds === 2;
      };
      await flanneld.until(hasFailedAgain, "two more rounds", 40_000);
      const failures = flanneld.lines.filter((line) => line.includes("No usable network config"));
      assert.equal(failures.length, 1, flanneld.log());
      assert.match(failures[0]!, /does not answer/);
    });
  }
});
