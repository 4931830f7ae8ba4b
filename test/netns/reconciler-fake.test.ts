/** The kernel in memory that unit tests use, held against Linux: same refusals, same losses, step by step. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../src/address/prefix.ts";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { openNotifications } from "../../src/linux/notifications.ts";
import { MemoryKernel } from "../../src/recorder/memory-kernel.ts";
import { NetlinkProvider } from "../../src/state/netlink-provider.ts";
import { describeObject, keyOf, type StateObject, type StateOperation } from "../../src/state/objects.ts";
import type { Ownership } from "../../src/state/operation.ts";
import type { Provider } from "../../src/state/provider.ts";
import { ADDRESS, FDB, LINK, NEIGHBOUR, ROUTE } from "../../src/testing/sample-objects.ts";
import { lookAt } from "./reconciler-bed.ts";
import { freshNetns, type TestNetns } from "./support.ts";

const OWNERSHIP: Ownership = {
  devices: new Set(["flannel.1", "flannel.2"]),
  networks: [parsePrefix("10.5.0.0/16")!],
};
const KINDS = new Set(["link", "address", "fdb", "neighbour", "route"] as const);

const SECOND_ADDRESS: StateObject = { ...ADDRESS, address: "10.5.1.7/32" };

const create = (object: StateObject): StateOperation => ({ action: "create", object });
const remove = (object: StateObject): StateOperation => ({ action: "remove", object });
const replace = (previous: StateObject, object: StateObject): StateOperation => ({
  action: "replace",
  previous,
  object,
});
const ALL = [LINK, ADDRESS, FDB, NEIGHBOUR, ROUTE];

const STORIES: readonly { readonly title: string; readonly operations: readonly StateOperation[] }[] = [
  {
    title: "made and removed, bottom up, top down",
    operations: [...ALL.map(create), ...[...ALL].reverse().map(remove)],
  },
  { title: "everything before its device", operations: ALL.slice(1).map(create) },
  { title: "everything twice", operations: [...ALL.map(create), ...ALL.map(create)] },
  { title: "removal of what is not there", operations: ALL.map(remove) },
  {
    title: "removal of what is not there any more, on a device that is",
    operations: [create(LINK), ...ALL.slice(1).map(remove)],
  },
  { title: "a device whose lower one is missing", operations: [create({ ...LINK, lower: "eth9" })] },
  {
    title: "two devices of one VNI and port; of one VNI and two ports",
    operations: [
      create(LINK),
      create({ ...LINK, name: "flannel.2" }),
      create({ ...LINK, name: "flannel.2", port: 4789 }),
    ],
  },
  { title: "a device changed that is not there", operations: [replace(LINK, { ...LINK, mtuBytes: 1400 })] },
  { title: "another MTU", operations: [...ALL.map(create), replace(LINK, { ...LINK, mtuBytes: 1400 })] },
  {
    title: "another MAC costs the neighbours",
    operations: [...ALL.map(create), replace(LINK, { ...LINK, mac: "02:00:00:00:00:09" })],
  },
  {
    title: "a device that goes down loses routes and neighbours, and takes no route",
    operations: [...ALL.map(create), replace(LINK, { ...LINK, up: false }), create(ROUTE)],
  },
  {
    title: "a device made again is bare",
    operations: [...ALL.map(create), replace(LINK, { ...LINK, vni: 7 })],
  },
  {
    title: "the last address takes routes and neighbours along",
    operations: [...ALL.map(create), remove(ADDRESS)],
  },
  {
    title: "an address that is not the last takes nothing",
    operations: [...ALL.map(create), create(SECOND_ADDRESS), remove(ADDRESS)],
  },
  {
    title: "other contents at the same place",
    operations: [
      ...ALL.map(create),
      replace(FDB, { ...FDB, destination: "192.168.7.9" } as StateObject),
      replace(NEIGHBOUR, { ...NEIGHBOUR, mac: "02:00:00:00:01:09" } as StateObject),
      replace(ROUTE, { ...ROUTE, via: undefined, onlink: false }),
      create({ ...FDB, destination: "192.168.7.8" } as StateObject),
    ],
  },
  {
    title: "a removal that names another route removes none",
    operations: [
      ...ALL.map(create),
      remove({ ...ROUTE, via: "10.5.2.9" }),
      remove({ ...ROUTE, protocol: 4 }),
    ],
  },
];

for (const { title, operations } of STORIES) {
  test(title, async (t) => {
    const netns = freshNetns(t, "fake");
    prepare(netns);
    using rtnetlink = openRtnetlink({ netns: netns.path });
    const real = new NetlinkProvider({
      rtnetlink,
      settings: { read: () => undefined, write() {} },
      openNotifications: () => openNotifications({ netns: netns.path }),
      yieldToOthers: async () => {},
    });
    const fake = new MemoryKernel();
    for (const operation of operations) {
      const step = `${operation.action} ${describeObject(operation.object)}`;
      const [want, have] = [await outcome(real, operation), await outcome(fake, operation)];
      assert.deepEqual(have, want, step);
    }
  });
}

test("on another's device of our name nothing is made, changed or removed", async (t) => {
  const netns = freshNetns(t, "fake");
  prepare(netns);
  netns.run("ip", "link", "add", "flannel.1", "type", "bridge");
  netns.run("ip", "address", "add", "10.5.1.0/32", "dev", "flannel.1");
  netns.run("ip", "link", "set", "flannel.1", "up");
  using rtnetlink = openRtnetlink({ netns: netns.path });
  const real = new NetlinkProvider({
    rtnetlink,
    settings: { read: () => undefined, write() {} },
    openNotifications: () => openNotifications({ netns: netns.path }),
    yieldToOthers: async () => {},
  });
  const fake = new MemoryKernel();
  fake.put({ kind: "link", name: "flannel.1", type: "foreign", linkKind: "bridge" });
  fake.put(ADDRESS);
  const before = lookAt(netns, "flannel.1");
  for (const kernel of [real, fake]) {
    const seen = await kernel.observe(OWNERSHIP, KINDS);
    assert.deepEqual(seen, [{ kind: "link", name: "flannel.1", type: "foreign", linkKind: "bridge" }]);
  }
  for (const operation of [
    create(LINK),
    replace(LINK, { ...LINK, mtuBytes: 1300 }),
    replace(LINK, { ...LINK, vni: 7 }),
    remove(LINK),
    create(SECOND_ADDRESS),
    remove(ADDRESS),
    create(NEIGHBOUR),
    create(FDB),
    create(ROUTE),
  ]) {
    const step = `${operation.action} ${describeObject(operation.object)}`;
    assert.equal((await real.apply([operation]))[0]?.code, "EEXIST", step);
    assert.equal((await fake.apply([operation]))[0]?.code, "EEXIST", step);
  }
  assert.deepEqual(lookAt(netns, "flannel.1"), before);
});

/** What the kernel answers, and what it then holds. */
async function outcome(kernel: Provider, operation: StateOperation) {
  const [error] = await kernel.apply([operation]);
  const objects = await kernel.observe(OWNERSHIP, KINDS);
  const held = new Map(objects.map((object) => [keyOf(object), object]));
  return {
    error: error?.code,
    held: [...held].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object),
  };
}

function prepare(netns: TestNetns): void {
  netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far");
  netns.run("ip", "address", "add", "192.168.7.1/24", "dev", "eth0");
  for (const device of ["eth0", "far"]) netns.run("ip", "link", "set", device, "up");
}
