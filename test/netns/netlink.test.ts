/**
 * Every request of src/netlink against the real kernel, in a namespace of its own; `ip` and `bridge` bear witness.
 */

import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { hasCode } from "../../src/base/error.ts";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { writeSysctl } from "../../src/linux/sysctl.ts";
import { deleteAddress, IFA_F_NODAD, newAddress } from "../../src/netlink/address.ts";
import { deleteLink, newLink, setLink, setNoLinkLocal } from "../../src/netlink/link.ts";
import type { NetlinkRequest } from "../../src/netlink/message.ts";
import { deleteFdbEntry, deleteNeighbour, newFdbEntry, newNeighbour } from "../../src/netlink/neighbour.ts";
import type { NetlinkError } from "../../src/netlink/netlink-error.ts";
import { deleteRoute, newRoute, RTN_BLACKHOLE } from "../../src/netlink/route.ts";
import type { Rtnetlink } from "../../src/netlink/rtnetlink.ts";
import { freshNetns, type TestNetns } from "./support.ts";

/** A namespace with a veth pair, v0 (up, 192.0.2.1/24, 2001:db8::1/64) and v1 (up). */
function host(t: TestContext): {
  ns: TestNetns;
  rt: Rtnetlink;
  ask: (...requests: NetlinkRequest[]) => void;
  v0: number;
} {
  const ns = freshNetns(t, "nl");
  const rt = openRtnetlink({ netns: ns.path });
  t.after(() => rt.close());
  const ask = (...requests: NetlinkRequest[]): void => {
    for (const request of requests) rt.connection.request(request);
  };
  ask(
    newLink({ name: "v0", kind: "veth", mac: "02:00:00:00:00:01", peer: { name: "v1", mtuBytes: 1400 } }),
    setLink("v0", { up: true }),
    setLink("v1", { up: true }),
  );
  const v0 = rt.linkByName("v0")!.index;
  ask(
    newAddress({ ifindex: v0, prefix: "192.0.2.1/24", broadcast: "192.0.2.255" }),
    newAddress({ ifindex: v0, prefix: "2001:db8::1/64", flags: IFA_F_NODAD }),
  );
  return { ns, rt, ask, v0 };
}

/** The same and flannel.1 on v0, up, with 10.5.1.0/32. */
function vxlanHost(t: TestContext) {
  const made = host(t);
  made.ask(
    newLink({
      name: "flannel.1",
      kind: "vxlan",
      mac: "02:00:00:00:00:02",
      mtuBytes: 1450,
      vxlan: { vni: 1, lowerIndex: made.v0, local: "192.0.2.1", port: 8472, learning: false },
    }),
    setNoLinkLocal("flannel.1"),
    setLink("flannel.1", { up: true }),
  );
  const vxlan = made.rt.linkByName("flannel.1")!.index;
  made.ask(newAddress({ ifindex: vxlan, prefix: "10.5.1.0/32" }));
  return { ...made, vxlan };
}

const refusal = (run: () => void): NetlinkError => {
  try {
    run();
  } catch (error) {
    return error as NetlinkError;
  }
  return assert.fail("the kernel did not refuse");
};

test("veth: created, changed, moved to another namespace, deleted", (t) => {
  const { ns, rt, ask, v0 } = host(t);
  const [ip0] = ns.json("ip", "-json", "-d", "link", "show", "v0");
  assert.deepEqual(
    [ip0.ifindex, ip0.address, ip0.mtu, ip0.linkinfo.info_kind, ip0.link],
    [v0, "02:00:00:00:00:01", 1500, "veth", "v1"],
  );
  assert.equal(ns.json("ip", "-json", "link", "show", "v1")[0].mtu, 1400);
  const link = rt.linkByName("v0")!;
  assert.deepEqual(
    [link.kind, link.isUp, link.operState, link.hasCarrier, link.mtuBytes],
    ["veth", true, "up", true, 1500],
  );
  assert.equal(link.linkIndex, rt.linkByName("v1")!.index);

  ask(setLink(v0, { mtuBytes: 1300, mac: "02:00:00:00:00:09", alias: "uplink" }));
  const [changed] = ns.json("ip", "-json", "link", "show", "v0");
  assert.deepEqual([changed.mtu, changed.address, changed.ifalias], [1300, "02:00:00:00:00:09", "uplink"]);
  ask(setLink(v0, { up: false }));
  assert.equal(rt.link(v0)?.isUp, false);
  ask(setLink(v0, { name: "renamed" }));
  assert.equal(rt.link(v0)?.name, "renamed");

  const other = freshNetns(t, "nl");
  const fd = openSync(other.path, "r");
  try {
    ask(setLink("v1", { netNsFd: fd }));
    ask(newLink({ name: "a0", kind: "veth", peer: { name: "a1", netNsFd: fd } }));
  } finally {
    closeSync(fd);
  }
  assert.deepEqual(
    other
      .json("ip", "-json", "link")
      .map((item: { ifname: string }) => item.ifname)
      .sort(),
    ["a1", "lo", "v1"],
  );
  assert.notEqual(rt.link(v0)?.linkNetNsId, undefined);

  ask(deleteLink("a0"), deleteLink(v0));
  assert.deepEqual(
    rt.links().map((item) => item.name),
    ["lo"],
  );
  assert.equal(refusal(() => ask(deleteLink(v0))).code, "ENODEV");
});

