/** Connections over VICI with a charon that hangs, answers nonsense, ends, or has connections of an earlier flanneld. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { systemTimers } from "../base/timers.ts";
import type { IpsecConnection, StateObject } from "../state/objects.ts";
import { Reconciler } from "../state/reconciler.ts";
import { stateOf } from "../testing/sample-objects.ts";
import { Charon } from "./charon.ts";
import { ConnectionProvider } from "./connection-provider.ts";
import {
  CMD_REQUEST,
  CMD_RESPONSE,
  decodePacket,
  EVENT,
  EVENT_CONFIRM,
  encodePacket,
  type ViciSection,
} from "./vici.ts";

const SECRET = "0123456789abcdef".repeat(6);
const OWNERSHIP = { devices: new Set<string>(), networks: [parsePrefix("10.5.0.0/16")!] };
const TO_2 = "192.168.7.1-10.5.1.0/24-10.5.2.0/24-192.168.7.2";
const TO_9 = "192.168.7.1-10.5.1.0/24-10.5.9.0/24-192.168.7.9";

const connection = (number: number): IpsecConnection => ({
  ...{ kind: "ipsec-connection", local: "192.168.7.1", remote: `192.168.7.${number}` },
  ...{ localSubnet: "10.5.1.0/24", remoteSubnet: `10.5.${number}.0/24`, udpEncap: false },
  ...{ espProposal: "aes128gcm16-sha256-prfsha256-ecp256", presharedKeyId: "psk" },
});

/** A charon in this process; `answer` replaces what it does with one connection's bytes. */
class FakeCharon {
  readonly conns = new Set<string>();
  /** The security associations that list-sas shows. */
  associations: ViciSection = {};
  readonly commands: string[] = [];
  answer: ((socket: Socket) => void) | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => this.#serve(socket));

