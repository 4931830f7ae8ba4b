/** Acknowledged writes survive SIGKILL, a full disk, and a second process on the same data. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { KV, Lease } from "../../src/etcd-api/rpc_pb.ts";
import { makeDataDirectory, startStoreProcess } from "../support/embedded.ts";
import { until } from "../support/until.ts";

const clientOf = (endpoint: string): Client<typeof KV> =>
  createClient(KV, createGrpcTransport({ baseUrl: endpoint }));
const bytes = (text: string) => Buffer.from(text);
const all = { key: Buffer.of(0), rangeEnd: Buffer.of(0) };

async function contents(kv: Client<typeof KV>): Promise<Map<string, string>> {
  const { kvs } = await kv.range(all);
  return new Map(kvs.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]));
}

test("SIGKILL during writes: no acknowledged write is lost, no revision is assigned twice", async () => {
  using directory = makeDataDirectory();
  const acknowledged = new Map<string, string>();
  let highest = 0n;
  for (let round = 0; round < 5; round++) {
    const server = await startStoreProcess(directory.path);
    const kv = clientOf(server.endpoint);
    const before = await kv.range(all);
    assert.ok(before.header!.revision >= highest, "the revision went back");
    const stored = await contents(kv);
    for (const [key, value] of acknowledged) {
      assert.ok(
        Number(stored.get(key)) >= Number(value),
        `${key} is ${stored.get(key)}, ${value} was acknowledged`,
      );
    }
    let isDead = false;
    let count = 0;
    const writers = Array.from({ length: 20 }, async (_, writer) => {
      for (let value = round * 1_000_000; !isDead; value++) {
        try {
          const { header } = await kv.put({ key: bytes(`writer ${writer}`), value: bytes(String(value)) });
          acknowledged.set(`writer ${writer}`, String(value));
          if (header!.revision > highest) highest = header!.revision;
          count++;
        } catch {
          return;
        }
      }
    });
    await until(() => count > 200, "some hundred writes");
    await server.kill();
    isDead = true;
    await Promise.all(writers);
  }
});

test("a full disk: writes are refused, nothing is lost, and writes succeed again once there is space", async () => {
  using directory = makeDataDirectory();
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "flannel-test", directory.path]);
  const unmount = () => execFileSync("umount", ["-l", directory.path]);
  process.once("exit", unmount);
  try {
    const ballast = join(directory.path, "ballast");
    writeFileSync(ballast, Buffer.alloc(600 * 1024));
    await using server = await startStoreProcess(directory.path);
    const kv = clientOf(server.endpoint);
    const lease = createClient(Lease, createGrpcTransport({ baseUrl: server.endpoint }));
    const { ID } = await lease.leaseGrant({ TTL: 1000n });
    const acknowledged = new Set<string>();
    const value = Buffer.alloc(20_000, 65);
    let refusal: unknown;
    for (let index = 0; refusal === undefined; index++) {
      assert.ok(index < 1000, "the disk never fills up");
      const batch = await Promise.allSettled(
        [0, 1, 2].map(async (part) => {
          const key = `${index}/${part}`;
          await kv.put({ key: bytes(key), value, lease: ID });
          acknowledged.add(key);
        }),
      );
      refusal = batch.find((each) => each.status === "rejected")?.reason;
    }
    assert.ok(refusal instanceof ConnectError);
    assert.equal(refusal.code, Code.ResourceExhausted);
    assert.equal(refusal.rawMessage, "etcdserver: mvcc: database space exceeded");
    assert.ok(acknowledged.size > 5);
    assert.equal((await fetch(`${server.endpoint}/health`)).status, 503);
    assert.ok(
      server.log.some((line) =>
        /^E.*Failed to write to .*store\.db; acknowledged writes are safe/.test(line),
      ),
    );

    const full = await contents(kv);
    assert.deepEqual(new Set(full.keys()), acknowledged);
    const { keys } = await lease.leaseTimeToLive({ ID, keys: true });
    assert.equal(keys.length, acknowledged.size);

    rmSync(ballast);
    await kv.put({ key: bytes("room"), value: bytes("again") });
    assert.equal((await fetch(`${server.endpoint}/health`)).status, 200);
    await server.kill();
    await using again = await startStoreProcess(directory.path);
    const stored = await contents(clientOf(again.endpoint));
    assert.deepEqual(new Set(stored.keys()), new Set([...acknowledged, "room"]));
  } finally {
    process.off("exit", unmount);
    unmount();
  }
});

test("two processes on one directory: the error of the second names the first, and it can start afterwards", async () => {
  using directory = makeDataDirectory();
  await using first = await startStoreProcess(directory.path);
  const second = startStoreProcess(directory.path);
  await assert.rejects(second, new RegExp(`in use by process ${first.pid}; stop it`));
  await first.kill();
  await using _third = await startStoreProcess(directory.path);
});

test("SIGTERM: the store exits at once with code 0, also with connected clients", async () => {
  using directory = makeDataDirectory();
  await using server = await startStoreProcess(directory.path);
  const kv = clientOf(server.endpoint);
  await kv.put({ key: bytes("a"), value: bytes("1") });
  assert.equal(await server.kill("SIGTERM"), 0);
  await using again = await startStoreProcess(directory.path);
  assert.deepEqual(await contents(clientOf(again.endpoint)), new Map([["a", "1"]]));
});
