/** Super-packets through userspace WireGuard's TUN device, of TCP and UDP over both families (topology: agents.ts). */

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { check, sys } from "../../src/linux/ffi.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { openUdpOnAll, SOL_UDP, UDP_SEGMENT } from "../../src/linux/udp-socket.ts";
import { Chance } from "../../src/testing/random-packets.ts";
import { parseSocketAddress } from "../../src/wireguard/socket-address.ts";
import { sendBytes } from "../support/tcp-bytes.ts";
import {
  addContainer,
  answers,
  type Container,
  type FabricHost,
  makeCluster,
  makeFabric,
  uapiDirectoryOf,
} from "./agents.ts";
import { type TestNetns, waitFor } from "./support.ts";

const CONFIG = {
  Network: "10.5.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fc00::/48",
  Backend: { Type: "wireguard", Implementation: "userspace" },
};
const DEVICES = { 4: "flannel-wg", 6: "flannel-wg-v6" } as const;
const MTU_BYTES = 1420;
const TRANSFER_BYTES = 24 * 1024 * 1024;
const SEGMENT_BYTES = 1200;
const SLOW_MS = 20_000;
// asm-generic/socket.h
const MSG_DONTWAIT = 0x40;
const PORT = 7007;

interface Traffic {
  readonly packets: number;
  readonly bytes: number;
}

/** What the device handed out and accepted since it exists. */
function trafficOf(host: FabricHost, device: string): { readonly out: Traffic; readonly in: Traffic } {
  const { tx, rx } = host.json("ip", "-json", "-stats", "link", "show", device)[0].stats64;
  return { out: tx, in: rx };
}

/** Mean bytes of a packet between two states. */
const meanBytes = (before: Traffic, after: Traffic): number =>
  (after.bytes - before.bytes) / (after.packets - before.packets);

function udpSocketIn(t: TestContext, netns: TestNetns, family: 4 | 6): number {
  const { fd, segments, joins } = withNetns(netns.path, () => openUdpOnAll(family, PORT));
  t.after(() => sys.close(fd));
  assert.ok(segments && joins, "UDP_SEGMENT and UDP_GRO");
  return fd;
}

/** Everything that waits on the socket, as one. */
function receiveAll(fd: number): Buffer {
  const parts: Buffer[] = [];
  for (;;) {
    const part = Buffer.alloc(0x10000);
    const length = sys.recv(fd, part, part.length, MSG_DONTWAIT);
    if (length < 0) return Buffer.concat(parts);
    parts.push(part.subarray(0, length));
  }
}

test("TCP and UDP over IPv4 and IPv6 pass the device in super-packets, and arrive as they were sent", async (t) => {
  const hosts = makeFabric(t, [0, 1]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, CONFIG);
  const agents = hosts.map((host) => cluster.start(host));
  for (const { name } of hosts) {
    t.after(() => rmSync(join(tmpdir(), `flannel-wgkey-${name}`), { force: true }));
    t.after(() => rmSync(uapiDirectoryOf(name), { recursive: true, force: true }));
  }
  for (const agent of agents) await agent.ready();
  const [a, b] = hosts.map((host, index) => addContainer(t, host, agents[index]!)) as [Container, Container];
  for (const family of [4, 6] as const)
    await waitFor(`an answer over IPv${family}`, () => answers(a, b[`ipv${family}`]), SLOW_MS);
  const states = (device: string) => hosts.map((host) => trafficOf(host, device));

  for (const family of [4, 6] as const) {
    const [device, address] = [DEVICES[family], b[`ipv${family}`]];
    await t.test(`TCP over IPv${family}`, async () => {
      const before = states(device);
      await sendBytes(a, b, address, TRANSFER_BYTES);
      const after = states(device);
      assert.ok(after[0]!.out.bytes - before[0]!.out.bytes > TRANSFER_BYTES);
      const handedOut = meanBytes(before[0]!.out, after[0]!.out);
      const accepted = meanBytes(before[1]!.in, after[1]!.in);
      assert.ok(handedOut > MTU_BYTES, `${handedOut} bytes a packet read`);
      assert.ok(accepted > MTU_BYTES, `${accepted} bytes a packet written`);
    });

    await t.test(`UDP over IPv${family}`, async (t) => {
      const [from, to] = [udpSocketIn(t, a, family), udpSocketIn(t, b, family)];
      const value = new Uint8Array(Int32Array.of(SEGMENT_BYTES).buffer);
      check(sys.setsockopt(from, SOL_UDP, UDP_SEGMENT, value, value.length), "setsockopt");
      const target = parseSocketAddress(family === 4 ? `${address}:${PORT}` : `[${address}]:${PORT}`)!;
      // 30 whole datagrams and a shorter one.
      const content = new Chance(family).bytes(30 * SEGMENT_BYTES + 77);
      const before = states(device);
      check(sys.sendto(from, content, content.length, 0, target, target.length), "sendto");
      const parts: Buffer[] = [];
      await waitFor("all datagrams", () => {
        parts.push(receiveAll(to));
        return parts.reduce((sum, part) => sum + part.length, 0) >= content.length;
      });
      assert.ok(Buffer.concat(parts).equals(content));
      const after = states(device);
      assert.ok(meanBytes(before[0]!.out, after[0]!.out) > MTU_BYTES, "read as super-packets");
      assert.ok(meanBytes(before[1]!.in, after[1]!.in) > MTU_BYTES, "written as super-packets");
    });
  }
});