test("bridge: created, ports added and removed", (t) => {
  const { ns, rt, ask, v0 } = host(t);
  ask(newLink({ name: "br0", kind: "bridge", up: true, bridge: { multicastSnooping: false, stpState: 0 } }));
  const bridge = rt.linkByName("br0")!;
  ask(setLink(v0, { masterIndex: bridge.index }));
  assert.equal(rt.link(v0)?.masterIndex, bridge.index);
  const [seen] = ns.json("ip", "-json", "-d", "link", "show", "br0");
  assert.equal(seen.linkinfo.info_data.mcast_snooping, 0);
  assert.equal(ns.json("ip", "-json", "link", "show", "v0")[0].master, "br0");
  ask(setLink(v0, { masterIndex: 0 }));
  assert.equal(rt.link(v0)?.masterIndex, undefined);
});

test("vxlan: every parameter over IPv4 and IPv6", (t) => {
  const { ns, rt, ask, v0 } = host(t);
  const over4 = {
    vni: 4096,
    lowerIndex: v0,
    local: "192.0.2.1",
    port: 4789,
    learning: false,
    gbp: true,
    ttl: 7,
    udpChecksum: false,
  };
  ask(
    newLink({ name: "flannel.4096", kind: "vxlan", mtuBytes: 1444, mac: "02:00:00:00:00:07", vxlan: over4 }),
  );
  const over6 = {
    vni: 2,
    lowerIndex: v0,
    local: "2001:db8::1",
    port: 8472,
    learning: true,
    udpZeroChecksum6Tx: true,
    udpZeroChecksum6Rx: true,
  };
  ask(newLink({ name: "flannel-v6.2", kind: "vxlan", vxlan: over6 }));

  const [four] = ns.json("ip", "-json", "-d", "link", "show", "flannel.4096");
  const said = four.linkinfo.info_data;
  assert.deepEqual(
    [
      four.mtu,
      four.address,
      said.id,
      said.link,
      said.local,
      said.port,
      said.learning,
      said.gbp,
      said.ttl,
      said.udp_csum,
    ],
    [1444, "02:00:00:00:00:07", 4096, "v0", "192.0.2.1", 4789, false, true, 7, false],
  );
  const [six] = ns.json("ip", "-json", "-d", "link", "show", "flannel-v6.2");
  const said6 = six.linkinfo.info_data;
  assert.deepEqual(
    [said6.local6, said6.learning, said6.udp_zero_csum6_tx, said6.udp_zero_csum6_rx, "gbp" in said6],
    ["2001:db8::1", true, true, true, false],
  );
  for (const [name, wanted] of [
    ["flannel.4096", over4],
    ["flannel-v6.2", over6],
  ] as const) {
    const decoded = rt.linkByName(name)!;
    for (const [field, value] of Object.entries(wanted)) {
      assert.equal(decoded.vxlan?.[field as keyof typeof decoded.vxlan], value, `${name} ${field}`);
    }
  }
  const error = refusal(() => ask(newLink({ name: "duplicate", kind: "vxlan", vxlan: over4 })));
  assert.equal(error.code, "EEXIST");
  assert.match(error.message, /VNI/, "the kernel's own words are kept");
});

test("a device can be kept from getting an IPv6 link-local address", (t) => {
  const { ns, rt, vxlan } = vxlanHost(t);
  assert.equal(rt.link(vxlan)?.hasNoLinkLocal, true);
  assert.equal(ns.json("ip", "-json", "-d", "link", "show", "flannel.1")[0].inet6_addr_gen_mode, "none");
  assert.deepEqual(
    rt.addresses({ ifindex: vxlan }).map((address) => address.prefix),
    ["10.5.1.0/32"],
  );
});

