/**
 * Bad input to the real flanneld: what only the operator can fix ends it with a code and a message that says what to
 * do; what can pass by itself is waited out, without a restart. Never a stack trace (test/support/flanneld.ts looks
 * for one in every log), never a secret.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { freshNetns, type TestNetns } from "../netns/support.ts";
import { makeCertificates } from "../support/certificates.ts";
import { freePort, startEtcd } from "../support/etcd.ts";
import { type Exit, type FlanneldOptions, spawnFlanneld, startFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const PASSWORD = "hunter2-and-more";

/** Runs `work` on all items, three at a time: two processors are busy, and none starves. */
async function forAll<T>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const queue = [...items.entries()];
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await work(next[1], next[0]);
  };
  await Promise.all([worker(), worker(), worker()]);
}

interface Refusal {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly code: number;
  /** What the last line says. */
  readonly says: RegExp;
}

const REFUSALS: readonly Refusal[] = [
  {
    args: ["--no-such-flag"],
    code: 2,
    says: /^flanneld: unknown flag --no-such-flag; see flanneld --help\n?$/,
  },
  {
    args: ["--ifcae=eth0"],
    code: 2,
    says: /^flanneld: unknown flag --ifcae \(did you mean --iface\?\); see flanneld --help\n?$/,
  },
  { args: ["--ip-masq=maybe"], code: 2, says: /--ip-masq: "maybe" is neither true nor false/ },
  { args: ["--iface"], code: 2, says: /--iface.*needs a value|--iface: .*value/ },
  { args: ["--healthz-port=http"], code: 2, says: /--healthz-port: "http" is not a whole number/ },
  { args: ["--healthz-port=70000"], code: 1, says: /--healthz-port: 70000 is not within 0…65535/ },
  { args: ["--healthz-ip=everywhere"], code: 1, says: /--healthz-ip: "everywhere" is not an IP address/ },
  { args: ["--subnet-lease-renew-margin=0"], code: 1, says: /renew-margin: 0 is not within 1…1439/ },
  { args: ["--subnet-lease-renew-margin", "1440"], code: 1, says: /renew-margin: 1440 is not within/ },
  { args: ["--iptables-resync=0"], code: 1, says: /--iptables-resync: 0 is not within/ },
  { args: ["-v=loud"], code: 2, says: /--?v: "loud" is not a whole number/ },
  { args: ["--iface-regex=["], code: 1, says: /--iface-regex: "\[" is not a regular expression/ },
  { args: ["--iface-can-reach=there"], code: 1, says: /--iface-can-reach: "there" is not an IP address/ },
  { args: ["--public-ip=1.2.3"], code: 1, says: /--public-ip: "1\.2\.3" is not an IPv4 address/ },
  { args: ["--public-ipv6=1.2.3.4"], code: 1, says: /--public-ipv6: "1\.2\.3\.4" is not an IPv6 address/ },
  { args: ["--etcd-endpoints=ftp://x"], code: 1, says: /--etcd-endpoints: "ftp:\/\/x" is not of the form/ },
  { args: ["--etcd-endpoints="], code: 1, says: /--etcd-endpoints: is empty/ },
  { args: ["--etcd-prefix=."], code: 1, says: /--etcd-prefix: "\." names no path/ },
  { args: ["--etcd-username=u"], code: 1, says: /--etcd-username: a user name needs a password/ },
  { args: [`--etcd-password=${PASSWORD}`], code: 1, says: /--etcd-password: a password needs a user name/ },
  { args: ["--etcd-keyfile=/k"], code: 1, says: /--etcd-keyfile: a client key needs its certificate/ },
  { args: ["--etcd-certfile=/c"], code: 1, says: /--etcd-certfile: a client certificate needs its key/ },
  {
    args: ["--etcd-cafile=/none", "--etcd-endpoints=http://127.0.0.1:1"],
    code: 1,
    says: /--etcd-cafile: certificates are of no use with an http:\/\/ endpoint: write https/, // W10
  },
  {
    args: ["--etcd-cafile=/none.pem", "--etcd-endpoints=https://127.0.0.1:1"],
    code: 1,
    says: /--etcd-cafile: failed to read \/none\.pem: ENOENT/,
  },
  { args: ["--subnet-file="], code: 1, says: /--subnet-file: is empty/ },
  {
    args: ["--kube-api-url=https://h:1"],
    code: 1,
    says: /--kube-api-url: has no effect without --kube-subn/,
  },
  {
    args: ["--kube-subnet-mgr", "--datastore=etcd2"],
    code: 1,
    says: /--datastore: names another datastore, but --kube-subnet-mgr asks for Kubernetes/,
  },
  { args: ["--ip-masq", "true"], code: 1, says: /argument "true" belongs to no flag: .*--ip-masq=true/ },
  { env: { FLANNELD_HEALTHZ_PORT: "x" }, code: 2, says: /FLANNELD_HEALTHZ_PORT: "x" is not a whole number/ },
  { env: { FLANNELD_PUBLIC_IP: "x" }, code: 1, says: /FLANNELD_PUBLIC_IP: "x" is not an IPv4 address/ },
  {
    args: ["--kube-subnet-mgr"],
    env: { EVENT_QUEUE_DEPTH: "x" },
    code: 1,
    says: /EVENT_QUEUE_DEPTH: "x" is not a whole number/,
  },
];

