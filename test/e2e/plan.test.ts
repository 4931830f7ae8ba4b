/** `flannelctl plan`: what it announces is what flanneld then does, and it does nothing itself. */

import assert from "node:assert/strict";
import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const CONFIG_KEY = "/coreos.com/network/config";
const NOTHING = 0;
const CHANGES = 3;

async function bed(
  t: TestContext,
  config?: object,
): Promise<{ etcd: EtcdServer; host: TestHost; peer: TestHost }> {
  const etcd = await startEtcd();
  t.after(() => etcd[Symbol.asyncDispose]());
  if (config !== undefined) await etcd.ctl("put", CONFIG_KEY, JSON.stringify(config));
  const [host, peer] = await makeHosts(t, etcd, 2);
  return { etcd, host: host!, peer: peer! };
}

const VXLAN = { Network: "10.5.0.0/16", EnableNFTables: true, Backend: { Type: "vxlan" } };

/** A mount namespace with a read-only /proc/sys. */
const CONTAINER = [
  ...["unshare", "--mount", "sh", "-c"],
  ...['mount -o bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"', "sh"],
];

const plan = (host: TestHost, ...args: string[]) =>
  flannelctl(host, [
    "plan",
    `--etcd-endpoints=${host.etcdEndpoint}`,
    `--subnet-file=${host.subnetFile}`,
    ...args,
  ]);

/** The lines that announce a change. */
const changesIn = (out: string): string[] =>
  out.split("\n").filter((line) => /^(?:create|replace|remove|firewall) /.test(line));

const stateOf = (host: TestHost): string =>
  host.run(
    "sh",
    "-c",
    "ip -o link | sed 's/state [A-Z]*//'; ip -N route; ip neigh show nud permanent; nft -s list ruleset",
  );

test("on a fresh host: the device, the lease that it would acquire, the rules; nothing is changed", async (t) => {
  const { etcd, host } = await bed(t, VXLAN);
  const before = stateOf(host);
  const { code, out, err } = await plan(host, "--ip-masq");
  assert.equal(code, CHANGES, err);
  assert.match(out, /^interface eth0: 192\.168\.7\.1, MTU 1500$/m);
  assert.match(
    out,
    /^lease +10\.5\.1\.0\/24, not leased: flanneld would acquire one of the first free subnets, such as this$/m,
  );
  assert.match(
    out,
    /^create +device flannel\.1 vxlan id 1 dev eth0 local 192\.168\.7\.1 port 8472 mtu 1450 address \(random\)$/m,
  );
  assert.match(out, /^create +address 10\.5\.1\.0\/32 dev flannel\.1$/m);
  assert.match(out, /^firewall +nftables table ip flannel-ipv4 \(missing\)$/m);
  assert.match(out, /^\d+ changes\. Nothing was changed\.$/m);
  const asJson = await plan(host, "--ip-masq", "-o", "json");
  assert.equal(asJson.code, CHANGES, asJson.err);
  const { interface: external, changes, firewall, inSync } = JSON.parse(asJson.out);
  assert.deepEqual([external, inSync], ["eth0: 192.168.7.1, MTU 1500", false]);
  assert.equal(changes.length + firewall.length, changesIn(out).length);
  assert.deepEqual(changes[0].action, "create");
  assert.match(changes[0].text, /^device flannel\.1 vxlan id 1 .* address \(random\)$/);
  assert.equal(stateOf(host), before);
  assert.equal(await etcd.ctl("get", "--prefix", "/coreos.com/network/subnets/"), "");
});