test("tun: its attributes are read", (t) => {
  const { ns, rt } = host(t);
  ns.run("ip", "tuntap", "add", "dev", "flannel0", "mode", "tun", "vnet_hdr");
  const tun = rt.linkByName("flannel0");
  assert.deepEqual(
    [tun?.kind, tun?.tun?.type, tun?.tun?.vnetHeader, tun?.tun?.packetInfo, tun?.mac],
    ["tun", 1, true, false, undefined],
  );
});

test("a device that does not exist, or cannot exist, is undefined", (t) => {
  const { rt } = host(t);
  for (const ref of ["none", "", "a-name-longer-than-fifteen", "sla/sh", 4711])
    assert.equal(rt.link(ref), undefined, String(ref));
});

test("addresses: both families, filters, flags, removal", (t) => {
  const { ns, rt, ask, v0 } = host(t);
  ask(newAddress({ ifindex: v0, prefix: "198.51.100.7/32", scope: 253 }));
  const said = ns
    .json("ip", "-json", "addr", "show", "dev", "v0")[0]
    .addr_info.filter((a: { scope: string; family: string }) => a.scope !== "link" || a.family === "inet");
  const ours = rt
    .addresses({ ifindex: v0 })
    .filter((address) => address.scope !== 253 || address.family === 4);
  assert.deepEqual(
    ours.map((address) => [address.address, address.prefixLength]),
    said.map((address: { local: string; prefixlen: number }) => [address.local, address.prefixlen]),
  );
  assert.equal(
    said.find((address: { local: string }) => address.local === "192.0.2.1").broadcast,
    "192.0.2.255",
  );
  assert.ok((ours.find((address) => address.family === 6)!.flags & IFA_F_NODAD) !== 0);
  assert.deepEqual(
    rt
      .addresses({ family: 4 })
      .map((address) => address.address)
      .sort(),
    ["127.0.0.1", "192.0.2.1", "198.51.100.7"],
  );
  assert.equal(refusal(() => ask(newAddress({ ifindex: v0, prefix: "192.0.2.1/24" }))).code, "EEXIST");
  ask(newAddress({ ifindex: v0, prefix: "192.0.2.1/24" }, "replace"));
  ask(
    deleteAddress({ ifindex: v0, prefix: "198.51.100.7/32" }),
    deleteAddress({ ifindex: v0, prefix: "2001:db8::1/64" }),
  );
  assert.equal(
    refusal(() => ask(deleteAddress({ ifindex: v0, prefix: "2001:db8::1/64" }))).code,
    "EADDRNOTAVAIL",
  );
  assert.deepEqual(
    rt.addresses({ ifindex: v0, family: 4 }).map((address) => address.prefix),
    ["192.0.2.1/24"],
  );
});

test("routes: created, replaced, filtered, deleted only by their protocol", (t) => {
  const { ns, rt, ask, v0, vxlan } = vxlanHost(t);
  const mine = { destination: "10.5.2.0/24", oif: vxlan, gateway: "10.5.2.0", onlink: true, protocol: 77 };
  ask(newRoute(mine));
  ask(
    newRoute({
      destination: "10.6.0.0/16",
      oif: v0,
      prefsrc: "192.0.2.1",
      priority: 50,
      table: 1000,
      protocol: 77,
    }),
  );
  ask(newRoute({ destination: "10.5.1.0/24", type: RTN_BLACKHOLE, protocol: 77 }));
  ask(newRoute({ destination: "0.0.0.0/0", gateway: "192.0.2.254" }));
  ask(newRoute({ destination: "fc00:0:0:2::/64", oif: v0, gateway: "2001:db8::2", protocol: 77 }));
  const ways = [1, 5].map((weight) => ({ oif: v0, gateway: `192.0.2.${weight + 1}`, weight, onlink: false }));
  ask(newRoute({ destination: "198.51.100.0/24", nextHops: ways }));

  const said = ns.json("ip", "-json", "route", "show", "proto", "77");
  assert.deepEqual(said, [
    { type: "blackhole", dst: "10.5.1.0/24", flags: [] },
    { dst: "10.5.2.0/24", gateway: "10.5.2.0", dev: "flannel.1", flags: ["onlink"] },
  ]);
  const [other] = ns.json("ip", "-json", "route", "show", "table", "1000");
  assert.deepEqual(
    [other.dst, other.dev, other.prefsrc, other.metric, other.scope],
    ["10.6.0.0/16", "v0", "192.0.2.1", 50, "link"],
  );
  assert.equal(ns.json("ip", "-json", "-6", "route", "show", "proto", "77")[0].gateway, "2001:db8::2");

  const destinations = (filter: Parameters<Rtnetlink["routes"]>[0]) =>
    rt.routes(filter).map((route) => route.destination);
  assert.deepEqual(destinations({ protocol: 77, table: 254 }), [
    "10.5.1.0/24",
    "10.5.2.0/24",
    "fc00:0:0:2::/64",
  ]);
  assert.deepEqual(destinations({ table: 1000 }), ["10.6.0.0/16"]);
  assert.deepEqual(destinations({ table: 4711 }), [], "a table that does not exist");
  assert.deepEqual(destinations({ family: 4, oif: vxlan, table: 254 }), ["10.5.2.0/24"]);
  assert.deepEqual(
    rt.routes({ table: 254 }).find((route) => route.destination === "198.51.100.0/24")?.nextHops,
    ways,
  );
  assert.ok(destinations({}).includes("0.0.0.0/0"));

  assert.equal(refusal(() => ask(newRoute(mine))).code, "EEXIST");
  ask(newRoute({ ...mine, gateway: "10.5.9.0" }, "replace"));
  assert.deepEqual(
    rt.routes({ protocol: 77, oif: vxlan, table: 254 }).map((route) => route.gateway),
    ["10.5.9.0"],
  );
  assert.equal(refusal(() => ask(deleteRoute({ destination: "10.5.2.0/24", protocol: 78 }))).code, "ESRCH");
  ask(
    deleteRoute({ destination: "10.5.2.0/24", protocol: 77 }),
    deleteRoute({ destination: "fc00:0:0:2::/64", protocol: 77 }),
  );
  assert.deepEqual(destinations({ protocol: 77, table: 254 }), ["10.5.1.0/24"]);
  const error = refusal(() => ask(newRoute({ destination: "10.7.0.0/16", oif: v0, gateway: "10.99.0.1" })));
  assert.equal(error.code, "ENETUNREACH");
  assert.equal(error.kernelMessage, "Nexthop has invalid gateway");
});

