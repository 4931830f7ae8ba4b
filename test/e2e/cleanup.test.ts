/** `flannelctl cleanup` on hosts that flanneld has run on, and on one that holds what Go flannel leaves behind. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { freshNetns, type TestNetns } from "../netns/support.ts";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const CONFIG_KEY = "/coreos.com/network/config";
/** Private, so that tests of other files do not wait for this one. */
const LOCK = { XTABLES_LOCKFILE: `/tmp/flannel-cleanup-${process.pid}.lock` };
process.once("exit", () => rmSync(LOCK.XTABLES_LOCKFILE, { force: true }));
/** A key file that does not exist: not that of this machine. */
const ENVIRONMENT = { ...LOCK, WIREGUARD_KEY_FILE: `/tmp/flannel-cleanup-${process.pid}.wgkey` };

/** Everything that flannel could have left its marks in. */
function dump(host: TestNetns): string {
  const shell = (script: string): string => host.run("sh", "-c", script);
  return [
    shell(
      "ip -o -d link; ip -o address; ip -N route show table all; ip -6 -N route show table all; ip neigh; ip xfrm policy",
    ),
    shell("nft -s list ruleset; iptables-legacy-save; ip6tables-legacy-save"),
  ]
    .join("\n")
    .split("\n")
    .filter((line) => !/^#|REACHABLE|STALE|DELAY|PROBE|FAILED|INCOMPLETE|fe80:|ff00:/.test(line))
    .map((line) => line.replace(/\[\d+:\d+\]|expires \d+sec|(?:qlen|promiscuity|allmulti) \d+/g, "").trim())
    .sort()
    .join("\n");
}

function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), `flannel-cleanup-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

for (const enableNftables of [false, true]) {
  const mode = enableNftables ? "nftables" : "iptables";
  test(`W44 W35 ${mode}: removes everything that flanneld created and nothing else; refuses while flanneld runs`, async (t) => {
    await using etcd = await startEtcd();
    const config = { Network: "10.5.0.0/16", EnableNFTables: enableNftables, Backend: { Type: "vxlan" } };
    await etcd.ctl("put", CONFIG_KEY, JSON.stringify(config));
    const [host, other] = await makeHosts(t, etcd, 2);
    // The tables of iptables-nft stay when the last rule goes: they are not flannel's.
    host!.run(
      "sh",
      "-c",
      "iptables-nft -t nat -A POSTROUTING -s 10.99.0.0/16 -j RETURN; iptables-nft -A FORWARD -s 10.99.0.0/16 -j DROP",
    );
    const before = dump(host!);
    const { flanneld } = await readyFlanneld(t, host!, { args: ["--ip-masq"] });
    await readyFlanneld(t, other!);
    await until(() => host!.run("ip", "route").includes("dev flannel.1"), "the peer's route");
    host!.run("nft", "add table inet flannel-policy; add set inet flannel-policy cut { typeof ct id; }");
    const full = dump(host!);
    const cleanup = (...args: string[]) =>
      flannelctl(host!, ["cleanup", `--subnet-file=${host!.subnetFile}`, ...args], ENVIRONMENT);

    const refused = await cleanup();
    assert.equal(refused.code, 1);
    assert.match(
      refused.err,
      new RegExp(`flanneld is running here \\(pid ${flanneld.pid}\\).*stop it first.*--force`),
    );
    const planned = await cleanup("--dry-run");
    assert.equal(planned.code, 0, planned.err);
    const asJson = await cleanup("--dry-run", "-o", "json");
    const report = JSON.parse(asJson.out);
    assert.deepEqual([asJson.code, asJson.err, report.dryRun, report.problems], [0, "", true, []]);
    assert.deepEqual(
      report.removed.map((text: string) => `would remove ${text}`).sort(),
      planned.out
        .split("\n")
        .filter((line) => line.startsWith("would remove"))
        .sort(),
    );
    const wrongFormat = await cleanup("--force", "-o", "xml");
    assert.deepEqual([wrongFormat.code, wrongFormat.out], [1, ""]);
    assert.equal(dump(host!), full, "none of them changed anything");

    await flanneld.stop("SIGKILL");
    const done = await cleanup();
    assert.equal(done.code, 0, done.err);
    assert.equal(
      done.out.replaceAll("removed ", ""),
      planned.out
        .replaceAll("would remove ", "")
        .replace(
          /would be removed\./,
          "removed. The lease in the datastore stays until it expires or is released.",
        ),
    );
    for (const part of [
      /^removed device flannel\.1 vxlan id 1 /m,
      /^removed route 10\.5\.\d+\.0\/24 via /m,
      /^removed fdb /m,
      /^removed neighbour /m,
      /^removed address 10\.5\.\d+\.0\/32 dev flannel\.1$/m,
      /^removed nftables: table inet flannel-policy \(network policies\)$/m,
      /^removed file .*subnet\.env$/m,
      enableNftables
        ? /^removed nftables: nftables table ip flannel-ipv4$/m
        : /^removed iptables-nft: filter chain FLANNEL-FWD$/m,
    ]) {
      assert.match(done.out, part);
    }
    assert.equal(dump(host!), before);
    assert.ok(!existsSync(host!.subnetFile));
    assert.match(
      await etcd.ctl("get", "--prefix", "/coreos.com/network/subnets/"),
      /192\.168\.7\.1"/,
      "the lease stays",
    );

    const again = await cleanup();
    assert.deepEqual([again.code, again.out], [0, "This host has nothing of flannel's.\n"]);
  });
}

test("W44 removes what Go flannel leaves, with every backend; similar foreign objects stay", async (t) => {
  const host = freshNetns(t, "go");
  const directory = temporaryDirectory(t);
  const shell = (script: string): string =>
    host.run("sh", "-c", `set -e; export XTABLES_LOCKFILE=${LOCK.XTABLES_LOCKFILE}; ${script}`);
  shell(`
    ip link add eth0 type veth peer name far; ip link set eth0 up; ip link set far up
    ip address add 192.168.7.1/24 dev eth0; ip -6 address add fd07::1/64 dev eth0 nodad
    ip link add flannel.9 type bridge; ip link add flannel-wg-v6 type bridge
    ip route add 10.77.0.0/24 via 192.168.7.7
    ip route add 10.5.128.0/20 via 192.168.7.7
    ip route add 10.5.9.0/24 via 192.168.7.9 proto static
    for t in iptables-nft iptables-legacy; do $t -t nat -A POSTROUTING -s 10.99.0.0/16 -j RETURN; $t -A FORWARD -s 10.99.0.0/16 -j DROP; done
    ip xfrm policy add src 10.5.1.0/24 dst 10.5.8.0/24 dir out tmpl src 192.168.7.1 dst 192.168.7.8 proto esp reqid 7 mode tunnel
    ip xfrm policy add src 172.16.0.0/16 dst 10.5.8.0/24 dir out tmpl src 192.168.7.1 dst 192.168.7.8 proto esp reqid 11 mode tunnel
    nft add table inet theirs`);
  const before = dump(host);
  shell(`
    ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.7.1 dstport 8472 nolearning
    ip link add flannel-v6.1 type vxlan id 1 dev eth0 local fd07::1 dstport 8472 nolearning
    ip link set flannel.1 up; ip link set flannel-v6.1 up
    ip address add 10.5.1.0/32 dev flannel.1
    ip neigh add 10.5.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent
    bridge fdb add 02:00:00:00:00:02 dev flannel.1 dst 192.168.7.2 self permanent
    ip route add 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink
    ip route add 10.5.6.0/24 dev flannel.1 metric 7
    ip tuntap add flannel0 mode tun; ip link set flannel0 up; ip route add 10.6.0.0/16 dev flannel0
    ip tuntap add flannel-wg mode tun
    ip route add 10.5.3.0/24 via 192.168.7.3
    ip route add 10.5.4.0/24 via 192.168.7.4 proto 70
    ip route add 10.5.4.0/24 via 192.168.7.4 proto 70 metric 9
    ip route add 10.5.4.0/24 via 192.168.7.4 proto 70 table 99
    ip route add blackhole 10.5.1.0/24 proto 70
    ip -6 route add fd05:4::/64 via fd07::4 proto 70
    ip xfrm policy add src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd tmpl src 192.168.7.2 dst 192.168.7.1 proto esp reqid 11 mode tunnel
    for t in iptables-nft iptables-legacy ip6tables-legacy; do
      $t -t nat -N FLANNEL-POSTRTG; $t -t nat -A FLANNEL-POSTRTG -m comment --comment "flanneld masq" -j MASQUERADE
      $t -t nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
      $t -N FLANNEL-FWD; $t -A FLANNEL-FWD -m comment --comment "flanneld forward" -j ACCEPT
      $t -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
    done
    nft 'table ip flannel-ipv4 { chain postrtg { type nat hook postrouting priority srcnat; masquerade; }; }'
    nft add table ip6 flannel-ipv6`);
  const subnetFile = join(directory, "subnet.env");
  writeFileSync(
    subnetFile,
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
  );

  const keyFile = join(directory, "wgkey");
  writeFileSync(keyFile, Buffer.alloc(32, 8).toString("base64"), { mode: 0o400 });
  const environment = { ...LOCK, WIREGUARD_KEY_FILE: keyFile };
  const { code, out, err } = await flannelctl(host, ["cleanup", `--subnet-file=${subnetFile}`], environment);
  assert.equal(code, 0, `${out}${err}`);
  assert.ok(!existsSync(keyFile));
  // What the legacy tables were filled with stays as empty tables of the kernel's own.
  const rest = (text: string): string =>
    text
      .split("\n")
      .filter((line) => !/^(?:[*:]|COMMIT)/.test(line))
      .join("\n");
  assert.equal(rest(dump(host)), rest(before), out);
  assert.match(out, /^left alone: flannel\.9 \(bridge\)/m);
  assert.match(out, /^left alone: flannel-wg-v6 \(bridge\)/m);
  for (const line of [
    "removed device flannel0 (tun)",
    "removed device flannel-wg (tun)",
    "removed route 10.5.3.0/24 via 192.168.7.3 dev eth0",
    "removed route 10.5.4.0/24 via 192.168.7.4 dev eth0 metric 9",
    "removed route 10.5.4.0/24 via 192.168.7.4 dev eth0 table 99",
    "removed xfrm policy src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd tmpl src 192.168.7.2 dst 192.168.7.1 proto esp mode tunnel",
    "removed iptables-legacy: filter chain FLANNEL-FWD",
    "removed ip6tables-legacy: nat chain FLANNEL-POSTRTG",
    `removed file ${subnetFile}`,
    `removed file ${keyFile}, this host's private WireGuard key; the next start of flanneld creates another`,
  ]) {
    assert.ok(out.split("\n").includes(line), `${line} is not in:\n${out}`);
  }
});