test("flanneld makes exactly the planned changes; afterwards nothing is left to do", async (t) => {
  const { host, peer } = await bed(t, VXLAN);
  await readyFlanneld(t, peer);
  const { flanneld } = await readyFlanneld(t, host, { args: ["--ip-masq"] });
  await until(() => host.run("ip", "route").includes("dev flannel.1"), "the peer's route");
  const settled = await plan(host, "--ip-masq");
  assert.equal(settled.code, NOTHING, settled.out + settled.err);
  assert.match(settled.out, /^lease +10\.5\.\d+\.0\/24, leased by this host$/m);
  assert.match(settled.out, /^Nothing to do: this host is in sync\.$/m);

  await flanneld.stop("SIGKILL");
  const route = /^10\.5\.\S+ via \S+ dev flannel\.1/m.exec(host.run("ip", "route"))![0].split(" ");
  host.run("ip", "route", "del", route[0]!);
  host.run(
    "ip",
    "route",
    "add",
    "10.5.250.0/24",
    "via",
    "10.5.250.0",
    "dev",
    "flannel.1",
    "onlink",
    "proto",
    "70",
  );
  host.run("ip", "link", "set", "flannel.1", "mtu", "1400");
  host.run("nft", "flush", "ruleset");
  const damaged = await plan(host, "--ip-masq");
  assert.equal(damaged.code, CHANGES);
  const changes = changesIn(damaged.out);
  assert.match(changes[0]!, /^replace +device flannel\.1 .* mtu 1450 .*; now device flannel\.1 .* mtu 1400 /);
  assert.deepEqual(changes.slice(1), [
    `create    route ${route[0]} via ${route[2]} dev flannel.1 onlink`,
    "remove    route 10.5.250.0/24 via 10.5.250.0 dev flannel.1 onlink",
    "firewall  nftables table ip flannel-ipv4 (missing)",
  ]);

  await readyFlanneld(t, host, { args: ["--ip-masq"] });
  assert.equal((await plan(host, "--ip-masq")).code, NOTHING);
  const other = await plan(host);
  assert.deepEqual(changesIn(other.out), ["firewall  nftables table ip flannel-ipv4 (other rules)"]);
});

test("settings that cannot be set in a container are reported, and are no change", async (t) => {
  const { host } = await bed(t, VXLAN);
  const sysctl = "sysctl net.ipv6.conf.flannel.1.accept_ra=0";
  const free = await plan(host);
  assert.ok(free.out.includes(`\ncreate    ${sysctl}\n`), free.out);
  const flags = [`--etcd-endpoints=${host.etcdEndpoint}`, `--subnet-file=${host.subnetFile}`];
  const contained = await flannelctl(host, ["plan", ...flags], {}, CONTAINER);
  assert.deepEqual(
    changesIn(contained.out),
    changesIn(free.out).filter((line) => !line.includes(sysctl)),
  );
  assert.ok(contained.err.includes(`not changed: ${sysctl} (/proc/sys is read-only here)\n`), contained.err);
});

test("another config can be tried from a file; without the store peers are not compared", async (t) => {
  const { etcd, host, peer } = await bed(t, VXLAN);
  await readyFlanneld(t, peer);
  await readyFlanneld(t, host);
  await until(() => host.run("ip", "route").includes("dev flannel.1"), "the peer's route");
  const before = stateOf(host);
  const file = join(host.directory, "net-conf.json");
  writeFileSync(
    file,
    JSON.stringify({ ...VXLAN, EnableNFTables: false, Backend: { Type: "vxlan", Port: 4789 } }),
  );

  const tried = await plan(host, "--config", file);
  assert.equal(tried.code, CHANGES, tried.err);
  const changes = changesIn(tried.out);
  assert.match(
    changes[0]!,
    /^replace +device flannel\.1 .* port 4789 .*; now device flannel\.1 .* port 8472 /,
  );
  assert.ok(
    changes.some((line) => /^create +route 10\.5\./.test(line)),
    "created again with the device",
  );
  assert.ok(changes.includes("firewall  filter chain FLANNEL-FWD (missing)"));
  assert.ok(changes.includes("firewall  remove nftables table ip flannel-ipv4"));

  await etcd.kill();
  const alone = await plan(host, "--config", file, "--etcd-endpoints=http://127.0.0.1:1");
  assert.equal(alone.code, CHANGES, alone.err);
  assert.match(alone.err, /Failed to read the leases; peers are not compared/);
  assert.match(alone.out, /^lease +10\.5\.\d+\.0\/24, not leased now: .*previous run$/m);
  assert.ok(!changesIn(alone.out).some((line) => /^remove /.test(line)));
  assert.equal(stateOf(host), before);
});

