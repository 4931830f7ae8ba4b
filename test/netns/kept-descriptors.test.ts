/** Descriptors from before a restart: which are taken over, with what waits in them, and which are not. */

import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import { check, EAGAIN, lastErrno, sys } from "../../src/linux/ffi.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { adoptTun, openTun } from "../../src/linux/tun.ts";
import { adoptUdp, openUdp, socketAddress } from "../../src/linux/udp-socket.ts";
import { VNET_HEADER_BYTES } from "../../src/packet/virtio-net-header.ts";
import { freshNetns, type TestNetns } from "./support.ts";

const DEVICE = "flannel0";
const LOCAL = parseIp("127.0.0.1")!;
const PORT = 8285;
// linux/udp.h, asm-generic/fcntl.h
const SOL_UDP = 17;
const UDP_GRO = 104;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Closes it with the test, unless that has been done. */
function closing<T extends { readonly fd: number }>(t: TestContext, opened: T): T {
  t.after(() => sys.close(opened.fd));
  return opened;
}

function deviceIn(t: TestContext, netns: TestNetns, wantOffloads = true) {
  const opened = closing(
    t,
    withNetns(netns.path, () => openTun(DEVICE, wantOffloads)),
  );
  netns.run("sysctl", "-qw", `net.ipv6.conf.${DEVICE}.disable_ipv6=1`);
  netns.run("ip", "link", "set", DEVICE, "up");
  netns.run("ip", "address", "add", "10.5.1.0/32", "dev", DEVICE);
  netns.run("ip", "route", "add", "10.5.0.0/16", "dev", DEVICE);
  return opened;
}

const adoptIn = (netns: TestNetns, fd: number, device = DEVICE, wantOffloads = true) =>
  withNetns(netns.path, () => adoptTun(fd, device, wantOffloads));

test("a TUN device: its packets wait, and it is what it was when opened", (t) => {
  const netns = freshNetns(t);
  const opened = deviceIn(t, netns);
  netns.run("sh", "-c", "ping -c3 -i0.01 -W0.01 10.5.2.2 || true");
  check(sys.fcntl(opened.fd, F_SETFL, 0), "fcntl"); // a manager may have changed that
  assert.deepEqual(adoptIn(netns, opened.fd), opened);
  assert.equal(sys.fcntl(opened.fd, F_GETFL, 0) & O_NONBLOCK, O_NONBLOCK);
  const packet = new Uint8Array(2000);
  const lengths = Array.from({ length: 3 }, () => sys.read(opened.fd, packet, packet.length));
  assert.deepEqual(lengths, new Array(3).fill(VNET_HEADER_BYTES + 84));
  assert.equal(sys.read(opened.fd, packet, packet.length), -1);
  assert.equal(lastErrno(), EAGAIN);
});

test("TUN devices that are not taken over: other names, offloads, namespaces, deleted ones, what is none", (t) => {
  const [netns, other] = [freshNetns(t), freshNetns(t)];
  const { fd } = deviceIn(t, netns);
  const plain = deviceIn(t, other, false);
  assert.equal(adoptIn(netns, fd, "flannel1"), undefined);
  assert.equal(adoptIn(netns, fd, DEVICE, false), undefined);
  assert.equal(adoptIn(other, plain.fd, DEVICE, true), undefined);
  assert.notEqual(adoptIn(other, plain.fd, DEVICE, false), undefined);
  // Both namespaces have a device of that name.
  assert.equal(adoptIn(other, fd), undefined);
  netns.run("ip", "link", "delete", DEVICE);
  assert.equal(adoptIn(netns, fd), undefined);
  deviceIn(t, netns);
  assert.equal(adoptIn(netns, fd), undefined, "another one took its place");
  const unattached = openSync("/dev/net/tun", "r+");
  const file = openSync("/dev/null", "r");
  t.after(() => [unattached, file].forEach(closeSync));
  for (const wrong of [unattached, file, 9999]) assert.equal(adoptIn(netns, wrong), undefined);
});

test("a UDP socket: its datagrams wait, and its options are set again", (t) => {
  const netns = freshNetns(t);
  const inside = <T>(work: () => T): T => withNetns(netns.path, work);
  const opened = closing(
    t,
    inside(() => openUdp(LOCAL, PORT, true)),
  );
  const sender = inside(() => check(sys.socket(2, 2, 0), "socket"));
  t.after(() => sys.close(sender));
  const address = socketAddress(Uint8Array.of(127, 0, 0, 1), PORT);
  check(sys.sendto(sender, Uint8Array.of(1, 2, 3), 3, 0, address, address.length), "sendto");
  assert.deepEqual(
    inside(() => adoptUdp(opened.fd, LOCAL, PORT, true)),
    opened,
  );
  assert.equal(sys.recv(opened.fd, new Uint8Array(100), 100, 0), 3);
});

test("sockets that are not taken over: other addresses and ports, joined datagrams, namespaces, what is none", (t) => {
  const [netns, other] = [freshNetns(t), freshNetns(t)];
  const inside = <T>(work: () => T): T => withNetns(netns.path, work);
  const { fd } = closing(
    t,
    inside(() => openUdp(LOCAL, PORT, true)),
  );
  const adopt = (fd: number, wantOffloads = true) => inside(() => adoptUdp(fd, LOCAL, PORT, wantOffloads));
  assert.equal(
    inside(() => adoptUdp(fd, LOCAL, PORT + 1, true)),
    undefined,
  );
  assert.equal(
    inside(() => adoptUdp(fd, parseIp("127.0.0.2")!, PORT, true)),
    undefined,
  );
  assert.equal(
    withNetns(other.path, () => adoptUdp(fd, LOCAL, PORT, true)),
    undefined,
  );
  assert.equal(adopt(fd, false), undefined);
  const option = new Uint8Array(4);
  check(sys.setsockopt(fd, SOL_UDP, UDP_GRO, option, 4), "setsockopt");
  assert.deepEqual(adopt(fd, false), { fd, segments: false, joins: false });
  assert.deepEqual(adopt(fd), { fd, segments: true, joins: true });

  const stream = inside(() => check(sys.socket(2, 1, 0), "socket"));
  t.after(() => sys.close(stream));
  const address = socketAddress(Uint8Array.of(127, 0, 0, 1), PORT);
  inside(() => check(sys.bind(stream, address, address.length), "bind"));
  const unix = check(sys.socket(1, 2, 0), "socket");
  t.after(() => sys.close(unix));
  for (const wrong of [stream, unix, 9999]) assert.equal(adopt(wrong), undefined);
});
