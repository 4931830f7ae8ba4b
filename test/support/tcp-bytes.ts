/** Bytes over TCP from one namespace to another, compared at the end. */

import assert from "node:assert/strict";
import type { TestNetns } from "../netns/support.ts";
import { TestProcess } from "./process.ts";

/** Sends `bytes` random bytes over TCP and compares them at the other end. */
export async function sendBytes(
  from: TestNetns,
  to: TestNetns,
  address: string,
  bytes: number,
): Promise<void> {
  const server = `
    const hash = require("node:crypto").createHash("sha256"); let bytes = 0;
    require("node:net").createServer((socket) => {
      socket.on("data", (chunk) => { hash.update(chunk); bytes += chunk.length; });
      socket.on("end", () => { console.log("end " + bytes + " " + hash.digest("hex")); process.exit(); });
    }).listen(7007, () => console.log("listening"));`;
  const client = `
    const crypto = require("node:crypto"); const hash = crypto.createHash("sha256");
    const socket = require("node:net").connect(7007, ${JSON.stringify(address)}); let left = ${bytes};
    const more = () => {
      while (left > 0) {
        const chunk = crypto.randomBytes(Math.min(left, 1 + Math.floor(Math.random() * 200000)));
        hash.update(chunk); left -= chunk.length;
        if (!socket.write(chunk)) { socket.once("drain", more); return; }
      }
      socket.end(); console.log("end ${bytes} " + hash.digest("hex"));
    };
    socket.on("connect", more);`;
  await using receiver = new TestProcess(process.execPath, ["-e", server], { netns: to.path });
  await receiver.brings("a listener", () => receiver.stdout.includes("listening"));
  await using sender = new TestProcess(process.execPath, ["-e", client], { netns: from.path });
  await receiver.brings("the end of the transfer", () => receiver.stdout.includes("end "), 30_000);
  await sender.brings("the sender's end", () => sender.stdout.includes("end "));
  const endOf = (text: string) => /end .*/.exec(text)![0];
  assert.equal(endOf(receiver.stdout), endOf(sender.stdout));
}
