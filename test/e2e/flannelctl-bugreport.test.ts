/** `flannelctl bugreport` on a host with a running flanneld and secrets in every place that it reads. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { spawnFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";

const SECRET = "hunter2hunter2";

test("a bug report has everything but the secrets, and only root reads it", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl(
    "put",
    "/coreos.com/network/config",
    `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","PSK":"${SECRET}0"}}`,
  );
  await etcd.ctl(
    "put",
    "/coreos.com/network/subnets/10.5.77.0-24",
    `{"PublicIP":"192.168.7.77","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"1e:2a:60:53:0c:5d","Token":"${SECRET}1"}}`,
  );
  const [host] = await makeHosts(t, etcd, 1);
  const keyFile = join(host!.directory, "wgkey");
  writeFileSync(keyFile, `${SECRET}2\n`);
  const flanneld = spawnFlanneld(t, host!, {
    args: [`--subnet-file=${host!.subnetFile}`],
    env: {
      FLANNELD_ETCD_ENDPOINTS: host!.etcdEndpoint.replace("//", `//admin:${SECRET}3@`),
      ...{ WIREGUARD_KEY_FILE: keyFile, SOME_API_TOKEN: `${SECRET}4` },
    },
  });
  const socket = join(host!.directory, "flanneld.sock");
  await flanneld.logged(/Status server on .*sock/);
  await flanneld.logged(/flanneld is ready/);
  host!.run("nft", "add", "table", "inet", "notes");
  host!.run("nft", "add", "chain", "inet", "notes", "c", `{ comment "${SECRET}4 password=${SECRET}5" ; }`);
  writeFileSync(
    join(host!.directory, "recorder"),
    [
      `{"psk":"${SECRET}6"}`,
      `-----BEGIN PRIVATE KEY-----\n${SECRET}7\n-----END PRIVATE KEY-----`,
      `Authorization: Bearer ${SECRET}8`,
      `the value of the key file: ${SECRET}2`,
    ].join("\n"),
  );

  const archive = join(host!.directory, "report.tar.gz");
  const { code, out, err } = await flannelctl(host!, ["bugreport", "--output", archive, "--socket", socket]);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /MANIFEST lists them/);
  assert.equal(statSync(archive).mode & 0o777, 0o600);
  const all = execFileSync("tar", ["-xzOf", archive], { encoding: "utf8" });
  assert.ok(!all.includes(SECRET), all.slice(all.indexOf(SECRET) - 300, all.indexOf(SECRET) + 100));
  assert.ok(!execFileSync("tar", ["-tzf", archive], { encoding: "utf8" }).includes(SECRET));

  const manifest = execFileSync("tar", ["-xzOf", archive, "--wildcards", "*/MANIFEST"], { encoding: "utf8" });
  const listed = execFileSync("tar", ["-tzf", archive], { encoding: "utf8" }).trim().split("\n");
  for (const path of [
    ...["versions/flannel.txt", "config/flags.txt", "config/network-config.json", "config/leases.json"],
    ...["config/subnet.env", "flanneld/status.json", "flanneld/routes.json", "flanneld/plan.json"],
    ...[
      "flanneld/metrics.txt",
      "flanneld/recorder",
      "flanneld/recorder-last-run",
      "kernel/links.json",
      "kernel/routes.json",
      "rules/nft.txt",
    ],
  ]) {
    assert.match(manifest, new RegExp(`^${path} {2}\\d+ bytes`, "m"));
    assert.ok(
      listed.some((each) => each.endsWith(`/${path}`)),
      path,
    );
  }
  assert.match(all, /"VtepMAC":\s*"1e:2a:60:53:0c:5d"/, "what is no secret is there");
  assert.match(all, /FLANNEL_SUBNET=10\.5\./);
  const recording = join(host!.directory, "from-report");
  writeFileSync(recording, execFileSync("tar", ["-xzOf", archive, "--wildcards", "*/flanneld/recorder"]));
  const replayed = await flannelctl(host!, ["replay", recording]);
  assert.equal(replayed.code, 0, replayed.err);
  assert.match(replayed.out, /^planning again gave the recorded desired states$/m);
  const again = await flannelctl(host!, ["bugreport", "--output", archive, "--socket", socket]);
  assert.equal(again.code, 1);
  assert.match(again.err, /report\.tar\.gz: .*; choose another name with --output$/m);

  await flanneld.stop();
  const after = join(host!.directory, "after.tar.gz");
  assert.equal((await flannelctl(host!, ["bugreport", "--output", after, "--socket", socket])).code, 0);
  const rest = execFileSync("tar", ["-xzOf", after], { encoding: "utf8" });
  assert.match(rest, /flanneld\/status\.json {2}missing: no flanneld answers/);
  assert.ok(!rest.includes(`${SECRET}5`) && !rest.includes(`${SECRET}7`));
});
