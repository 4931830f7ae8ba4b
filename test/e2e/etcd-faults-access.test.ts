/** A host's access to etcd over time: user sessions expire, certificates are replaced on disk. */

import assert from "node:assert/strict";
import { copyFileSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { makeCertificates } from "../support/certificates.ts";
import { startEtcd } from "../support/etcd.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { attributesOf, NETWORK_TEXT, startLeaseHost } from "../support/lease-host.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { until } from "../support/until.ts";

const CONFIG_KEY = "/coreos.com/network/config";
const SUBNETS = "/coreos.com/network/subnets";
const PASSWORD = "sehr-geheim";
const USER = { username: "flannel", password: PASSWORD };
const QUICK = { retryMinMs: 20, retryMaxMs: 200 };

describe("sessions of etcd's users", () => {
  const TTL_SECONDS = 1;
  /** etcd checks every second for tokens that were unused for their TTL. */
  const expired = async () => {
    const sinceMs = performance.now();
    await until(() => performance.now() - sinceMs > (TTL_SECONDS + 1.5) * 1000, "all tokens to expire");
  };

  it("are renewed when they have expired, once for many requests; the watch is not interrupted", async () => {
    await using etcd = await startEtcd({ flags: ["--auth-token-ttl", `${TTL_SECONDS}`] });
    await etcd.ctl("put", CONFIG_KEY, NETWORK_TEXT);
    await etcd.enableAuth("flannel", PASSWORD, "/coreos.com/network");
    let requestCount = () => 0;
    await using host = await startLeaseHost(1, (logger) => {
      const { store } = openEtcdStore(etcd.endpoint, { ...USER, timings: QUICK }, logger);
      requestCount = () => store.requestCount;
      return store;
    });
    await until(() => host.table.size === 1, "the own lease");
    const cost = async (run: () => Promise<unknown>) => {
      const before = requestCount();
      await run();
      return requestCount() - before;
    };
    const read = () => host.store.readNetworkConfig();
    assert.equal(await cost(read), 1, "while the token is fresh");
    await expired();
    assert.equal(await cost(read), 3, "refused, authenticated, done");
    await expired();
    const many = 10;
    assert.equal(await cost(() => Promise.all(Array.from({ length: many }, read))), 2 * many + 1);
    await expired();
    await host.store.renew(host.keeper.own!, attributesOf(1));
    await etcd.ctl("put", `${SUBNETS}/10.5.177.0-24`, '{"PublicIP":"192.168.0.77","PublicIPv6":null}');
    await until(() => host.table.get("10.5.177.0-24") !== undefined, "a peer");
    assert.deepEqual(
      host.log.filter((line) => !line.startsWith("info")),
      [`warn Password of etcd user "flannel" is sent unencrypted to ${etcd.endpoint}; use https://`],
    );
  });

  it("a revoked role is reported and retried, and needs no restart once it is granted again", async () => {
    await using etcd = await startEtcd();
    await etcd.ctl("put", CONFIG_KEY, NETWORK_TEXT);
    await etcd.enableAuth("flannel", PASSWORD, "/coreos.com/network");
    await using line = await startTcpProxy(Number(new URL(etcd.endpoint).port));
    await using host = await startLeaseHost(
      1,
      (logger) => openEtcdStore(`http://127.0.0.1:${line.port}`, { ...USER, timings: QUICK }, logger).store,
    );
    await etcd.ctl("user", "revoke-role", "flannel", "flannel");
    await line.cut();
    await line.restore();
    await until(
      () =>
        host.log.some((text) =>
          /^error Watch on the leases in etcd lost for \d+ s; retrying: .*(refuses|may not)/.test(text),
        ),
      "the refusal to be logged",
    );
    assert.ok(host.log.every((text) => !text.includes(PASSWORD)));
    await etcd.ctl("user", "grant-role", "flannel", "flannel");
    await etcd.ctl("put", `${SUBNETS}/10.5.177.0-24`, '{"PublicIP":"192.168.0.77","PublicIPv6":null}');
    await until(() => host.table.get("10.5.177.0-24") !== undefined, "a peer");
  });
});

describe("TLS files", () => {
  it("that are being replaced are reported once; the previous ones are used until they are complete", async () => {
    using inUse = makeCertificates();
    using next = makeCertificates();
    await using etcd = await startEtcd({ tls: { certificates: inUse, clientCertificates: true } });
    await etcd.ctl("put", CONFIG_KEY, NETWORK_TEXT);
    await using line = await startTcpProxy(Number(new URL(etcd.endpoint).port));
    const files = { caFile: inUse.ca, certFile: inUse.stranger.cert, keyFile: inUse.stranger.key };
    copyFileSync(inUse.client.cert, files.certFile);
    copyFileSync(inUse.client.key, files.keyFile);
    await using host = await startLeaseHost(
      1,
      (logger) => openEtcdStore(`https://127.0.0.1:${line.port}`, { ...files, timings: QUICK }, logger).store,
    );
    const reconnects = async () => {
      const peer = `10.5.${100 + host.table.size}.0-24`;
      await line.cut();
      await etcd.ctl("put", `${SUBNETS}/${peer}`, '{"PublicIP":"192.168.0.77","PublicIPv6":null}');
      await line.restore();
      await until(() => host.table.get(peer) !== undefined, "a peer through a new connection");
    };
    const complaints = () => host.log.filter((text) => /Failed to reload TLS files/.test(text));

    copyFileSync(next.client.cert, files.certFile);
    await reconnects();
    await reconnects();
    assert.equal(complaints().length, 1, complaints().join("\n"));
    assert.match(
      complaints()[0]!,
      /^warn Failed to reload TLS files; using the previous ones: --etcd-certfile .* and --etcd-keyfile .* do not match$/,
    );
    writeFileSync(files.certFile, "");
    await reconnects();
    assert.match(complaints()[1]!, /--etcd-certfile: .* contains no usable certificate in PEM form$/);

    // Complete again, but of another authority: rejected, which shows that they are used.
    copyFileSync(next.client.cert, files.certFile);
    copyFileSync(next.client.key, files.keyFile);
    await line.cut();
    await line.restore();
    await until(
      () =>
        host.log.some((text) => /^error Watch on the leases.* client certificate that it trusts/.test(text)),
      "the new certificate to be refused",
    );
    copyFileSync(inUse.client.cert, files.certFile);
    copyFileSync(inUse.client.key, files.keyFile);
    await reconnects();
    assert.equal(complaints().length, 2);
    assert.deepEqual(host.keys.length, 1);
  });
});
