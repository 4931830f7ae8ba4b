/**
 * How the etcd stores gain access, by either API: TLS with and without client certificates, users and passwords, and what
 * they say when one of them is wrong.
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type ConfigError, hasCode, messageOf, type StoreErrorCode } from "../../src/base/error.ts";
import type { EtcdOptions } from "../../src/lease/etcd/etcd-options.ts";
import { createLeaseTable } from "../../src/lease/lease-table.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { freePort } from "../support/etcd.ts";
import { type ApiServer, ETCD_APIS, ETCD_V2, ETCD_V3, type EtcdApi } from "../support/etcd-apis.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { until } from "../support/until.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = '{"Network":"10.5.0.0/16"}';
const PASSWORD = "sehr:geheim&ß";

/** How each API's store names what is wrong. */
const MESSAGES = new Map([
  [
    ETCD_V3,
    {
      wrongPassword: /does not accept the password of user flannel/,
      otherPrefix: /user flannel may not read and write \/elsewhere\//,
    },
  ],
  [
    ETCD_V2,
    {
      wrongPassword:
        /does not let user flannel read and write \/coreos\.com\/network\/\*; check --etcd-username/,
      otherPrefix: /user flannel read and write \/elsewhere\/\*.*role grant/,
    },
  ],
]);

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

async function refused(attempt: Promise<unknown>, code: StoreErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.match(messageOf(error), message);
    assert.ok(!messageOf(error).includes(PASSWORD), messageOf(error));
    assert.ok(hasCode(error, code), messageOf(error));
    return true;
  });
}

const refusedAtOnce = (options: Partial<EtcdOptions>, message: RegExp, endpoint = "https://127.0.0.1:1") =>
  assert.throws(
    () => openEtcdStore(endpoint, options),
    (error: ConfigError) => error.code === "CONFIG" && message.test(error.message),
  );

/** Follows the network config until disposed. */
function followConfig({ store }: ReturnType<EtcdApi["open"]>) {
  const abort = new AbortController();
  const seen: (string | undefined)[] = [];
  const done = (async () => {
    for await (const text of store.watchNetworkConfig(abort.signal)) seen.push(text);
  })();
  return {
    seen,
    async [Symbol.asyncDispose]() {
      abort.abort();
      await done;
    },
  };
}

