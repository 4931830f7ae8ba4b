/** Foreign changes while flanneld runs are repaired, and recorded: in the log, and at /drift. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { startEtcd } from "../support/etcd.ts";
import { askHealth, readyFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const CONFIG_KEY = "/coreos.com/network/config";
const PORT = 8471;

test("W19 W32 a deleted route and a flushed ruleset are repaired, and the ledger has both and their cause", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl(
    "put",
    CONFIG_KEY,
    '{"Network":"10.5.0.0/16","EnableNFTables":true,"Backend":{"Type":"vxlan"}}',
  );
  const [host, peer] = await makeHosts(t, etcd, 2);
  await readyFlanneld(t, peer!);
  const { flanneld } = await readyFlanneld(t, host!, { args: ["--ip-masq", `--healthz-port=${PORT}`] });
  await until(() => host!.run("ip", "route").includes("dev flannel.1"), "the peer's route");
  const drift = async () => JSON.parse((await askHealth(host!, PORT, "/drift"))!.body);
  assert.deepEqual(await drift(), { counts: {}, entries: [] });

  const route = /^(10\.5\.\S+) via \S+ dev flannel\.1/m.exec(host!.run("ip", "route"))![1]!;
  host!.run("ip", "route", "del", route);
  host!.run("nft", "flush", "ruleset");
  await until(async () => Object.keys((await drift()).counts).length === 2, "two entries");
  const { counts, entries } = await drift();
  assert.deepEqual(counts, { route: 1, firewall: 1 });
  const [first, second] = entries;
  assert.match(first.what, new RegExp(`^route ${route} via \\S+ dev flannel\\.1 onlink \\(missing\\)$`));
  assert.match(first.by, /^(?:ip|a process that has ended.*) \(pid \d+(?:, probably)?\)$/);
  assert.equal(second.what, "nftables table ip flannel-ipv4 (missing)");
  assert.match(second.by, /^nft \(pid \d+\)$/);
  for (const { at, tookMs } of entries) {
    assert.ok(Math.abs(Date.parse(at) - Date.now()) < 60_000, at);
    assert.ok(tookMs >= 0 && tookMs < 5_000, `${tookMs} ms`);
  }
  assert.ok(host!.run("ip", "route").includes(route));
  assert.match(host!.run("nft", "list", "ruleset"), /masquerade/);
  assert.match(
    await flanneld.logged(/Repaired drift in /),
    /Repaired drift in [\d.]+ ms: route .* \(missing\); changed by .*\(pid \d+(?:, probably)?\)$/,
  );

  host!.run("ip", "link", "delete", "flannel.1");
  await until(async () => (await drift()).counts.link === 1, "the deleted device is noted");
  const device = (await drift()).entries.find(({ kind }: { kind: string }) => kind === "link");
  assert.match(device.what, /^device flannel\.1 .* \(missing\)$/);

  const fromPeer = `exec 3<>/dev/tcp/${host!.address}/${PORT} && printf 'GET /drift HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3`;
  assert.match(peer!.run("bash", "-c", fromPeer), /^HTTP\/1\.1 403 /);
});