  async listen(t: TestContext): Promise<string> {
    const directory = mkdtempSync(join(tmpdir(), "flannel-fake-charon-"));
    const path = join(directory, "vici");
    await new Promise<void>((resolve) => this.#server.listen(path, resolve));
    t.after(() => {
      this.#server.close();
      this.disconnect();
      rmSync(directory, { recursive: true });
    });
    return path;
  }

  /** As a charon that ends: its connections are forgotten. */
  disconnect(): void {
    this.conns.clear();
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    let received: Buffer = Buffer.alloc(0);
    socket.on("data", (data: Buffer) => {
      if (this.answer !== undefined) return this.answer(socket);
      received = Buffer.concat([received, data]);
      for (let next = decodePacket(received); next !== undefined; next = decodePacket(received)) {
        received = received.subarray(next.sizeBytes);
        const { type, name, message } = next.packet;
        if (type !== CMD_REQUEST) socket.write(encodePacket({ type: EVENT_CONFIRM, name: "", message: {} }));
        else {
          if (name === "list-sas")
            socket.write(encodePacket({ type: EVENT, name: "list-sa", message: this.associations }));
          socket.write(encodePacket({ type: CMD_RESPONSE, name: "", message: this.#handle(name, message) }));
        }
      }
    });
  }

  #handle(name: string, message: ViciSection): ViciSection {
    this.commands.push(name === "unload-conn" ? `unload-conn ${message.name}` : name);
    if (name === "get-conns") return { conns: [...this.conns] };
    if (name === "load-conn") for (const conn of Object.keys(message)) this.conns.add(conn);
    if (name === "unload-conn") this.conns.delete(String(message.name));
    if (name === "load-shared") assert.equal(message.data, SECRET);
    else assert.ok(!JSON.stringify(message).includes(SECRET), `${name} has no business with the key`);
    if (name === "terminate") return { success: "no", errmsg: "no matching SAs to terminate found" };
    return { success: "yes" };
  }
}

async function setUp(t: TestContext) {
  const fake = new FakeCharon();
  const socketPath = await fake.listen(t);
  const log: string[] = [];
  const note = (message: string) => void log.push(message);
  const logger = { info: note, warn: note, error: note, debug: note };
  const charon = new Charon({ socketPath, directory: "/nonexistent", logger, timers: systemTimers });
  const removed: string[] = [];
  const provider = new ConnectionProvider({
    ...{ charon, logger, timers: systemTimers, secretOf: () => SECRET },
    removeAssociations: (local, remote) => void removed.push(`${local} ${remote}`),
  });
  const reconciler = new Reconciler({
    ...{ providers: [provider], logger, timers: systemTimers, resyncIntervalMs: 60_000, onRepair() {} },
  });
  const stop = new AbortController();
  const running = reconciler.run(stop.signal);
  t.after(async () => {
    stop.abort();
    charon[Symbol.dispose]();
    await running;
  });
  const program = (objects: readonly StateObject[]) =>
    reconciler.setTarget({ state: stateOf(objects), keepOthers: false, ownership: OWNERSHIP });
  return { fake, log, provider, reconciler, removed, program };
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("a charon that hangs delays no pass, and is said to be what is missing", async (t) => {
  const { fake, reconciler, program } = await setUp(t);
  fake.answer = () => {};
  program([connection(2), connection(3)]);
  const startMs = performance.now();
  await until("two passes", () => reconciler.status.passes >= 2);
  assert.ok(performance.now() - startMs < 2_000);
  assert.match(reconciler.status.problems.join("\n"), /ipsec connection .*: charon has not answered yet/);
});

test("nonsense is an error, and the next connection is used as if nothing had been", async (t) => {
  for (const nonsense of [
    Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"),
    Buffer.of(0, 0, 0, 1, 2), // “unknown command”
    Buffer.of(0, 0, 0, 3, 1, 99, 0), // an element that does not exist
    Buffer.alloc(0),
  ]) {
    const { fake, reconciler, program } = await setUp(t);
    fake.answer = (socket) => {
      if (nonsense.length === 0) socket.destroy();
      else socket.write(nonsense);
    };
    program([connection(2)]);
    await until("a refusal", () => /charon/.test(reconciler.status.problems.join()));
    fake.answer = undefined;
    await until("convergence", () => reconciler.status.converged);
    assert.deepEqual([...fake.conns], [TO_2]);
  }
});

test("a charon that ends gets everything again from the next one", async (t) => {
  const { fake, log, reconciler, program } = await setUp(t);
  program([connection(2), connection(3)]);
  await until("convergence", () => reconciler.status.converged && fake.conns.size === 2);
  await until("the end is watched", () => fake.commands.includes("list-sas"));
  fake.disconnect();
  await until("both again", () => fake.conns.size === 2);
  assert.ok(log.some((line) => /^The connection to charon ended; loading all connections again/.test(line)));
  assert.ok(!log.join("\n").includes(SECRET));
});

test("connections of an earlier flanneld are unloaded if no peer needs them; foreign ones stay", async (t) => {
  const { fake, reconciler, removed, program } = await setUp(t);
  for (const name of [TO_9, TO_2, "office", "192.168.7.1-10.9.1.0/24-10.9.2.0/24-192.168.7.2"])
    fake.conns.add(name);
  program([connection(2)]);
  await until("the stale one is gone", () => !fake.conns.has(TO_9));
  await until("convergence", () => reconciler.status.converged);
  assert.equal(fake.conns.size, 3);
  await until("its associations are gone", () => removed.includes("192.168.7.1 192.168.7.9"));
  assert.deepEqual(
    fake.commands.filter((name) => name.startsWith("unload-conn")),
    [`unload-conn ${TO_9}`],
  );
});

test("a tunnel is reported as what charon lists", async (t) => {
  const { fake, provider, program } = await setUp(t);
  const child = { "encr-alg": "AES_GCM_16", "encr-keysize": "128", encap: "yes", "install-time": "7" };
  fake.associations = {
    [TO_2]: {
      "child-sas": { a: { state: "INSTALLED", "bytes-in": "10", "bytes-out": "-5", ...child }, b: "?" },
    },
    "192.168.7.1-10.5.1.0/24-10.5.3.0/24-192.168.7.3": { state: "CONNECTING" },
    odd: ["list"],
  };
  program([connection(2), connection(3), connection(4)]);
  await until("the list", () => provider.tunnelTo("10.5.4.0/24") !== undefined);
  assert.deepEqual(provider.tunnelTo("10.5.2.0/24"), {
    state: "established",
    association: {
      ...{ cipher: "AES_GCM_16-128", isInUdp: true, sentBytes: 0, receivedBytes: 10, ageSeconds: 7 },
    },
  });
  assert.deepEqual(provider.tunnelTo("10.5.3.0/24"), { state: "connecting" });
  assert.deepEqual(provider.tunnelTo("10.5.4.0/24"), { state: "missing" });
});
