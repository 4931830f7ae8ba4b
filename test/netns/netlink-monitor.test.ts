/** The kernel's notifications, for real: what others do to our objects is heard, also after an overrun. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { type NotificationOptions, openNotifications } from "../../src/linux/notifications.ts";
import { newAddress } from "../../src/netlink/address.ts";
import { deleteLink, newLink, setLink } from "../../src/netlink/link.ts";
import { type MonitorOptions, monitor, type Notification } from "../../src/netlink/monitor.ts";
import { newFdbEntry, newNeighbour } from "../../src/netlink/neighbour.ts";
import { deleteRoute, newRoute } from "../../src/netlink/route.ts";
import { freshNetns, waitFor } from "./support.ts";

const MAC = "02:00:00:00:02:00";

/** A namespace with flannel.1, and all that is heard of it from then on. */
function listen(t: TestContext, options: NotificationOptions & MonitorOptions = {}) {
  const ns = freshNetns(t, "mo");
  const rt = openRtnetlink({ netns: ns.path });
  t.after(() => rt.close());
  rt.connection.request(
    newLink({ name: "flannel.1", kind: "vxlan", vxlan: { vni: 1, port: 8472, learning: false } }),
  );
  rt.connection.request(setLink("flannel.1", { up: true }));
  const ifindex = rt.linkByName("flannel.1")!.index;
  rt.connection.request(newAddress({ ifindex, prefix: "10.5.1.0/32" }));
  rt.connection.request(newFdbEntry({ ifindex, mac: MAC, destination: "192.0.2.2" }));
  rt.connection.request(newNeighbour({ ifindex, address: "10.5.2.0", mac: MAC }));
  rt.connection.request(
    newRoute({ destination: "10.5.2.0/24", oif: ifindex, gateway: "10.5.2.0", onlink: true }),
  );

  const source = openNotifications({ ...options, netns: ns.path });
  const heard: Notification[] = [];
  const done = (async () => {
    for await (const batch of monitor(source, { ignorePortId: options.ignorePortId ?? 0 }))
      heard.push(...batch);
  })();
  t.after(async () => {
    source[Symbol.dispose]();
    await done;
  });
  const hears = (type: Notification["type"], change?: "new" | "delete") =>
    waitFor(`${change} ${type}`, () =>
      heard.find((event) => event.type === type && (event.type === "overrun" || event.change === change)),
    );
  return { ns, rt, ifindex, source, heard, hears, done };
}

test("foreign deletions are reported: route, neighbour, FDB entry, address, device", async (t) => {
  const { ns, heard, hears, ifindex } = listen(t);
  ns.run("ip", "route", "del", "10.5.2.0/24");
  const route = await hears("route", "delete");
  assert.ok(
    route.type === "route" && route.value.destination === "10.5.2.0/24" && route.value.oif === ifindex,
  );
  ns.run("ip", "neigh", "del", "10.5.2.0", "dev", "flannel.1");
  const neighbour = await hears("neighbour", "delete");
  assert.ok(neighbour.type === "neighbour" && neighbour.value.address === "10.5.2.0");
  ns.run("bridge", "fdb", "del", MAC, "dev", "flannel.1", "dst", "192.0.2.2", "self");
  const entry = await hears("fdb", "delete");
  assert.ok(entry.type === "fdb" && entry.value.mac === MAC && entry.value.destination === "192.0.2.2");
  ns.run("ip", "addr", "del", "10.5.1.0/32", "dev", "flannel.1");
  const address = await hears("address", "delete");
  assert.ok(address.type === "address" && address.value.prefix === "10.5.1.0/32");
  ns.run("ip", "link", "del", "flannel.1");
  const link = await hears("link", "delete");
  assert.ok(link.type === "link" && link.value.name === "flannel.1" && link.value.vxlan?.vni === 1);
  assert.ok(heard.every((event) => event.type !== "overrun"));
});

test("IPv6 changes are reported like IPv4's", async (t) => {
  const { ns, hears } = listen(t);
  ns.run("ip", "addr", "add", "2001:db8::1/64", "dev", "flannel.1", "nodad");
  const address = await hears("address", "new");
  assert.ok(address.type === "address" && address.value.address === "2001:db8::1");
  ns.run("ip", "route", "add", "fc00:0:0:2::/64", "via", "2001:db8::2");
  await waitFor("the IPv6 route", () => hears("route", "new"));
});

