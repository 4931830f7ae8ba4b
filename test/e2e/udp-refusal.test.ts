/**
 * A kernel that stops to cut messages up (UDP_SEGMENT) while packets flow (test/support/udp-sites.ts). udp_send_skb in the
 * kernel's net/ipv4/udp.c refuses that with EINVAL on a socket without checksums, which socket(7) does not tell of; the
 * EIO that interfaces without checksum offload answer is gone since Linux 6.11.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { check, sys } from "../../src/linux/ffi.ts";
import { startEtcd } from "../support/etcd.ts";
import { TestProcess } from "../support/process.ts";
import { sendBytes } from "../support/tcp-bytes.ts";
import { makeManaged, type Site } from "../support/udp-sites.ts";

// asm-generic/socket.h
const SOL_SOCKET = 1;
const SO_NO_CHECK = 11;
const REFUSAL = /sends datagrams one by one, which is slower: the kernel refused UDP_SEGMENT/;

/** Datagrams sent at once: fewer than the default receive buffer of a socket holds. */
const WINDOW = 40;

/** Sends `count` numbered datagrams, each window once the one before has come; the numbers as they come in. */
async function sendNumbers(from: Site, to: Site, count: number): Promise<number[]> {
  const server = `
    const numbers = [];
    const socket = require("node:dgram").createSocket("udp4").on("message", (message, { port, address }) => {
      if (message.length > 4) numbers.push(message.readUInt32BE()); else { console.log(JSON.stringify(numbers)); process.exit(); }
      if (numbers.length % ${WINDOW} === 0) socket.send("next", port, address);
    }).bind(7008, () => console.log("bound"));`;
  // What is lost, or comes twice, stops the windows: then the numbers so far are the answer.
  const client = `
    const socket = require("node:dgram").createSocket("udp4"); let number = 0; let timer;
    const send = (bytes) => socket.send(bytes, 7008, "${to.container.address}");
    const end = () => setInterval(() => send("end"), 50);
    const next = () => {
      clearTimeout(timer);
      if (number === ${count}) return end();
      for (let index = 0; index < ${WINDOW}; index++) {
        const bytes = Buffer.alloc(300, number); bytes.writeUInt32BE(number++); send(bytes);
      }
      timer = setTimeout(end, 5_000);
    };
    socket.on("message", next); next();`;
  await using receiver = new TestProcess(process.execPath, ["-e", server], { netns: to.container.path });
  await receiver.brings("a receiver", () => receiver.stdout.includes("bound"));
  await using _ = new TestProcess(process.execPath, ["-e", client], { netns: from.container.path });
  await receiver.brings("the numbers", () => receiver.stdout.includes("]"), 30_000);
  return JSON.parse(receiver.stdout.split("\n")[1]!);
}

test("segmentation refused while packets flow: logged once, and no packet is lost, duplicated or changed", async (t) => {
  await using etcd = await startEtcd();
  const { a, b, manager } = await makeManaged(t, etcd);
  await a.flanneld.logged(/offloads .*UDP_SEGMENT/);
  const send = () => sendBytes(a.container, b.container, b.container.address, 10_000_000);
  await send();
  // EIO before Linux 6.11; later kernels compute the checksums themselves.
  a.host.run("ethtool", "-K", "eth0", "tx", "off");
  await send();

  // The manager's copy is flanneld's own socket.
  const socket = manager.handOver().fds[manager.kept.indexOf("flannel-udp")]!;
  const on = new Uint8Array(Int32Array.of(1).buffer);
  check(sys.setsockopt(socket, SOL_SOCKET, SO_NO_CHECK, on, on.length), "setsockopt(SO_NO_CHECK)");
  const numbers = await sendNumbers(a, b, 4000);
  assert.deepEqual(
    numbers,
    Array.from({ length: 4000 }, (_, index) => index),
  );
  await a.flanneld.logged(REFUSAL);
  await send();
  await sendBytes(b.container, a.container, a.container.address, 10_000_000);
  assert.equal(a.flanneld.lines.filter((line) => REFUSAL.test(line)).length, 1);
});
