/**
 * F22: no HTTP/2 stream, in any state, ends a process. Random frames against the store, plain and TLS, and against the
 * health server; short by default. `make fuzz` runs it for minutes:
 *
 *     FLANNEL_FUZZ_SECONDS=300 FLANNEL_FUZZ_SEED=1234 node --test test/e2e/embedded-hostile-frames.test.ts
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { KV } from "../../src/etcd-api/rpc_pb.ts";
import { makeCertificates } from "../support/certificates.ts";
import { makeDataDirectory, startStoreProcess } from "../support/embedded.ts";
import { randomFrom, talkAtRandom } from "../support/hostile-frames.ts";
import {
  connectRaw,
  FLAG,
  FRAME,
  frameOf,
  grpcFields,
  grpcMessage,
  headerBlock,
  PREFACE,
  setting,
  uint32,
} from "../support/raw-http2.ts";

const SECONDS = Number(process.env.FLANNEL_FUZZ_SECONDS ?? 2);
const SEED = Number(process.env.FLANNEL_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
const PARALLEL = 8;
const STEPS = 40;

/** Talks at random until the time is over; `check` rejects once the process has ended. `log`: what it has logged. */
async function fuzz(
  endpoint: string,
  check: () => Promise<unknown>,
  log: readonly string[] = [],
): Promise<void> {
  const endMs = performance.now() + SECONDS * 1000;
  let seed = SEED;
  do {
    const seeds = Array.from({ length: PARALLEL }, () => seed++);
    try {
      await Promise.all(seeds.map((each) => talkAtRandom(endpoint, randomFrom(each), STEPS)));
      await check();
    } catch (error) {
      throw new Error(`FLANNEL_FUZZ_SEED=${seeds[0]} fails:\n${log.slice(-60).join("\n")}`, { cause: error });
    }
  } while (performance.now() < endMs);
}

test("F22 a stream that is reset before its answer ends no process", async () => {
  using directory = makeDataDirectory();
  await using server = await startStoreProcess(directory.path);
  const paths = ["/etcdserverpb.KV/Put", "/etcdserverpb.Watch/Watch", "/nothing", "/etcdserverpb.KV/Range"];
  for (let round = 0; round < 200; round++) {
    const socket = await connectRaw(server.endpoint);
    const block = headerBlock(grpcFields(paths[round % paths.length]!));
    socket.write(Buffer.concat([PREFACE, frameOf(FRAME.SETTINGS, 0, 0)]));
    socket.write(frameOf(FRAME.HEADERS, FLAG.END_HEADERS, 1, block));
    if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    socket.write(frameOf(FRAME.RST_STREAM, 0, 1, uint32(round % 8 < 4 ? 0 : 8)));
    socket.end();
    await once(socket.resume(), "close");
  }
  const kv = createClient(KV, createGrpcTransport({ baseUrl: server.endpoint }));
  assert.equal((await kv.range({ key: Buffer.from("a") })).count, 0n);
});

test("F22 a protocol error while a response is not read ends no process", async () => {
  using directory = makeDataDirectory();
  await using server = await startStoreProcess(directory.path);
  const kv = createClient(KV, createGrpcTransport({ baseUrl: server.endpoint }));
  for (const name of ["a", "b", "c"]) {
    await kv.put({ key: Buffer.from(name), value: Buffer.alloc(1_400_000) });
  }
  const range = grpcMessage(Buffer.from([0x0a, 1, 0, 0x12, 1, 0]));
  for (const authority of ["store", "http://store"]) {
    for (let round = 0; round < 10; round++) {
      const socket = await connectRaw(server.endpoint);
      socket.pause();
      const largest = 2 ** 31 - 1;
      socket.write(Buffer.concat([PREFACE, frameOf(FRAME.SETTINGS, 0, 0, setting(4, largest))]));
      await new Promise((resolve) => setTimeout(resolve, 5)); // as clients that wait for the server's SETTINGS
      socket.write(
        Buffer.concat([
          frameOf(FRAME.WINDOW_UPDATE, 0, 0, uint32(largest - 65_535)),
          frameOf(
            FRAME.HEADERS,
            FLAG.END_HEADERS,
            1,
            headerBlock(grpcFields("/etcdserverpb.KV/Range", authority)),
          ),
          frameOf(FRAME.DATA, FLAG.END_STREAM, 1, range),
        ]),
      );
      await new Promise((resolve) => setTimeout(resolve, 30));
      socket.write(frameOf(FRAME.DATA, 0, 0, range)); // on stream 0: a connection error
      await kv.range({ key: Buffer.from("x") });
      socket.destroy();
    }
  }
});

test("F22 random frames end no store", async () => {
  using directory = makeDataDirectory();
  await using server = await startStoreProcess(directory.path);
  const kv = createClient(KV, createGrpcTransport({ baseUrl: server.endpoint }));
  await fuzz(server.endpoint, () => kv.range({ key: Buffer.from("k") }), server.log);
  assert.deepEqual(
    server.log.filter((line) => /^E|failed on a request/.test(line)),
    [],
  );
});

test("F22 random frames end no store with TLS", async () => {
  using directory = makeDataDirectory();
  using certificates = makeCertificates();
  const { cert, key } = certificates.server;
  await using server = await startStoreProcess(directory.path, ["--cert-file", cert, "--key-file", key]);
  const nodeOptions = { rejectUnauthorized: false };
  const kv = createClient(KV, createGrpcTransport({ baseUrl: server.endpoint, nodeOptions }));
  await fuzz(server.endpoint, () => kv.range({ key: Buffer.from("k") }), server.log);
});

test("F22 random frames end no store that refuses clients without a certificate", async () => {
  using directory = makeDataDirectory();
  using certificates = makeCertificates();
  const { cert, key } = certificates.server;
  const flags = ["--cert-file", cert, "--key-file", key, "--trusted-ca-file", certificates.ca];
  await using server = await startStoreProcess(directory.path, flags);
  await fuzz(server.endpoint, async () => (await connectRaw(server.endpoint)).destroy(), server.log);
});

const HEALTH = `import { HealthServer } from ${JSON.stringify(new URL("../../src/status/health.ts", import.meta.url).href)};
  import { parseIp } from ${JSON.stringify(new URL("../../src/address/ip.ts", import.meta.url).href)};
  const server = await HealthServer.start({
    ip: parseIp("127.0.0.1"), port: 0, notReadyReasons: () => [], notes: () => [], reports: { "/drift": () => ({}) } });
  console.log("http://127.0.0.1:" + server.port);`;

test("F22 random frames end no health server", async () => {
  const child = spawn(process.execPath, ["--input-type=module", "-e", HEALTH], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const killNow = () => void child.kill("SIGKILL");
  process.on("exit", killNow);
  try {
    const [endpoint] = (await once(createInterface({ input: child.stdout! }), "line")) as [string];
    await fuzz(endpoint, async () => assert.equal((await fetch(`${endpoint}/healthz`)).status, 200));
  } finally {
    process.off("exit", killNow);
    killNow();
  }
});