test("own changes can be left out; foreign ones are reported", async (t) => {
  const ns = freshNetns(t, "mo");
  const own = openRtnetlink({ netns: ns.path });
  const other = openRtnetlink({ netns: ns.path });
  const source = openNotifications({ netns: ns.path });
  t.after(() => {
    for (const opened of [own, other, source]) opened[Symbol.dispose]();
  });
  own.connection.request(newRoute({ destination: "10.1.0.0/16", oif: 1 }));
  other.connection.request(newRoute({ destination: "10.2.0.0/16", oif: 1 }));
  const first = await monitor(source, { ignorePortId: own.connection.portId }).next();
  const [event, ...more] = first.value ?? [];
  assert.deepEqual(more, []);
  assert.ok(event?.type === "route" && event.value.destination === "10.2.0.0/16");
  assert.equal(event.portId, other.connection.portId);
});

test("W21 an overrun of the receive buffer is reported, and later changes are received", async (t) => {
  const { rt, ifindex, heard, hears } = listen(t, { receiveBufferBytes: 8192 });
  const routes = Array.from({ length: 2000 }, (_, index) => ({
    destination: `10.9.${index >> 8}.${index & 255}/32`,
    oif: ifindex,
  }));
  for (let turn = 1; turn <= 3; turn++) {
    heard.length = 0;
    rt.connection.batch(routes.map((route) => (turn % 2 === 1 ? newRoute(route) : deleteRoute(route))));
    await hears("overrun");
    assert.ok(heard.length < 2000, "the test's own assumption: some were lost");
    heard.length = 0;
    rt.connection.request(setLink(ifindex, { mtuBytes: 1400 + turn }));
    const link = await hears("link", "new");
    assert.ok(link.type === "link" && link.value.mtuBytes === 1400 + turn);
  }
});

test("a flood without a reader stays in the kernel and costs no processor time", async (t) => {
  const ns = freshNetns(t, "mo");
  const rt = openRtnetlink({ netns: ns.path });
  const source = openNotifications({ netns: ns.path });
  t.after(() => {
    for (const opened of [rt, source]) opened[Symbol.dispose]();
  });
  const first = source.next();
  rt.connection.request(newRoute({ destination: "10.1.0.0/16", oif: 1 }));
  assert.equal((await first)?.datagrams.length, 1);
  rt.connection.request(newRoute({ destination: "10.2.0.0/16", oif: 1 })); // readable now, but no next() waits
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const { user, system } = process.cpuUsage(before);
  assert.ok(user + system < 50_000, `${(user + system) / 1000} ms of processor time in 100 ms of waiting`);
  assert.equal((await source.next())?.datagrams.length, 1);
});

test("closing ends the stream at once", async (t) => {
  const { source, done } = listen(t);
  source[Symbol.dispose]();
  source[Symbol.dispose]();
  await done;
  assert.equal(await source.next(), undefined);
});

test("a process that waits for notifications ends at once: on exit, on SIGTERM, and by itself once it closed", async () => {
  const module = new URL("../../src/linux/notifications.ts", import.meta.url);
  const code = (then: string): string =>
    `import { openNotifications } from ${JSON.stringify(module.href)};
     const source = openNotifications(); const waiting = source.next(); console.log("waiting"); ${then}`;
  for (const [then, expected] of [
    ["setTimeout(() => process.exit(7), 20)", [7, null]],
    ["setTimeout(() => source[Symbol.dispose](), 20)", [0, null]],
    ["", [null, "SIGTERM"]],
  ] as const) {
    const child = spawn(process.execPath, ["--input-type=module", "--eval", code(then)], { stdio: "pipe" });
    await once(child.stdout, "data");
    const start = performance.now();
    if (then === "") child.kill("SIGTERM");
    assert.deepEqual(await once(child, "close"), expected);
    assert.ok(performance.now() - start < 500, `${then}: ${performance.now() - start} ms`);
  }
});

test("a deleted device takes its IPv4 routes without a notification: only the link is reported", async (t) => {
  const { rt, ifindex, heard, hears } = listen(t);
  rt.connection.request(deleteLink(ifindex));
  await hears("link", "delete");
  assert.ok(heard.every((event) => event.type !== "route" || event.value.destination !== "10.5.2.0/24"));
  assert.deepEqual(rt.routes({ family: 4, table: 254 }), []);
});