test("an invalid flag or variable: exit code, name, and remedy", async (t) => {
  const netns = freshNetns(t);
  await forAll(REFUSALS, async ({ args = [], env = {}, code, says }) => {
    const { exit, log } = await runToEnd(t, netns, { args, env });
    assert.equal(exit.code, code, log);
    assert.match(log, says);
    assert.ok(!log.includes(PASSWORD), log);
  });
});

test("no usable external interface: reports what was tried and what the host has, exit 1", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  const cases: readonly (readonly [args: readonly string[], says: RegExp])[] = [
    [["--iface=eth9"], /Tried --iface=eth9: there is no such interface; .*|--iface=eth9/],
    [["--iface=10.9.9.9"], /--iface=10\.9\.9\.9: no interface has this address/],
    [["--iface-regex=^wlan"], /--iface-regex=\^wlan: matches no address and no name/],
    [["--iface=eth9", "--iface-regex=^wlan"], /--iface=eth9: .*; --iface-regex=\^wlan: /],
    [["--iface=lo"], /--iface=lo: lo is the loopback device, whose packets reach no other host/],
  ];
  await forAll(cases, async ([args, says]) => {
    const flanneld = startFlanneld(t, host!, { args });
    const { code } = await flanneld.exit;
    assert.equal(code, 1, flanneld.log());
    assert.match(flanneld.log(), says);
    assert.match(
      flanneld.log(),
      /no usable external interface\. .*This host has .*eth0 \(192\.168\.7\.1\/24.*Name one of them with --iface/,
    );
  });
  host!.run("ip", "route", "del", "default");
  const flanneld = startFlanneld(t, host!);
  assert.equal((await flanneld.exit).code, 1);
  assert.match(
    flanneld.log(),
    /Tried the default route: there is none for IPv4\. .*Name one of them with --iface/,
  );
});

test("a health port that is taken: exit 1 with the flag to change", async (t) => {
  const netns = freshNetns(t);
  const args = ["--etcd-endpoints=http://127.0.0.1:1", "--healthz-port=18080"];
  const first = spawnFlanneld(t, netns, { args });
  await first.logged(/Health server on port 18080/);
  const { exit, log } = await runToEnd(t, netns, { args });
  assert.equal(exit.code, 1);
  assert.match(log, /port 18080: the port is in use; choose another --healthz-port or --healthz-ip/);
});

