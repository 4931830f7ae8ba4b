/**
 * A peer of the udp backend as Go flannel's is on the wire: one IPv4 packet, one datagram, one at a time, no offloads.
 * It checks that what comes is just that, and says on stdout what is not.
 *
 *     node plain-udp-peer.ts DEVICE ADDRESS PORT PEER-ADDRESS     prints "ready"; ends with SIGTERM
 */

import { createSocket } from "node:dgram";
import { readSync, writeSync } from "node:fs";
import { watchReadable } from "../../src/linux/poller.ts";
import { openTun } from "../../src/linux/tun.ts";
import { decrementTtl, isWholeIpv4 } from "./plain-ipv4.ts";

const [device, address, port, peer] = process.argv.slice(2) as [string, string, string, string];
const { fd } = openTun(device, false);
const socket = createSocket("udp4");
const buffer = new Uint8Array(65536);

socket.on("message", (packet, { address: from, port: fromPort }) => {
  if (from !== peer || fromPort !== Number(port)) console.log(`from ${from}:${fromPort}`);
  else if (!isWholeIpv4(packet)) console.log(`not one IPv4 packet: ${packet.toString("hex")}`);
  else if (decrementTtl(packet)) writeToDevice(packet);
});

/** The device may not be up yet when the other host's first probe comes. */
function writeToDevice(packet: Uint8Array): void {
  try {
    writeSync(fd, packet);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EIO") throw error;
  }
}

socket.bind({ address, port: Number(port) }, () => console.log("ready"));
watchReadable(fd, () => {
  for (;;) {
    let length: number;
    try {
      length = readSync(fd, buffer);
    } catch {
      return; // nothing more
    }
    const packet = buffer.slice(0, length);
    if (packet[0]! >> 4 === 4 && decrementTtl(packet)) socket.send(packet, Number(port), peer);
  }
});