test("wireguard: keys are named, the key file is not created, and no secret is printed", async (t) => {
  const { etcd, host } = await bed(t);
  const psk = Buffer.alloc(32, 9).toString("base64");
  const peerKey = Buffer.alloc(32, 2).toString("base64");
  const config = { ...VXLAN, Backend: { Type: "wireguard", PSK: psk } };
  await etcd.ctl("put", CONFIG_KEY, JSON.stringify(config));
  const lease = {
    ...{ PublicIP: "192.168.7.2", BackendType: "wireguard" },
    BackendData: { PublicKey: peerKey, Port: 51820 },
  };
  await etcd.ctl("put", "/coreos.com/network/subnets/10.5.9.0-24", JSON.stringify(lease));
  const keyFile = join(host.directory, "wgkey");
  const args = ["plan", `--etcd-endpoints=${host.etcdEndpoint}`, `--subnet-file=${host.subnetFile}`];
  const planWithKey = () => flannelctl(host, args, { WIREGUARD_KEY_FILE: keyFile });

  const fresh = await planWithKey();
  assert.equal(fresh.code, CHANGES, fresh.err);
  assert.deepEqual(
    changesIn(fresh.out).filter((line) => line.includes("wireguard ") && !line.includes("device")),
    [
      "create    wireguard flannel-wg public key (new) listen port 51820",
      changesIn(fresh.out).find((line) => line.includes("wireguard peer")),
      `create    allowed-ip 10.5.9.0/24 of wireguard peer ${peerKey} dev flannel-wg`,
    ],
  );
  assert.match(fresh.out, /^create {4}device flannel-wg (?:wireguard|tun) mtu 1420$/m);
  assert.match(
    fresh.out,
    /^create {4}wireguard peer \S+ endpoint 192\.168\.7\.2:51820 dev flannel-wg preshared key sha256:[0-9a-f]{16}$/m,
  );
  assert.ok(!existsSync(keyFile), "the key file is not created");

  // RFC 7748 §6.1: Alice's keys.
  const privateKey = Buffer.from("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", "hex");
  const publicKey = Buffer.from("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", "hex");
  writeFileSync(keyFile, privateKey.toString("base64"), { mode: 0o400 });
  const known = await planWithKey();
  assert.ok(known.out.includes(`public key ${publicKey.toString("base64")} listen port`), known.out);
  for (const { out, err } of [fresh, known]) {
    for (const secret of [psk, privateKey.toString("base64")]) assert.ok(!`${out}${err}`.includes(secret));
  }

  chmodSync(keyFile, 0o444);
  const readable = await planWithKey();
  assert.equal(readable.code, 1);
  assert.match(readable.err, /the WireGuard key file \S+ can be read by others \(mode 0444\): 'chmod 0400 /);
});

test("beside a flanneld that runs WireGuard itself nothing is left to do", async (t) => {
  const { host } = await bed(t, {
    ...VXLAN,
    Backend: { Type: "wireguard", Implementation: "userspace" },
  });
  const keyFile = { WIREGUARD_KEY_FILE: join(host.directory, "wgkey") };
  await readyFlanneld(t, host, { env: keyFile });
  const args = ["plan", `--etcd-endpoints=${host.etcdEndpoint}`, `--subnet-file=${host.subnetFile}`];
  const { code, out, err } = await flannelctl(host, args, keyFile);
  assert.match(out, /^Nothing to do: this host is in sync\.$/m, out + err);
  assert.equal(code, NOTHING);
  assert.match(err, /^.*not compared: keys and peers of flannel-wg, which flanneld has itself/m);
});

test("blocking conditions are reported", async (t) => {
  const { host } = await bed(t);
  const none = await plan(host);
  assert.deepEqual([none.code, none.out], [1, ""]);
  assert.match(
    none.err,
    /there is no network config at etcd key \/coreos\.com\/network\/config: write one, or try one with --config FILE/,
  );

  const file = join(host.directory, "net-conf.json");
  writeFileSync(file, '{"Network":"10.5.0.0/33"}');
  const bad = await plan(host, `--config=${file}`);
  assert.equal(bad.code, 1);
  assert.match(bad.err, /Network/);

  writeFileSync(file, JSON.stringify(VXLAN));
  host.run("ip", "link", "add", "flannel.1", "type", "bridge");
  const blocked = await plan(host, `--config=${file}`);
  assert.equal(blocked.code, CHANGES);
  assert.match(blocked.err, /device flannel\.1 exists and is not flannel's \(it is a bridge device\)/);

  assert.equal((await plan(host, "--iface=eth7", `--config=${file}`)).code, 1);
  assert.equal((await plan(host, "surplus")).code, 2);
});