/** Each rule of the network config, broken. */
const CONFIGS: readonly (readonly [config: string, says: RegExp])[] = [
  ["", /network config is not valid JSON/],
  ["{", /network config is not valid JSON/],
  ["[]", /network config must be a JSON object/],
  ["{}", /Network .*/],
  ['{"Network":"10.5.0.0"}', /Network/],
  ['{"Network":"10.5.0.0/29"}', /Network/],
  ['{"Network":"10.5.0.0/16","SubnetLen":31}', /SubnetLen/],
  ['{"Network":"10.5.0.0/16","SubnetLen":17}', /SubnetLen/],
  ['{"Network":"10.5.0.0/16","SubnetLen":"24"}', /SubnetLen/],
  ['{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0"}', /SubnetMin/],
  ['{"Network":"10.5.0.0/16","SubnetMax":"10.5.3.7"}', /SubnetMax/],
  ['{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.3.0"}', /SubnetMin .* lies above/],
  ['{"Network":"10.5.0.0/16","EnableIPv4":false}', /EnableIPv4 is false/],
  ['{"Network":"10.5.0.0/16","EnableIPv6":true}', /IPv6Network/],
  ['{"Network":"10.5.0.0/16","Backend":"vxlan"}', /Backend/],
  [
    '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlam"}}',
    /Backend\.Type "vxlam" is not known; use one of: vxlan/,
  ],
  ['{"Network":"10.5.0.0/16","Backend":{"Type":"geneve"}}', /"geneve" is not known; use one of: vxlan/],
  ['{"Network":"10.5.0.0/16","Backend":{"VNI":0}}', /Backend\.VNI must be a whole number from 1 to 16777215/],
  [
    '{"Network":"10.5.0.0/16","Backend":{"Port":70000}}',
    /Backend\.Port must be a whole number from 0 to 65535/,
  ],
  ['{"Network":"10.5.0.0/16","Backend":{"GBP":"yes"}}', /Backend\.GBP must be true or false, not "yes"/],
  ['{"Network":"10.5.0.0/16","Backend":{"MTU":-5}}', /Backend\.MTU must be a whole number/],
];

test("each fault of the network config is logged once, and fixed without a restart", async (t) => {
  await using etcd = await startEtcd();
  const [host] = await makeHosts(t, etcd, 1);
  for (const [index, [config]] of CONFIGS.entries()) await etcd.ctl("put", `/bad${index}/config`, config);
  await forAll(CONFIGS, async ([, says], index) => {
    const flanneld = startFlanneld(t, host!, { args: [`--etcd-prefix=/bad${index}`] });
    const line = await flanneld.logged(/No usable network config; retrying: /);
    assert.match(line, says);
    await flanneld.stop();
  });

  const flanneld = startFlanneld(t, host!, { args: ["--etcd-prefix=/later"] });
  await flanneld.logged(
    /there is no network config at etcd key \/later\/config: put one there, e\.g\. \{"Network"/,
  );
  await etcd.ctl("put", "/later/config", "{");
  await flanneld.logged(/network config is not valid JSON/);
  await etcd.ctl("put", "/later/config", '{"network":"10.5.0.0/16","backend":{"type":"VXLAN"}}');
  await flanneld.logged(/flanneld is ready/);
  assert.equal(flanneld.lines.filter((line) => line.includes("there is no network config")).length, 1);
});

test("an MTU below the minimum exits; one above the interface's is reduced to it", async (t) => {
  await using etcd = await startEtcd();
  const [host] = await makeHosts(t, etcd, 1);
  await etcd.ctl("put", "/small/config", '{"Network":"10.5.0.0/16","Backend":{"MTU":100}}');
  const small = startFlanneld(t, host!, { args: ["--etcd-prefix=/small"] });
  assert.equal((await small.exit).code, 1);
  assert.match(small.log(), /an MTU of 100 bytes leaves 50 inside VXLAN.*raise Backend\.MTU/);
  await etcd.ctl("put", "/large/config", '{"Network":"10.5.0.0/16","Backend":{"MTU":9000}}');
  const large = startFlanneld(t, host!, { args: ["--etcd-prefix=/large"] });
  await large.logged(/flanneld is ready/);
  assert.match(readFileSync(host!.subnetFile, "utf8"), /^FLANNEL_MTU=1450$/m);
});

test("waits for etcd that is down at startup", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  await etcd.kill();
  const flanneld = startFlanneld(t, host!);
  await flanneld.logged(/No usable network config; retrying: etcd at http:\/\/127\.0\.0\.1:\d+: /);
  await etcd.start();
  await flanneld.logged(/flanneld is ready/, { deadlineMs: 20_000 });
});

