/**
 * The whole way on the v2 API of a real etcd: config and leases there, packets between containers.
 *
 *     container ── br0 ── host 1 ══ VXLAN ══ host 2 ── br0 ── container        (test/support/underlay.ts)
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { exec } from "../../src/linux/exec.ts";
import { makeCertificates } from "../support/certificates.ts";
import { startEtcd } from "../support/etcd.ts";
import { startEtcd2 } from "../support/etcd2.ts";
import { readyFlanneld, startFlanneld } from "../support/flanneld.ts";
import { ping } from "../support/ping.ts";
import { makeContainer, makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const DATASTORE = "--datastore=etcd2";

test("two hosts on etcd v2 reach each other, and come back to their subnets", async (t) => {
  await using etcd = await startEtcd2();
  const hosts = await makeHosts(t, etcd, 2);
  const waiting = startFlanneld(t, hosts[0]!, { args: [DATASTORE] });
  await waiting.logged(/no network config at etcd \(v2\) key \/coreos\.com\/network\/config/);
  await etcd.ctl2("mk", "/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  await waiting.logged(/flanneld is ready/, { deadlineMs: 20_000 });
  await waiting.stop();

  const running = await Promise.all(hosts.map((host) => readyFlanneld(t, host, { args: [DATASTORE] })));
  const [from, to] = hosts.map((host, index) => makeContainer(t, host, running[index]!));
  await until(async () => (await ping(from!.path, to!.address, { count: 1 })) === 1, "an answer");
  assert.equal(await ping(from!.path, to!.address), 5);
  const keys = (await etcd.ctl2("ls", "/coreos.com/network/subnets")).trim().split("\n");
  assert.equal(keys.length, 2);

  await running[0]!.flanneld.stop("SIGKILL");
  const again = await readyFlanneld(t, hosts[0]!, { args: [DATASTORE] });
  assert.equal(again.subnet, running[0]!.subnet);
});

const HINT = /etcd's v3 API has no network config, but its v2 API has one/;
const USER = "flannel";
const PASSWORD = "sehr:geheim&ß";

/** How many requests of the v2 API etcd has had, by its own metrics. */
async function countV2Requests(endpoint: string): Promise<number> {
  const metrics = await (await fetch(`${endpoint}/metrics`)).text();
  return [...metrics.matchAll(/^etcd_http_received_total\{.*\} (\d+)/gm)].reduce(
    (sum, [, n]) => sum + Number(n),
    0,
  );
}

test("a config that only the v2 API has is reported once, with a command that copies it", async (t) => {
  await using etcd = await startEtcd2();
  const [host, second] = await makeHosts(t, etcd, 2);
  const key = "/atomic.io/network/config";
  await etcd.ctl2("mk", key, '{\n  "Network": "10.8.0.0/16"\n}\n');
  const args = ["--etcd-prefix=/atomic.io/network"];
  const flanneld = startFlanneld(t, host!, { args });
  const line = await flanneld.logged(HINT, { deadlineMs: 20_000 });
  assert.match(line, /\/atomic\.io\/network\/config .*start flanneld with --datastore=etcd2, on all hosts/);
  const command = line.slice(line.indexOf("ETCDCTL_API=3 etcdctl --"));
  await exec("sh", ["-c", command], { netns: host!.path });
  await flanneld.logged(/flanneld is ready/, { deadlineMs: 20_000 });
  assert.equal(await etcd.ctl("get", "--print-value-only", key), '{ "Network": "10.8.0.0/16" }\n');
  assert.equal(flanneld.lines.filter((text) => HINT.test(text)).length, 1);

  const requests = await countV2Requests(etcd.endpoint);
  assert.ok(requests > 0, "etcd counts requests of the v2 API");
  await readyFlanneld(t, second!, { args });
  assert.equal(await countV2Requests(etcd.endpoint), requests, "none where the v3 API has a config");
});

test("an etcd without the v2 API, or with nothing there, is not reported", async (t) => {
  await using plain = await startEtcd();
  await using empty = await startEtcd2();
  for (const etcd of [plain, empty]) {
    const [host] = await makeHosts(t, etcd, 1);
    const flanneld = startFlanneld(t, host!, { args: ["-v=1"] });
    await flanneld.logged(/there is no network config at etcd key/, { deadlineMs: 20_000 });
    if (etcd === plain)
      await flanneld.logged(/No look at etcd's v2 API: .*has no v2 API/, { deadlineMs: 20_000 });
    await etcd.ctl("put", "/coreos.com/network/config", '{"Network":"10.5.0.0/16"}');
    await flanneld.logged(/flanneld is ready/, { deadlineMs: 20_000 });
    assert.doesNotMatch(flanneld.log(), HINT);
    await flanneld.stop();
  }
});

test("the v2 API is read with the same certificates, user and password; the log shows no secret", async (t) => {
  using certificates = makeCertificates();
  await using etcd = await startEtcd2({ tls: { certificates, clientCertificates: true } });
  const [host] = await makeHosts(t, etcd, 1);
  const psk = "0123456789abcdef0123456789abcdef";
  await etcd.ctl2(
    "mk",
    "/coreos.com/network/config",
    `{"Network":"10.5.0.0/16","Backend":{"Type":"ipsec","PSK":"${psk}"}}`,
  );
  await etcd.enableAuth2(USER, PASSWORD, "/coreos.com/network");
  await etcd.enableAuth(USER, PASSWORD, "/coreos.com/network");
  const files = [
    `--etcd-cafile=${certificates.ca}`,
    `--etcd-certfile=${certificates.client.cert}`,
    `--etcd-keyfile=${certificates.client.key}`,
  ];
  const flanneld = startFlanneld(t, host!, {
    args: [...files, `--etcd-username=${USER}`],
    env: { FLANNELD_ETCD_PASSWORD: PASSWORD },
  });
  const line = await flanneld.logged(HINT, { deadlineMs: 20_000 });
  assert.match(
    line,
    /--cacert=\S+ --cert=\S+ --key=\S+ --user=flannel put \/coreos\.com\/network\/config < FILE/,
  );
  assert.ok(!flanneld.log().includes(psk) && !flanneld.log().includes(PASSWORD));
});
