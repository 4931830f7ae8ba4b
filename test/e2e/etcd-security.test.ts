/**
 * The etcd store's ways in: TLS with and without client certificates, users and passwords, and what it says when one of
 * them is wrong.
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type ConfigError, hasCode, messageOf, type StoreErrorCode } from "../../src/base/error.ts";
import type { EtcdOptions } from "../../src/lease/etcd/etcd-options.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { type EtcdServer, freePort, startEtcd } from "../support/etcd.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { until } from "../support/until.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = '{"Network":"10.5.0.0/16"}';
const PASSWORD = "sehr-geheim";

let certificates: Certificates;
let scratch: string;
before(() => {
  certificates = makeCertificates();
  scratch = mkdtempSync(join(tmpdir(), `flannel-security-${process.pid}-`));
});
after(() => {
  certificates[Symbol.dispose]();
  rmSync(scratch, { recursive: true, force: true });
});

const read = async (endpoint: string, options?: Partial<EtcdOptions>) => {
  await using opened = openEtcdStore(endpoint, options);
  return await opened.store.readNetworkConfig();
};

async function refused(attempt: Promise<unknown>, code: StoreErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.match(messageOf(error), message);
    assert.doesNotMatch(messageOf(error), new RegExp(PASSWORD));
    assert.ok(hasCode(error, code), messageOf(error));
    return true;
  });
}

const refusedAtOnce = (options: Partial<EtcdOptions>, message: RegExp, endpoint = "https://127.0.0.1:1") =>
  assert.throws(
    () => openEtcdStore(endpoint, options),
    (error: ConfigError) => error.code === "CONFIG" && message.test(error.message),
  );

describe("etcd with TLS", () => {
  let etcd: EtcdServer;
  before(async () => {
    etcd = await startEtcd({ tls: { certificates, clientCertificates: false } });
    await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  });
  after(() => etcd[Symbol.asyncDispose]());

  it("W10 a CA file alone gives a verified connection", async () => {
    assert.equal(await read(etcd.endpoint, { caFile: certificates.ca }), CONFIG);
  });

  it("W10 a server that the CA did not sign is refused", async () => {
    const wrong = read(etcd.endpoint, { caFile: certificates.stranger.ca });
    await refused(wrong, "UNAUTHENTICATED", /not signed by an authority trusted here.*--etcd-cafile/);
  });

  it("W10 without a CA file the system's authorities count, which do not know this one", async () => {
    await refused(read(etcd.endpoint), "UNAUTHENTICATED", /not signed by an authority trusted here/);
  });

  it("says that a server does not speak plain HTTP", async () => {
    const plain = etcd.endpoint.replace("https:", "http:");
    await refused(read(plain), "UNAVAILABLE", /if it serves TLS, write https:\/\//);
  });

  it("refuses a server whose certificate is for another name", async () => {
    const tls = {
      certificates: { ...certificates, server: certificates.misnamed },
      clientCertificates: false,
    };
    await using misnamed = await startEtcd({ tls });
    const attempt = read(misnamed.endpoint, { caFile: certificates.ca });
    await refused(attempt, "UNAUTHENTICATED", /made out to another name/);
  });
});

describe("etcd with client certificates", () => {
  let etcd: EtcdServer;
  before(async () => {
    etcd = await startEtcd({ tls: { certificates, clientCertificates: true } });
    await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  });
  after(() => etcd[Symbol.asyncDispose]());

  it("takes ours", async () => {
    const { cert, key } = certificates.client;
    assert.equal(
      await read(etcd.endpoint, { caFile: certificates.ca, certFile: cert, keyFile: key }),
      CONFIG,
    );
  });

  it("says that one is wanted", async () => {
    const attempt = read(etcd.endpoint, { caFile: certificates.ca });
    await refused(attempt, "UNAUTHENTICATED", /client certificate.*--etcd-certfile and --etcd-keyfile/);
  });

  it("says that ours is not trusted", async () => {
    const { cert, key } = certificates.stranger;
    const attempt = read(etcd.endpoint, { caFile: certificates.ca, certFile: cert, keyFile: key });
    await refused(attempt, "UNAUTHENTICATED", /client certificate/);
  });
});

describe("TLS files", () => {
  it("that cannot be read, or are something else, are named with their flag", () => {
    const text = join(scratch, "text");
    writeFileSync(text, "hello");
    const broken = join(scratch, "broken.pem");
    writeFileSync(broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    const { cert, key } = certificates.client;
    refusedAtOnce(
      { caFile: "/nonexistent/ca.pem" },
      /--etcd-cafile: cannot read \/nonexistent\/ca\.pem: ENOENT/,
    );
    refusedAtOnce({ caFile: text }, /--etcd-cafile: .*text holds no usable certificate in PEM form/);
    refusedAtOnce({ caFile: broken }, /--etcd-cafile: .*broken\.pem holds no usable certificate/);
    refusedAtOnce({ caFile: key }, /--etcd-cafile: .* holds no usable certificate/);
    refusedAtOnce({ certFile: broken, keyFile: key }, /--etcd-certfile: .* holds no usable certificate/);
    refusedAtOnce({ certFile: cert, keyFile: "/nonexistent/key.pem" }, /--etcd-keyfile: cannot read/);
    refusedAtOnce(
      { certFile: cert, keyFile: cert },
      /--etcd-keyfile: .* holds no usable, unencrypted private key/,
    );
    refusedAtOnce({ certFile: cert, keyFile: certificates.stranger.key }, /do not belong together/);
    refusedAtOnce({ certFile: cert }, /go together/);
  });

  it("W10 with an http:// endpoint are refused, not ignored", () => {
    refusedAtOnce({ caFile: certificates.ca }, /not encrypted: write https/, "http://127.0.0.1:1");
  });
});

describe("etcd with users", () => {
  let etcd: EtcdServer;
  before(async () => {
    etcd = await startEtcd({ flags: ["--auth-token-ttl", "1"] });
    await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
    await etcd.enableAuth("flannel", PASSWORD, PREFIX);
  });
  after(() => etcd[Symbol.asyncDispose]());

  it("lets us in with the password, in one more request", async () => {
    await using opened = openEtcdStore(etcd.endpoint, { username: "flannel", password: PASSWORD });
    assert.equal(await opened.store.readNetworkConfig(), CONFIG);
    assert.equal(opened.store.requestCount, 2);
  });

  it("W11 a wrong password is said, and said nowhere", async () => {
    await using opened = openEtcdStore(etcd.endpoint, { username: "flannel", password: `${PASSWORD}!` });
    const attempt = opened.store.readNetworkConfig();
    await refused(attempt, "UNAUTHENTICATED", /does not accept the password of user flannel/);
    assert.ok(opened.log.length > 0);
    for (const line of opened.log) assert.doesNotMatch(line, new RegExp(PASSWORD));
  });

  it("says that a user is wanted", async () => {
    await refused(read(etcd.endpoint), "UNAUTHENTICATED", /wants a user and password.*--etcd-username/);
  });

  it("says that the user may not touch the prefix", async () => {
    const attempt = read(etcd.endpoint, { username: "flannel", password: PASSWORD, prefix: "/elsewhere" });
    await refused(attempt, "UNAUTHENTICATED", /user flannel may not read and write \/elsewhere\//);
  });

  it("authenticates again when its session has expired, also for the watch", async () => {
    await using opened = openEtcdStore(etcd.endpoint, {
      username: "flannel",
      password: PASSWORD,
      timings: { retryMinMs: 20, retryMaxMs: 100 },
    });
    await opened.store.readNetworkConfig();
    // A restart takes all tokens away.
    await etcd.kill();
    await etcd.start();
    assert.equal(await opened.store.readNetworkConfig(), CONFIG);
    const abort = new AbortController();
    const seen: (string | undefined)[] = [];
    const done = (async () => {
      for await (const text of opened.store.watchNetworkConfig(abort.signal)) seen.push(text);
    })();
    await until(() => seen.length === 1, "the config");
    await etcd.kill();
    await etcd.start();
    await until(async () => {
      await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
      return seen.length > 1;
    }, "a change after the restart");
    abort.abort();
    await done;
  });

  it("does without if etcd has authentication switched off", async () => {
    await using open = await startEtcd();
    await open.ctl("put", `${PREFIX}/config`, CONFIG);
    assert.equal(await read(open.endpoint, { username: "flannel", password: PASSWORD }), CONFIG);
  });
});

describe("etcd that is not there", () => {
  it("is named with the reason for each endpoint", async () => {
    const [one, two] = [await freePort(), await freePort()];
    await using opened = openEtcdStore([`http://127.0.0.1:${one}`, `http://127.0.0.1:${two}`]);
    await refused(
      opened.store.readNetworkConfig(),
      "UNAVAILABLE",
      new RegExp(
        `etcd at http://127.0.0.1:${one}: connection refused.*; http://127.0.0.1:${two}: connection refused`,
      ),
    );
  });

  it("is said to speak something else", async () => {
    await using plain = await startEtcd();
    const attempt = read(plain.endpoint.replace("http:", "https:"));
    await refused(attempt, "UNAVAILABLE", /if it serves no TLS, write http:\/\//);
  });
});