test("W11 a wrong password is reported without showing it, and works once it is right", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  await etcd.enableAuth("flannel", "another", PREFIX);
  const [host] = await makeHosts(t, etcd, 1);
  const anonymous = startFlanneld(t, host!);
  await anonymous.logged(/wants a user and password: give --etcd-username and --etcd-password/);
  await anonymous.stop();
  const flanneld = startFlanneld(t, host!, {
    args: ["--etcd-username=flannel", `--etcd-password=${PASSWORD}`, "-v=9"],
  });
  await flanneld.logged(
    /does not accept the password of user flannel; check --etcd-username and --etcd-password/,
  );
  const shown = execFileSync("ps", ["-ww", "-o", "args=", "-p", String(flanneld.pid)], { encoding: "utf8" });
  assert.match(shown, /^flanneld /);
  assert.ok(!shown.includes(PASSWORD), shown);
  await etcd.ctl("user", "delete", "flannel");
  await etcd.ctl("user", "add", `flannel:${PASSWORD}`);
  await etcd.ctl("user", "grant-role", "flannel", "flannel");
  await flanneld.logged(/flanneld is ready/);
  assert.ok(!flanneld.log().includes(PASSWORD), flanneld.log());
});

test("W11 a password inside an endpoint is visible neither in the log nor in ps", async (t) => {
  const netns = freshNetns(t);
  const flanneld = spawnFlanneld(t, netns, {
    args: [`--etcd-endpoints=http://flannel:${PASSWORD}@127.0.0.1:${await freePort()}`, "-v=9"],
  });
  await flanneld.logged(/connection refused/);
  const shown = execFileSync("ps", ["-ww", "-o", "args=", "-p", String(flanneld.pid)], { encoding: "utf8" });
  assert.ok(!shown.includes(PASSWORD), shown);
  assert.ok(!flanneld.log().includes(PASSWORD), flanneld.log());
});

test("W10 certificates that do not match: names the side that refuses, and the flag to check", async (t) => {
  using certificates = makeCertificates();
  await using etcd = await startEtcd({ tls: { certificates, clientCertificates: true } });
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  const { ca, client, stranger } = certificates;
  const flags = (files: { ca?: string; cert?: string; key?: string }) => ({
    args: [
      ...(files.ca === undefined ? [] : [`--etcd-cafile=${files.ca}`]),
      ...(files.cert === undefined ? [] : [`--etcd-certfile=${files.cert}`, `--etcd-keyfile=${files.key}`]),
    ],
  });
  const waiting: readonly (readonly [files: Parameters<typeof flags>[0], says: RegExp])[] = [
    [client, /certificate is not signed by an authority trusted here: give the right one with --etcd-cafile/],
    [{ ...client, ca: stranger.ca }, /not signed by an authority trusted here/],
    [{ ca }, /it wants a client certificate that it trusts: check --etcd-certfile and --etcd-keyfile/],
    [{ ...stranger, ca }, /it wants a client certificate that it trusts/],
  ];
  await forAll(waiting, async ([files, says]) => {
    const flanneld = startFlanneld(t, host!, flags(files));
    const line = await flanneld.logged(/No usable network config/);
    assert.match(line, says);
    await flanneld.stop();
  });
  const junk = join(host!.directory, "junk.pem");
  writeFileSync(junk, "junk");
  const ended: readonly (readonly [files: Parameters<typeof flags>[0], says: RegExp])[] = [
    [{ ca: junk }, /--etcd-cafile: .*junk\.pem .*PEM/],
    [{ ca, cert: client.cert, key: stranger.key }, /--etcd-certfile .* and --etcd-keyfile .* do not match/],
  ];
  await forAll(ended, async ([files, says]) => {
    const flanneld = startFlanneld(t, host!, flags(files));
    assert.equal((await flanneld.exit).code, 1, flanneld.log());
    assert.match(flanneld.log(), says);
  });
  const right = startFlanneld(t, host!, flags({ ca, ...client }));
  await right.logged(/flanneld is ready/);
});

