/**
 * Runs inside one namespace of the firewall's test bed, for its whole life: a server that tells every caller who it
 * sees, and a client that asks such servers. One JSON request per line on stdin, one answer per line on stdout; it ends
 * when stdin does, so that it never outlives the test.
 */

import { createSocket } from "node:dgram";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";

/** The plain port, and the one whose packets the test marks. */
const PORTS = [7000, 7001] as const;
const MULTICAST_PORT = 7002;

export type AgentRequest =
  | {
      readonly op: "ask";
      readonly address: string;
      readonly port: number;
      readonly from?: string;
      readonly waitMs: number;
    }
  | { readonly op: "join"; readonly group: string; readonly local: string }
  | { readonly op: "send"; readonly group: string; readonly from: string; readonly device: string };

if (process.argv[1] === import.meta.filename) main();

function main(): void {
  const plain = (address: string | undefined) => (address ?? "").replace(/^::ffff:/, "");
  for (const port of PORTS) {
    createServer((socket) => {
      socket.on("error", () => {});
      socket.end(plain(socket.remoteAddress));
    }).listen(port, "::");
  }
  process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
  createInterface({ input: process.stdin })
    .on("line", async (line) => {
      const { id, ...request } = JSON.parse(line) as AgentRequest & { id: number };
      const answer = await handle(request).catch((error: Error) => `failed: ${error.message}`);
      process.stdout.write(`${JSON.stringify({ id, answer })}\n`);
    })
    .on("close", () => process.exit());
}

async function handle(request: AgentRequest): Promise<string> {
  switch (request.op) {
    case "ask":
      return ask(request);
    case "join":
      return join(request.group, request.local);
    case "send":
      return send(request.group, request.from, request.device);
  }
}

/** Connects and gives what the server saw, "no answer" if none came in time. */
function ask(request: AgentRequest & { op: "ask" }): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ host: request.address, port: request.port, localAddress: request.from });
    const timer = setTimeout(() => socket.destroy(), request.waitMs);
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(text === "" ? "no answer" : text);
    });
  });
}

/** Joins the group and answers with the sender of the first datagram. */
function join(group: string, local: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ type: group.includes(":") ? "udp6" : "udp4", reuseAddr: true });
    socket.on("error", reject);
    socket.on("message", (_, sender) => {
      socket.close();
      resolve(sender.address);
    });
    socket.bind(MULTICAST_PORT, () => socket.addMembership(group, local));
  });
}

function send(group: string, from: string, device: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(group.includes(":") ? "udp6" : "udp4");
    socket.on("error", reject);
    socket.bind(0, from, () => {
      socket.setMulticastInterface(device);
      socket.send("x", MULTICAST_PORT, group, () => {
        socket.close();
        resolve("sent");
      });
    });
  });
}