test("a file that is no subnet.env, or no key, is left alone", async (t) => {
  const host = freshNetns(t, "file");
  const path = join(temporaryDirectory(t), "passwd");
  writeFileSync(path, "root:x:0:0\n");
  const environment = { ...LOCK, WIREGUARD_KEY_FILE: path };
  const { code, out } = await flannelctl(host, ["cleanup", "--subnet-file", path], environment);
  assert.equal(code, 0);
  assert.match(out, /left alone: .*passwd, which does not contain a WireGuard key/);
  assert.match(out, /left alone: .*passwd, which is not a subnet\.env/);
  assert.ok(existsSync(path));
});

test("objects that cannot be removed are named, everything else is removed, and the exit code is 1", async (t) => {
  const host = freshNetns(t, "owner");
  host.run("ip", "link", "add", "flannel.1", "type", "vxlan", "id", "1", "dstport", "8472");
  // Only the process that made a table with this flag can change it (nft(8)).
  const owner = spawn("nsenter", [`--net=${host.path}`, "nft", "-i"], {
    stdio: ["pipe", "ignore", "inherit"],
  });
  t.after(() => owner.kill("SIGKILL"));
  owner.stdin.write("add table ip flannel-ipv4 { flags owner; }\n");
  await until(() => host.run("nft", "list", "tables").includes("flannel-ipv4"), "the table");
  const { code, out, err } = await flannelctl(
    host,
    ["cleanup", "--subnet-file=/nonexistent/subnet.env"],
    ENVIRONMENT,
  );
  assert.equal(code, 1);
  assert.match(out, /^removed device flannel\.1 vxlan/m);
  assert.match(err, /nftables: nft failed, nothing was changed.*It said: .*Operation not permitted/s);
  assert.match(err, /Not everything was removed/);
});
