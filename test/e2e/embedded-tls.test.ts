/** The embedded store with TLS: which clients are accepted, on which protocol. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { get } from "node:https";
import { json } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { type Certificates, type KeyPair, makeCertificates } from "../support/certificates.ts";
import { makeDataDirectory, type StoreProcess, startStoreProcess } from "../support/embedded.ts";
import { openEtcdStore } from "../support/etcd-store.ts";

const directory = makeDataDirectory();
let certificates: Certificates;
let server: StoreProcess;
before(async () => {
  certificates = makeCertificates();
  const { server: own, ca } = certificates;
  const flags = ["--cert-file", own.cert, "--key-file", own.key, "--trusted-ca-file", ca];
  server = await startStoreProcess(directory.path, flags);
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  certificates?.[Symbol.dispose]();
  directory[Symbol.dispose]();
});

test("flanneld's client is accepted with a certificate of the authority, and not without", async () => {
  const read = async (files: { certFile?: string; keyFile?: string; caFile?: string }) => {
    await using opened = openEtcdStore(server.endpoint, files);
    return await opened.store.readNetworkConfig();
  };
  const { ca, client, stranger } = certificates;
  await assert.rejects(read({ caFile: ca, certFile: client.cert, keyFile: client.key }), {
    code: "NOT_FOUND",
  });
  await assert.rejects(read({ caFile: ca }), { code: "UNAUTHENTICATED" });
  const strange = { caFile: ca, certFile: stranger.cert, keyFile: stranger.key };
  await assert.rejects(read(strange), { code: "UNAUTHENTICATED" });
  await assert.rejects(read({ caFile: stranger.ca, certFile: client.cert, keyFile: client.key }), {
    code: "UNAUTHENTICATED",
  });
  await using plain = openEtcdStore(server.endpoint.replace("https:", "http:"));
  await assert.rejects(plain.store.readNetworkConfig(), { code: "UNAVAILABLE" });
});

test("etcdctl is accepted with a certificate", async () => {
  let endpoint = new URL(server.endpoint).host;
  const ctl = async (...args: string[]) => {
    const { ca, client } = certificates;
    const flags = ["--cacert", ca, "--cert", client.cert, "--key", client.key];
    const environment = { ...process.env, ETCDCTL_API: "3" };
    const run = promisify(execFile);
    return (await run("etcdctl", ["--endpoints", endpoint, ...flags, ...args], { env: environment })).stdout;
  };
  assert.equal(await ctl("put", "a", "1"), "OK\n");
  assert.equal(await ctl("get", "a"), "a\n1\n");
  assert.match(await ctl("endpoint", "status"), /flannel-embedded/);
  assert.match(await ctl("member", "list"), /https:\/\//);
  endpoint = server.endpoint; // F14: :authority is the whole URL
  assert.match(await ctl("endpoint", "status"), /flannel-embedded/);
});

test("health over HTTP/1.1, with a certificate too", async () => {
  const health = (pair: KeyPair | undefined) =>
    new Promise((resolve, reject) => {
      const files = pair && { cert: readFileSync(pair.cert), key: readFileSync(pair.key) };
      const options = { ca: readFileSync(certificates.ca), agent: false, ...files };
      get(`${server.endpoint}/health`, options, (response) => resolve(json(response))).on("error", reject);
    });
  assert.deepEqual(await health(certificates.client), { health: "true" });
  const refusal = { error: "this server requires a trusted client certificate" };
  assert.deepEqual(await health(undefined), refusal);
  assert.deepEqual(await health(certificates.stranger), refusal);
});

test("missing and mismatched files are reported with flag and name", async () => {
  const { server: own, client, ca } = certificates;
  const refused = async (flags: string[], message: RegExp) => {
    using other = makeDataDirectory();
    await assert.rejects(startStoreProcess(other.path, flags), message);
  };
  await refused(["--cert-file", own.cert], /--cert-file and --key-file go together/);
  await refused(["--trusted-ca-file", ca], /--trusted-ca-file requires TLS; give --cert-file and --key-file/);
  await refused(
    ["--cert-file", "/nowhere.pem", "--key-file", own.key],
    /--cert-file: failed to read \/nowhere.pem/,
  );
  await refused(["--cert-file", own.cert, "--key-file", client.key], /do not match/);
  await refused(["--listen", "127.0.0.1"], /--listen: "127.0.0.1" is not ADDRESS:PORT/);
  await refused(["--listen", "192.0.2.1:0"], /failed to listen on 192.0.2.1 port 0/);
});
