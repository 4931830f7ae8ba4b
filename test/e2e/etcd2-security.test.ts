/**
 * The v2 store's ways in: TLS with and without client certificates, users and passwords; and what it says when one of
 * them is wrong, or when what answers is no etcd with the v2 API.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { after, before, describe, it } from "node:test";
import { hasCode, messageOf, type StoreErrorCode } from "../../src/base/error.ts";
import type { EtcdOptions } from "../../src/lease/etcd/etcd-options.ts";
import { createLeaseTable } from "../../src/lease/lease-table.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { freePort, startEtcd } from "../support/etcd.ts";
import { openEtcd2Store } from "../support/etcd-store.ts";
import { type Etcd2Server, startEtcd2 } from "../support/etcd2.ts";
import { until } from "../support/until.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = '{"Network":"10.5.0.0/16"}';
const PASSWORD = "sehr:geheim&ß";

let certificates: Certificates;
before(() => {
  certificates = makeCertificates();
});
after(() => certificates[Symbol.dispose]());

const read = async (endpoint: string, options?: Partial<EtcdOptions>) => {
  await using opened = openEtcd2Store(endpoint, options);
  return await opened.store.readNetworkConfig();
};

async function refused(attempt: Promise<unknown>, code: StoreErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.match(messageOf(error), message);
    assert.ok(!messageOf(error).includes(PASSWORD), messageOf(error));
    assert.ok(hasCode(error, code), messageOf(error));
    return true;
  });
}

describe("etcd v2 with TLS", () => {
  let etcd: Etcd2Server;
  before(async () => {
    etcd = await startEtcd2({ tls: { certificates, clientCertificates: false } });
    await etcd.ctl2("set", `${PREFIX}/config`, CONFIG);
  });
  after(() => etcd[Symbol.asyncDispose]());

  it("W10 a CA file alone gives a verified connection", async () => {
    assert.equal(await read(etcd.endpoint, { caFile: certificates.ca }), CONFIG);
  });

  it("W10 a server that the CA did not sign is refused", async () => {
    const wrong = read(etcd.endpoint, { caFile: certificates.stranger.ca });
    await refused(wrong, "UNAUTHENTICATED", /not signed by an authority trusted here.*--etcd-cafile/);
    await refused(read(etcd.endpoint), "UNAUTHENTICATED", /not signed by an authority trusted here/);
  });

  it("says that a server does not speak plain HTTP", async () => {
    await refused(
      read(etcd.endpoint.replace("https:", "http:")),
      "UNAVAILABLE",
      /if it serves TLS, write https:\/\//,
    );
  });

  it("refuses a server whose certificate is for another name", async () => {
    const tls = {
      certificates: { ...certificates, server: certificates.misnamed },
      clientCertificates: false,
    };
    await using misnamed = await startEtcd2({ tls });
    const attempt = read(misnamed.endpoint, { caFile: certificates.ca });
    await refused(attempt, "UNAUTHENTICATED", /made out to another name/);
  });
});

describe("etcd v2 with client certificates", () => {
  let etcd: Etcd2Server;
  before(async () => {
    etcd = await startEtcd2({ tls: { certificates, clientCertificates: true } });
    await etcd.ctl2("set", `${PREFIX}/config`, CONFIG);
  });
  after(() => etcd[Symbol.asyncDispose]());

  it("takes ours, for the watch too", async () => {
    const { cert, key } = certificates.client;
    const options = { caFile: certificates.ca, certFile: cert, keyFile: key };
    assert.equal(await read(etcd.endpoint, options), CONFIG);
    await using opened = openEtcd2Store(etcd.endpoint, options);
    const abort = new AbortController();
    const table = createLeaseTable();
    const done = (async () => {
      for await (const update of opened.store.watchLeases(abort.signal)) table.apply(update);
    })();
    await until(async () => {
      await etcd.ctl2("set", `${PREFIX}/subnets/10.5.1.0-24`, '{"PublicIP":"192.168.0.1"}');
      return table.size === 1;
    }, "a peer");
    abort.abort();
    await done;
  });

  it("says that one is wanted, and that another's is not trusted", async () => {
    const advice = /client certificate.*--etcd-certfile and --etcd-keyfile/;
    await refused(read(etcd.endpoint, { caFile: certificates.ca }), "UNAUTHENTICATED", advice);
    const { cert, key } = certificates.stranger;
    const attempt = read(etcd.endpoint, { caFile: certificates.ca, certFile: cert, keyFile: key });
    await refused(attempt, "UNAUTHENTICATED", /client certificate/);
  });
});

describe("etcd v2 with users", () => {
  let etcd: Etcd2Server;
  before(async () => {
    etcd = await startEtcd2();
    await etcd.ctl2("set", `${PREFIX}/config`, CONFIG);
    await etcd.enableAuth2("flannel", PASSWORD, PREFIX);
  });
  after(() => etcd[Symbol.asyncDispose]());

  it("lets us in with the password: read, write and watch", async () => {
    await using opened = openEtcd2Store(etcd.endpoint, { username: "flannel", password: PASSWORD });
    assert.equal(await opened.store.readNetworkConfig(), CONFIG);
    const abort = new AbortController();
    const seen: (string | undefined)[] = [];
    const done = (async () => {
      for await (const text of opened.store.watchNetworkConfig(abort.signal)) seen.push(text);
    })();
    await etcd.ctl2("set", `${PREFIX}/config`, `${CONFIG} `);
    await until(() => seen.length === 2, "the change");
    abort.abort();
    await done;
    assert.deepEqual(
      opened.log.map((line) => line.replace(etcd.endpoint, "ETCD")),
      ["warn the password of etcd user flannel goes unencrypted to ETCD"],
    );
  });

  it("W11 a wrong password is said, and said nowhere", async () => {
    await using opened = openEtcd2Store(etcd.endpoint, { username: "flannel", password: `${PASSWORD}!` });
    const advice =
      /does not let user flannel read and write \/coreos\.com\/network\/\*; check --etcd-username/;
    await refused(opened.store.readNetworkConfig(), "UNAUTHENTICATED", advice);
    for (const line of opened.log) assert.ok(!line.includes(PASSWORD), line);
  });

  it("says that a user is wanted, and that this one may not", async () => {
    await refused(read(etcd.endpoint), "UNAUTHENTICATED", /wants a user and password.*--etcd-username/);
    const attempt = read(etcd.endpoint, { username: "flannel", password: PASSWORD, prefix: "/elsewhere" });
    await refused(attempt, "UNAUTHENTICATED", /user flannel read and write \/elsewhere\/\*.*role grant/);
  });

  it("does without if etcd has authentication switched off", async () => {
    await using open = await startEtcd2();
    await open.ctl2("set", `${PREFIX}/config`, CONFIG);
    assert.equal(await read(open.endpoint, { username: "flannel", password: PASSWORD }), CONFIG);
  });
});

describe("what is no etcd with the v2 API", () => {
  /** Runs `use` with the address of a web server that answers so. */
  async function withServer(answer: RequestListener, use: (url: string) => Promise<void>): Promise<void> {
    const server = createServer(answer).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    try {
      await use(`http://127.0.0.1:${typeof address === "object" ? address?.port : address}`);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  it("an etcd without it: says how to get on", async () => {
    await using etcd = await startEtcd();
    await refused(
      read(etcd.endpoint),
      "UNAVAILABLE",
      /no v2 API: start it with --enable-v2=true, or use --datastore=etcd3/,
    );
  });

  it("nothing there: each endpoint is named with the reason", async () => {
    const [one, two] = [await freePort(), await freePort()];
    await using opened = openEtcd2Store([`http://127.0.0.1:${one}`, `http://127.0.0.1:${two}`]);
    await refused(
      opened.store.readNetworkConfig(),
      "UNAVAILABLE",
      new RegExp(
        `etcd at http://127.0.0.1:${one}: connection refused.*; http://127.0.0.1:${two}: connection refused`,
      ),
    );
  });

  it("no TLS where https:// is written", async () => {
    await using plain = await startEtcd2();
    await refused(
      read(plain.endpoint.replace("http:", "https:")),
      "UNAVAILABLE",
      /if it serves no TLS, write http:\/\//,
    );
  });

  it("another web server", async () => {
    const page: RequestListener = (_, response) => response.end("<html>It works!</html>");
    await withServer(page, (url) =>
      refused(read(url), "INVALID", /none of etcd's v2 API: is the address right/),
    );
    const json: RequestListener = (_, response) =>
      response.end('{"action":"get","node":{"key":"/","modifiedIndex":1,"createdIndex":1}}');
    await withServer(json, (url) => refused(read(url), "INVALID", /none of etcd's v2 API/));
    const elsewhere: RequestListener = (_, response) => response.writeHead(307, { location: "/" }).end();
    await withServer(elsewhere, (url) => refused(read(url), "INVALID", /HTTP 307/));
    const ill: RequestListener = (_, response) =>
      response.writeHead(500).end('{"message":"Internal Server Error"}');
    await withServer(ill, (url) => refused(read(url), "UNAVAILABLE", /HTTP 500/));
  });

  it("an answer that has no end, or stops in the middle", async () => {
    const endless: RequestListener = (_, response) => {
      const block = Buffer.alloc(1 << 20, " ");
      const more = () => {
        while (!response.destroyed && response.write(block));
      };
      response.on("drain", more);
      more();
    };
    await withServer(endless, (url) => refused(read(url), "INVALID", /longer than 64 MiB/));
    const half: RequestListener = (_, response) => void response.write('{"action":');
    await withServer(half, (url) =>
      refused(read(url, { timings: { requestTimeoutMs: 100 } }), "UNAVAILABLE", /did not answer in time/),
    );
    const broken: RequestListener = (_, response) => void response.write("{", () => response.destroy());
    await withServer(broken, (url) => refused(read(url), "UNAVAILABLE", /the connection broke/));
  });
});