for (const api of ETCD_APIS) {
  const { name } = api;

  const read = async (endpoint: string, options?: Partial<EtcdOptions>) => {
    await using opened = api.open(endpoint, options);
    return await opened.store.readNetworkConfig();
  };

  describe(`${name} with TLS`, () => {
    let etcd: ApiServer;
    before(async () => {
      etcd = await api.start({ tls: { certificates, clientCertificates: false } });
      await etcd.put(`${PREFIX}/config`, CONFIG);
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

    it("reports that a server does not speak plain HTTP", async () => {
      const plain = etcd.endpoint.replace("https:", "http:");
      await refused(read(plain), "UNAVAILABLE", /if it serves TLS, write https:\/\//);
    });

    it("refuses a server whose certificate is for another name", async () => {
      const tls = {
        certificates: { ...certificates, server: certificates.misnamed },
        clientCertificates: false,
      };
      await using misnamed = await api.start({ tls });
      const attempt = read(misnamed.endpoint, { caFile: certificates.ca });
      await refused(attempt, "UNAUTHENTICATED", /made out to another name/);
    });
  });

  describe(`${name} with client certificates`, () => {
    let etcd: ApiServer;
    before(async () => {
      etcd = await api.start({ tls: { certificates, clientCertificates: true } });
      await etcd.put(`${PREFIX}/config`, CONFIG);
    });
    after(() => etcd[Symbol.asyncDispose]());

    it("accepts ours, for the watch too", async () => {
      const { cert, key } = certificates.client;
      const options = { caFile: certificates.ca, certFile: cert, keyFile: key };
      assert.equal(await read(etcd.endpoint, options), CONFIG);
      await using opened = api.open(etcd.endpoint, options);
      const abort = new AbortController();
      const table = createLeaseTable();
      const done = (async () => {
        for await (const update of opened.store.watchLeases(abort.signal)) table.apply(update);
      })();
      await until(async () => {
        await etcd.put(`${PREFIX}/subnets/10.5.1.0-24`, '{"PublicIP":"192.168.0.1"}');
        return table.size === 1;
      }, "a peer");
      abort.abort();
      await done;
    });

    it("reports that one is wanted, and that an untrusted one is not accepted", async () => {
      const advice = /client certificate.*--etcd-certfile and --etcd-keyfile/;
      await refused(read(etcd.endpoint, { caFile: certificates.ca }), "UNAUTHENTICATED", advice);
      const { cert, key } = certificates.stranger;
      const attempt = read(etcd.endpoint, { caFile: certificates.ca, certFile: cert, keyFile: key });
      await refused(attempt, "UNAUTHENTICATED", /client certificate/);
    });
  });

  describe(`${name} with users`, () => {
    let etcd: ApiServer;
    before(async () => {
      etcd = await api.start({ flags: ["--auth-token-ttl", "1"] });
      await etcd.put(`${PREFIX}/config`, CONFIG);
      await etcd.protect("flannel", PASSWORD, PREFIX);
    });
    after(() => etcd[Symbol.asyncDispose]());

    it("lets us in with the password: read and watch", async () => {
      await using opened = api.open(etcd.endpoint, { username: "flannel", password: PASSWORD });
      assert.equal(await opened.store.readNetworkConfig(), CONFIG);
      // etcd v3 is asked for a token first.
      assert.equal(opened.store.requestCount, api === ETCD_V3 ? 2 : 1);
      await using watch = followConfig(opened);
      await etcd.put(`${PREFIX}/config`, `${CONFIG} `);
      await until(() => watch.seen.length === 2, "the change");
      await etcd.put(`${PREFIX}/config`, CONFIG);
      assert.deepEqual(
        opened.log.map((line) => line.replace(etcd.endpoint, "ETCD")),
        ['warn Password of etcd user "flannel" is sent unencrypted to ETCD; use https://'],
      );
    });

    it("W11 a wrong password is reported, and the password logged nowhere", async () => {
      await using opened = api.open(etcd.endpoint, { username: "flannel", password: `${PASSWORD}!` });
      const attempt = opened.store.readNetworkConfig();
      await refused(attempt, "UNAUTHENTICATED", MESSAGES.get(api)!.wrongPassword);
      assert.ok(opened.log.length > 0);
      for (const line of opened.log) assert.ok(!line.includes(PASSWORD), line);
    });

    it("reports that a user is wanted", async () => {
      await refused(read(etcd.endpoint), "UNAUTHENTICATED", /wants a user and password.*--etcd-username/);
    });

    it("reports that the user may not access the prefix", async () => {
      const attempt = read(etcd.endpoint, { username: "flannel", password: PASSWORD, prefix: "/elsewhere" });
      await refused(attempt, "UNAUTHENTICATED", MESSAGES.get(api)!.otherPrefix);
    });

    it("works after a restart, which ends all sessions, also for the watch", async () => {
      await using opened = api.open(etcd.endpoint, {
        username: "flannel",
        password: PASSWORD,
        timings: { retryMinMs: 20, retryMaxMs: 100 },
      });
      await opened.store.readNetworkConfig();
      await etcd.kill();
      await etcd.start();
      assert.equal(await opened.store.readNetworkConfig(), CONFIG);
      await using watch = followConfig(opened);
      await until(() => watch.seen.length === 1, "the config");
      await etcd.kill();
      await etcd.start();
      let text = CONFIG;
      await until(async () => {
        text += " "; // etcd v2 reports no write that changes nothing
        await etcd.put(`${PREFIX}/config`, text);
        return watch.seen.at(-1) === text;
      }, "a change after the restart");
    });

    it("does without if etcd has authentication switched off", async () => {
      await using open = await api.start();
      await open.put(`${PREFIX}/config`, CONFIG);
      assert.equal(await read(open.endpoint, { username: "flannel", password: PASSWORD }), CONFIG);
    });
  });

  describe(`${name} that is down or something else`, () => {
    it("is named with the reason for each endpoint", async () => {
      const [one, two] = [await freePort(), await freePort()];
      await using opened = api.open([`http://127.0.0.1:${one}`, `http://127.0.0.1:${two}`]);
      await refused(
        opened.store.readNetworkConfig(),
        "UNAVAILABLE",
        new RegExp(
          `etcd at http://127.0.0.1:${one}: connection refused.*; http://127.0.0.1:${two}: connection refused`,
        ),
      );
    });

    it("is reported to speak no TLS", async () => {
      await using plain = await api.start();
      const attempt = read(plain.endpoint.replace("http:", "https:"));
      await refused(attempt, "UNAVAILABLE", /if it serves no TLS, write http:\/\//);
    });
  });
}

describe("TLS files", () => {
  it("that cannot be read, or are something else, are named with their flag", () => {
    const text = join(scratch, "text");
    writeFileSync(text, "hello");
    const broken = join(scratch, "broken.pem");
    writeFileSync(broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    const { cert, key } = certificates.client;
    refusedAtOnce(
      { caFile: "/nonexistent/ca.pem" },
      /--etcd-cafile: failed to read \/nonexistent\/ca\.pem: ENOENT/,
    );
    refusedAtOnce({ caFile: text }, /--etcd-cafile: .*text contains no usable certificate in PEM form/);
    refusedAtOnce({ caFile: broken }, /--etcd-cafile: .*broken\.pem contains no usable certificate/);
    refusedAtOnce({ caFile: key }, /--etcd-cafile: .* contains no usable certificate/);
    refusedAtOnce({ certFile: broken, keyFile: key }, /--etcd-certfile: .* contains no usable certificate/);
    refusedAtOnce({ certFile: cert, keyFile: "/nonexistent/key.pem" }, /--etcd-keyfile: failed to read/);
    refusedAtOnce(
      { certFile: cert, keyFile: cert },
      /--etcd-keyfile: .* contains no usable, unencrypted private key/,
    );
    refusedAtOnce({ certFile: cert, keyFile: certificates.stranger.key }, /do not match/);
    refusedAtOnce({ certFile: cert }, /go together/);
  });

  it("W10 with an http:// endpoint are refused, not ignored", () => {
    refusedAtOnce({ caFile: certificates.ca }, /not encrypted: write https/, "http://127.0.0.1:1");
  });
});