test("lookup: on-link, by gateway, own address, nowhere", (t) => {
  const { rt, ask, v0 } = host(t);
  const onLink = rt.lookupRoute("192.0.2.77");
  assert.deepEqual([onLink?.oif, onLink?.gateway, onLink?.prefsrc], [v0, undefined, "192.0.2.1"]);
  assert.equal(rt.lookupRoute("203.0.113.1"), undefined);
  ask(
    newRoute({ destination: "0.0.0.0/0", gateway: "192.0.2.254" }),
    newRoute({ destination: "203.0.113.9/32", type: RTN_BLACKHOLE }),
  );
  assert.equal(rt.lookupRoute("203.0.113.1")?.gateway, "192.0.2.254");
  assert.equal(rt.lookupRoute("203.0.113.9"), undefined, "a blackhole");
  assert.equal(rt.lookupRoute("192.0.2.1")?.type, 2, "RTN_LOCAL");
  assert.equal(rt.lookupRoute("2001:db8::7")?.oif, v0);
  assert.equal(rt.lookupRoute("2001:db9::7"), undefined);
});

test("neighbours and forwarding entries of both families", (t) => {
  const { ns, rt, ask, v0, vxlan } = vxlanHost(t);
  const mac = "02:00:00:00:02:00";
  ask(
    newNeighbour({ ifindex: vxlan, address: "10.5.2.0", mac, protocol: 77 }),
    newNeighbour({ ifindex: v0, address: "2001:db8::2", mac }, "create"),
    newFdbEntry({ ifindex: vxlan, mac, destination: "192.0.2.2" }),
  );
  assert.equal(
    refusal(() => ask(newNeighbour({ ifindex: v0, address: "2001:db8::2", mac }, "create"))).code,
    "EEXIST",
  );
  assert.equal(
    refusal(() => ask(newFdbEntry({ ifindex: vxlan, mac, destination: "192.0.2.2" }, "create"))).code,
    "EEXIST",
  );
  const [neighbour] = ns.json("ip", "-json", "neigh", "show", "dev", "flannel.1");
  assert.deepEqual([neighbour.dst, neighbour.lladdr, neighbour.state], ["10.5.2.0", mac, ["PERMANENT"]]);
  const said = ns
    .json("bridge", "-json", "fdb", "show", "dev", "flannel.1")
    .filter((entry: { dst?: string }) => entry.dst !== undefined);
  assert.deepEqual(said, [{ mac, dst: "192.0.2.2", flags: ["self"], state: "permanent" }]);
  assert.deepEqual(
    rt.neighbours({ ifindex: vxlan }).map(({ address, protocol }) => [address, protocol]),
    [["10.5.2.0", 77]],
  );
  assert.deepEqual(
    rt.fdb({ ifindex: vxlan }).map((entry) => [entry.mac, entry.destination, entry.flags]),
    [[mac, "192.0.2.2", 2]],
  );
  assert.deepEqual(rt.fdb({ ifindex: 4711 }), []);
  assert.deepEqual(rt.neighbours({ ifindex: 4711 }), []);

  ask(newFdbEntry({ ifindex: vxlan, mac, destination: "192.0.2.3" }));
  assert.deepEqual(
    rt.fdb({ ifindex: vxlan }).map((entry) => entry.destination),
    ["192.0.2.3"],
    "replaced, not one more",
  );
  ask(newFdbEntry({ ifindex: vxlan, mac: "00:00:00:00:00:00", destination: "192.0.2.4" }, "append"));
  ask(newFdbEntry({ ifindex: vxlan, mac: "00:00:00:00:00:00", destination: "192.0.2.5" }, "append"));
  assert.equal(rt.fdb({ ifindex: vxlan }).length, 3);

  ask(
    deleteNeighbour({ ifindex: vxlan, address: "10.5.2.0" }),
    deleteFdbEntry({ ifindex: vxlan, mac, destination: "192.0.2.3" }),
  );
  assert.equal(refusal(() => ask(deleteNeighbour({ ifindex: vxlan, address: "10.5.2.0" }))).code, "ENOENT");
  assert.equal(
    refusal(() => ask(deleteFdbEntry({ ifindex: vxlan, mac, destination: "192.0.2.3" }))).code,
    "ENOENT",
  );
  assert.deepEqual(rt.neighbours({ ifindex: vxlan, family: 4 }), []);
});

