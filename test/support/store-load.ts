/** Load on an embedded store: clients that send much or read nothing, and a probe that measures what others notice of it. */

import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { KV } from "../../src/etcd-api/rpc_pb.ts";
import { makeDataDirectory, type StoreProcess, startStoreProcess } from "./embedded.ts";
import { grpcMessage } from "./raw-http2.ts";

export const ALL = { key: Buffer.of(0), rangeEnd: Buffer.of(0) };
export const encode = <D extends DescMessage>(schema: D, fields: MessageInitShape<D>) =>
  grpcMessage(toBinary(schema, create(schema, fields)));

/** A store with 10 MB of keys, watched by a probe. */
export async function startFilled(t: {
  after: (run: () => unknown) => void;
  diagnostic: (text: string) => void;
}) {
  const directory = makeDataDirectory();
  const server = await startStoreProcess(directory.path);
  t.after(async () => {
    await server[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });
  const kv = createClient(KV, createGrpcTransport({ baseUrl: server.endpoint }));
  for (let index = 0; index < 100; index++)
    await kv.put({ key: Buffer.from(`k${index}`), value: Buffer.alloc(100_000) });
  return { server, kv };
}

const residentMb = ({ pid }: StoreProcess) =>
  (Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1024) / 1e6;

/** Probes until disposed; the largest growth of memory and the slowest probe since the start. */
export function observe(server: StoreProcess, kv: Client<typeof KV>) {
  const startMb = residentMb(server);
  const worst = { growthMb: 0, probeMs: 0, healthMs: 0 };
  let isOver = false;
  const time = async (probe: () => Promise<unknown>) => {
    const startedMs = performance.now();
    await probe();
    return performance.now() - startedMs;
  };
  const running = (async () => {
    while (!isOver) {
      worst.probeMs = Math.max(worst.probeMs, await time(() => kv.range({ key: Buffer.from("probe") })));
      worst.healthMs = Math.max(
        worst.healthMs,
        await time(() => fetch(`${server.endpoint}/health`).then((r) => r.text())),
      );
      worst.growthMb = Math.max(worst.growthMb, residentMb(server) - startMb);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return async (t: { diagnostic: (text: string) => void }) => {
    for (let count = 0; count < 20; count++) await new Promise((resolve) => setTimeout(resolve, 50));
    isOver = true;
    await running;
    const { growthMb, probeMs, healthMs } = worst;
    t.diagnostic(
      `${growthMb.toFixed(0)} MB more, slowest probe ${probeMs.toFixed(0)} ms, /health ${healthMs.toFixed(0)} ms`,
    );
    return worst;
  };
}

type Status = string;

/** Starts a request that sends `bytes` and leaves the stream open; resolves with the status if it is answered. */
export function request(
  session: ClientHttp2Session,
  path: string,
  bytes: Uint8Array,
  options: { end: boolean; read: boolean },
) {
  const headers = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
  const stream = session.request(headers);
  let status: Status | undefined;
  const note = (received: Record<string, unknown>) => {
    if (received["grpc-status"] !== undefined) status = String(received["grpc-status"]);
  };
  stream
    .on("error", () => {})
    .on("response", note)
    .on("trailers", note);
  if (options.read) stream.resume();
  if (options.end) stream.end(bytes);
  else stream.write(bytes);
  return { stream, status: () => status };
}

/** Sessions with windows so large that the server's budgets are what limits; nothing is read beyond them. */
export const openSessions = (server: { readonly endpoint: string }, count: number) =>
  Array.from({ length: count }, () => {
    const session = connectHttp2(server.endpoint, { maxSessionMemory: 2000 });
    session.setMaxListeners(0);
    return session.on("error", () => {});
  });
