/** IPsec policies on the kernel: made, observed, repaired and removed; foreign ones stay. `ip xfrm policy` is the witness. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../src/address/prefix.ts";
import { PolicyProvider } from "../../src/ipsec/policy-provider.ts";
import { openXfrmNetlink } from "../../src/linux/netlink-socket.ts";
import { openXfrmNotifications } from "../../src/linux/notifications.ts";
import type { StateObject } from "../../src/state/objects.ts";
import { freshNetns } from "./support.ts";

const OWNERSHIP = { devices: new Set<string>(), networks: [parsePrefix("10.5.0.0/16")!] };
const policy = (direction: "in" | "out" | "fwd", remote = "192.168.7.2"): StateObject => ({
  ...{ kind: "xfrm-policy", direction, source: "10.5.1.0/24", destination: "10.5.2.0/24" },
  ...{ tunnelSource: "192.168.7.1", tunnelDestination: remote },
});

test("policies are what ip xfrm shows, and are observed as they were made", async (t) => {
  const netns = freshNetns(t, "x");
  using provider = new PolicyProvider({
    open: () => openXfrmNetlink({ netns: netns.path }),
    openNotifications: () => openXfrmNotifications({ netns: netns.path }),
  });
  const foreign = ["src", "10.5.1.0/24", "dst", "10.5.9.0/24", "dir", "out"];
  const tunnel = ["tmpl", "src", "192.168.7.1", "dst", "192.168.7.9", "proto", "esp", "mode", "tunnel"];
  netns.run("ip", "xfrm", "policy", "add", ...foreign, ...tunnel, "reqid", "7");
  netns.run(
    "ip",
    "xfrm",
    "policy",
    "add",
    "src",
    "172.16.0.0/16",
    "dst",
    "10.5.2.0/24",
    "dir",
    "out",
    ...tunnel,
    "reqid",
    "11",
  );
  const wanted = [policy("out"), policy("in"), policy("fwd")];
  assert.deepEqual(await provider.apply(wanted.map((object) => ({ action: "create", object }))), [
    ...[undefined, undefined, undefined],
  ]);
  const observed = await provider.observe(OWNERSHIP);
  assert.deepEqual(
    observed.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b))),
    wanted.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b))),
  );
  assert.match(
    netns.run("ip", "xfrm", "policy", "show", "dir", "fwd"),
    /^src 10\.5\.1\.0\/24 dst 10\.5\.2\.0\/24 \n\tdir fwd priority 0 [^\n]*\n\ttmpl src 192\.168\.7\.1 dst 192\.168\.7\.2\n\t\tproto esp reqid 11 mode tunnel\s*$/,
  );

  const [exists] = await provider.apply([{ action: "create", object: policy("out") }]);
  assert.equal(exists?.code, "EEXIST");
  const moved = policy("out", "192.168.7.8");
  assert.deepEqual(await provider.apply([{ action: "replace", object: moved, previous: policy("out") }]), [
    undefined,
  ]);
  assert.match(netns.run("ip", "xfrm", "policy", "show", "dir", "out"), /dst 192\.168\.7\.8\n/);

  await provider.apply([moved, policy("in"), policy("fwd")].map((object) => ({ action: "remove", object })));
  assert.deepEqual(await provider.observe(OWNERSHIP), []);
  const [missing] = await provider.apply([{ action: "remove", object: policy("in") }]);
  assert.equal(missing?.code, "ENOENT");
  assert.equal(netns.run("ip", "xfrm", "policy", "show").match(/^src/gm)?.length, 2, "foreign ones stay");
});

test("a foreign change is noticed, an own one is not", async (t) => {
  const netns = freshNetns(t, "x");
  using provider = new PolicyProvider({
    open: () => openXfrmNetlink({ netns: netns.path }),
    openNotifications: () => openXfrmNotifications({ netns: netns.path }),
  });
  await provider.apply([{ action: "create", object: policy("out") }]);
  const stop = new AbortController();
  const notices = provider.watch(() => OWNERSHIP, stop.signal)[Symbol.asyncIterator]();
  const first = notices.next();
  await new Promise(setImmediate);
  await provider.apply([{ action: "create", object: policy("in") }]);
  netns.run("ip", "xfrm", "policy", "delete", "src", "10.5.1.0/24", "dst", "10.5.2.0/24", "dir", "out");
  const notice = (await first).value;
  assert.ok(
    Array.isArray(notice) && notice[0].object.kind === "xfrm-policy",
    "policies are in doubt, nothing else",
  );
  assert.deepEqual(await provider.observe(OWNERSHIP), [policy("in")]);
  const second = notices.next();
  stop.abort();
  assert.equal((await second).done, true);
});