test("5,000 peers, three objects each, in one batch: all created, the failing ones reported", (t) => {
  const { ns, rt, vxlan } = vxlanHost(t);
  const peers = Array.from({ length: 5000 }, (_, index) => ({
    base: `10.${64 + (index >> 8)}.${index & 255}.0`,
    mac: `02:00:00:01:${hex(index >> 8)}:${hex(index & 255)}`,
  }));
  const requests = peers.flatMap(({ base, mac }) => [
    newFdbEntry({ ifindex: vxlan, mac, destination: "192.0.2.2" }),
    newNeighbour({ ifindex: vxlan, address: base, mac }),
    newRoute({ destination: `${base}/24`, oif: vxlan, gateway: base, onlink: true, protocol: 77 }),
  ]);
  requests[1000] = deleteFdbEntry({ ifindex: vxlan, mac: "02:00:00:00:00:99", destination: "192.0.2.9" });
  const outcomes = rt.connection.batch(requests);
  assert.deepEqual(
    outcomes.flatMap((error, index) => (error === undefined ? [] : [[index, error.code]])),
    [[1000, "ENOENT"]],
  );
  const counts = [
    rt.routes({ protocol: 77 }).length,
    rt.neighbours({ ifindex: vxlan }).length,
    rt.fdb({ ifindex: vxlan }).length,
  ];
  assert.deepEqual(counts, [5000, 4999, 5000]);
  assert.equal(ns.run("ip", "route", "show", "proto", "77").trim().split("\n").length, 5000);
  const again = rt.connection.batch(requests.filter((_, index) => index % 3 === 2));
  assert.ok(again.every((error) => hasCode(error, "EEXIST")));
});

test("a batch whose errors overflow the receive buffer fails with ENOBUFS, and the connection stays usable", (t) => {
  const { ns, v0 } = host(t);
  const rt = openRtnetlink({ netns: ns.path, receiveBufferBytes: 8192, timeoutMs: 1000 });
  t.after(() => rt.close());
  const bad = Array.from({ length: 600 }, (_, index) =>
    deleteNeighbour({ ifindex: v0, address: `192.0.2.${index % 200}` }),
  );
  const codes = new Set(rt.connection.batch(bad).map((error) => error?.code));
  assert.ok(codes.has("ENOBUFS"), `${[...codes]}`);
  rt.connection.request(setLink(v0, { alias: "still here" }));
  assert.equal(rt.link(v0)?.alias, "still here");
});

test("a device without IPv6 refuses addresses with the kernel's own message", (t) => {
  const { ns, ask, v0 } = host(t);
  writeSysctl("ipv6/conf/v0/disable_ipv6", "1", { netns: ns.path });
  const error = refusal(() => ask(newAddress({ ifindex: v0, prefix: "2001:db8::9/64" })));
  assert.equal(error.code, "EACCES");
  assert.match(error.message, /IPv6 is disabled on this device/);
});

const hex = (byte: number): string => byte.toString(16).padStart(2, "0");