test("a full network is reported, and the first subnet that becomes free is acquired", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, '{"Network":"10.5.0.0/22","Backend":{"Type":"vxlan"}}');
  for (const third of [1, 2, 3]) {
    const lease = `{"PublicIP":"192.168.7.10${third}","PublicIPv6":null}`;
    await etcd.ctl("put", `${PREFIX}/subnets/10.5.${third}.0-24`, lease);
  }
  const [host] = await makeHosts(t, etcd, 1);
  const flanneld = startFlanneld(t, host!);
  await flanneld.logged(
    /Failed to acquire lease; retrying: out of subnets: all \/24 from 10\.5\.1\.0 to 10\.5\.3\.0 .*enlarge the network/,
  );
  await etcd.ctl("del", `${PREFIX}/subnets/10.5.2.0-24`);
  await flanneld.logged(/flanneld is ready: 10\.5\.2\.0\/24/);
});

test("a subnet file that cannot be written is reported, and written once possible", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  // Read-only for root too: a file system of its own, in the mount namespace of this flanneld alone.
  const directory = join(host!.directory, "ro");
  mkdirSync(directory);
  const script = `mount -t tmpfs -o ro none ${directory} && exec "$@"`;
  const flanneld = startFlanneld(t, host!, {
    through: ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh"],
    args: [`--subnet-file=${directory}/subnet.env`, "--status-socket=off"],
  });
  await flanneld.logged(
    /Failed to publish the subnets; retrying: failed to write .*\/ro\/subnet\.env: .*EROFS/,
  );
  await flanneld.logged(/Acquired lease/);
  const own = (await etcd.ctl("get", "--prefix", "--keys-only", `${PREFIX}/subnets/`)).trim();
  await etcd.ctl("del", own); // the loss of the lease meanwhile does not stop the attempts to write
  await flanneld.logged(/Lost lease/);
  assert.doesNotMatch(flanneld.log(), /flanneld is ready/);
  execFileSync("nsenter", [`--mount=/proc/${flanneld.pid}/ns/mnt`, "mount", "-o", "remount,rw", directory]);
  await flanneld.logged(/Wrote .*\/ro\/subnet\.env/);
  await flanneld.logged(/flanneld is ready/);
  assert.equal(flanneld.lines.filter((line) => line.includes("EROFS")).length, 1);
});

test("without root it exits at once and names what is missing", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  const flanneld = startFlanneld(t, host!, {
    through: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"],
  });
  await flanneld.logged(/flanneld needs root or the capability CAP_NET_ADMIN/);
  assert.deepEqual(await flanneld.exit, { code: 1, signal: null });
});

test("a NOTIFY_SOCKET without a listener is reported and has no other effect", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  const flanneld = startFlanneld(t, host!, { env: { NOTIFY_SOCKET: `${host!.directory}/no-listener` } });
  await flanneld.logged(/flanneld is ready/);
  await flanneld.logged(/^[WE].*NOTIFY_SOCKET .*no-listener/);
  const { code, tookMs } = await flanneld.stop();
  assert.equal(code, 0);
  assert.ok(tookMs < 1000);
});

async function runToEnd(
  t: TestContext,
  netns: TestNetns,
  options: FlanneldOptions,
): Promise<{ exit: Exit; log: string }> {
  const flanneld = spawnFlanneld(t, netns, options);
  const exit = await flanneld.exit;
  return { exit, log: flanneld.log() };
}
