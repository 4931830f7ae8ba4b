import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import type { Notification } from "../netlink/monitor.ts";
import type { Route } from "../netlink/route.ts";
import { NextHops } from "./next-hops.ts";

const A = parseIp("192.168.7.2")!;
const B = parseIp("192.168.8.2")!;

/** A host whose routing is a table of addresses; counts what it is asked. */
class Routing {
  readonly asked: string[] = [];
  readonly ways = new Map<string, { oif: number; gateway?: string; type?: number }>([
    ["192.168.7.2", { oif: 2 }],
    ["192.168.8.2", { oif: 2, gateway: "192.168.7.254" }],
  ]);
  readonly names = new Map([[2, "eth0"]]);

  lookupRoute(address: string): Route | undefined {
    this.asked.push(address);
    const way = this.ways.get(address);
    return way && ({ type: 1, gateway: undefined, ...way } as unknown as Route);
  }

  link(ref: number | string) {
    const name = this.names.get(ref as number);
    return name === undefined ? undefined : ({ name } as never);
  }
}

const route = (destination: string, protocol = 3): Notification =>
  ({ type: "route", change: "new", portId: 0, value: { destination, protocol } }) as unknown as Notification;
const link = (index: number): Notification =>
  ({ type: "link", change: "new", portId: 0, value: { index } }) as unknown as Notification;
const address = (ifindex: number): Notification =>
  ({ type: "address", change: "delete", portId: 0, value: { ifindex } }) as unknown as Notification;

test("each way is asked for once; on a link or behind a router", () => {
  const routing = new Routing();
  const hops = new NextHops(routing);
  const { lookup } = hops;
  assert.deepEqual(lookup(A), { device: "eth0", via: undefined });
  assert.deepEqual(lookup(B), { device: "eth0", via: "192.168.7.254" });
  assert.deepEqual(lookup(A), { device: "eth0", via: undefined });
  assert.equal(lookup(parseIp("10.1.1.1")!), undefined);
  assert.equal(routing.asked.length, 3);
});

test("an own address, or one that is refused, is no way", () => {
  const routing = new Routing();
  routing.ways.set("192.168.7.2", { oif: 1, type: 2 });
  assert.equal(new NextHops(routing).lookup(A), undefined);
});

const CONCERNS: readonly (readonly [title: string, notice: Notification, asks: readonly string[]])[] = [
  ["a route to one of them", route("192.168.8.0/24"), ["192.168.8.2"]],
  ["a default route", route("0.0.0.0/0"), ["192.168.7.2", "192.168.8.2"]],
  ["a route elsewhere", route("10.0.0.0/8"), []],
  ["a route of ours", route("192.168.0.0/16", 70), []],
  ["a route of the other family", route("::/0"), []],
  ["their device", link(2), ["192.168.7.2", "192.168.8.2"]],
  ["a container's device", link(77), []],
  ["an address of their device", address(2), ["192.168.7.2", "192.168.8.2"]],
  ["lost notices", { type: "overrun" }, ["192.168.7.2", "192.168.8.2"]],
];

for (const [title, notice, asks] of CONCERNS) {
  test(`after a notice of ${title}, what may be another is asked for again`, () => {
    const routing = new Routing();
    const hops = new NextHops(routing);
    const { lookup } = hops;
    for (const ip of [A, B]) lookup(ip);
    routing.asked.length = 0;
    assert.equal(hops.update([notice]), false);
    assert.deepEqual(routing.asked, asks);
    assert.equal(hops.lookup, lookup, "the same answers, the same function");
  });
}

test("a change gives another function; a device that is renamed, too", () => {
  const routing = new Routing();
  const hops = new NextHops(routing);
  const first = hops.lookup;
  first(A);
  routing.names.set(2, "lan0");
  assert.equal(hops.update([link(2)]), true);
  assert.notEqual(hops.lookup, first);
  assert.deepEqual(hops.lookup(A), { device: "lan0", via: undefined });
  routing.ways.delete("192.168.7.2");
  assert.equal(hops.update([route("192.168.7.0/24")]), true);
  assert.equal(hops.lookup(A), undefined);
});

test("a refresh asks for the addresses that there are, and forgets the others", () => {
  const routing = new Routing();
  const hops = new NextHops(routing);
  for (const ip of [A, B]) hops.lookup(ip);
  routing.asked.length = 0;
  assert.equal(hops.refresh([B]), false);
  assert.deepEqual(routing.asked, ["192.168.8.2"]);
  hops.lookup(A);
  assert.deepEqual(routing.asked, ["192.168.8.2", "192.168.7.2"]);
});

test("each new answer is reported, and each address that is forgotten", () => {
  const routing = new Routing();
  const reported: unknown[] = [];
  const hops = new NextHops(routing, (...answer) => reported.push(answer));
  const take = () => reported.splice(0);
  for (const ip of [A, B, A]) hops.lookup(ip);
  hops.lookup(parseIp("10.1.1.1")!);
  assert.deepEqual(take(), [
    ["192.168.7.2", { device: "eth0", via: undefined }],
    ["192.168.8.2", { device: "eth0", via: "192.168.7.254" }],
    ["10.1.1.1", null],
  ]);
  hops.update([route("192.168.7.0/24")]);
  assert.deepEqual(take(), [], "the same as before");
  routing.ways.delete("192.168.7.2");
  hops.update([route("192.168.7.0/24")]);
  hops.refresh([A]);
  assert.deepEqual(take(), [
    ["192.168.7.2", null],
    ["192.168.8.2", undefined],
    ["10.1.1.1", undefined],
  ]);
});
