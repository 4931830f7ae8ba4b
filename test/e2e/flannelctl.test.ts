/**
 * flannelctl's commands against a datastore, run as an operator runs them, on a real etcd; hosts are lease stores as
 * flanneld has them. Each test has a key prefix of its own.
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import type { OwnLease } from "../../src/lease/lease.ts";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { TestProcess } from "../support/process.ts";
import { FLANNELCTL } from "../support/programs.ts";
import { until } from "../support/until.ts";
import { acquireAs } from "../support/vxlan-host.ts";

const CONFIG = '{\n  "Network": "10.5.0.0/16",\n  "Backend": {"Type": "vxlan"}\n}\n';

const directory = mkdtempSync(join(tmpdir(), `flannelctl-${process.pid}-`));
let etcd: EtcdServer;
before(async () => {
  etcd = await startEtcd();
});
after(async () => {
  await etcd?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A cluster of its own on the common etcd. */
class Cluster {
  readonly prefix: string;
  constructor(t: TestContext) {
    this.prefix = `/${t.name.replace(/\W+/g, "-")}`;
  }

  get env(): Record<string, string> {
    return { FLANNELD_ETCD_ENDPOINTS: etcd.endpoint, FLANNELD_ETCD_PREFIX: this.prefix };
  }

  ctl(args: readonly string[], input = ""): Promise<Outcome> {
    return run(args, this.env, input);
  }

  async good(args: readonly string[], input?: string): Promise<string> {
    const { code, out, err } = await this.ctl(args, input);
    assert.equal(code, 0, `${args.join(" ")}: ${out}${err}`);
    return out;
  }

  async bad(args: readonly string[], input?: string): Promise<string> {
    const { code, out, err } = await this.ctl(args, input);
    assert.equal(code, 1, `${args.join(" ")}: ${out}${err}`);
    return err;
  }

  /** What a host with this public IP gets. */
  async join(publicIp: string): Promise<OwnLease> {
    await using host = openEtcdStore(etcd.endpoint, { prefix: this.prefix });
    return await acquireAs(host.store, publicIp);
  }

  put(key: string, value: string, ...flags: string[]): Promise<string> {
    return etcd.ctl("put", ...flags, "--", `${this.prefix}/${key}`, value);
  }

  async value(key: string): Promise<string> {
    return (await etcd.ctl("get", "--print-value-only", `${this.prefix}/${key}`)).trimEnd();
  }
}

function run(args: readonly string[], env: Record<string, string>, input: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env.PATH, ...env }, timeout: 30_000 };
    const child = execFile(FLANNELCTL, args, options, (error, out, err) => {
      assert.doesNotMatch(err, /^\s+at |node:internal/m, "a stack trace");
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
    child.stdin!.on("error", () => {}); // it did not want to read
    child.stdin!.end(input);
  });
}

const subnetOf = ({ key }: OwnLease): string => key.replace("-", "/");

test("config: written only if valid, read back unchanged, and with defaults", async (t) => {
  const cluster = new Cluster(t);
  assert.match(await cluster.bad(["config", "get"]), /no network config at etcd key .*config set FILE/);
  const file = join(directory, "net.json");
  writeFileSync(file, `\ufeff${CONFIG}`);
  assert.match(await cluster.good(["config", "set", file]), /is set: 10\.5\.0\.0\/16 in 255 subnets of \/24/);
  assert.equal(await cluster.good(["config", "get"]), CONFIG);
  assert.deepEqual(JSON.parse(await cluster.good(["config", "get", "--json"])), {
    EnableIPv4: true,
    EnableIPv6: false,
    Network: "10.5.0.0/16",
    SubnetLen: 24,
    SubnetMin: "10.5.1.0",
    SubnetMax: "10.5.255.0",
    EnableNFTables: false,
    Backend: { Type: "vxlan" },
  });
  const faulty = '{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0","SubnetLen":40,"Backend":{"VNI":0}}';
  const faults = await cluster.bad(["config", "set", "-"], faulty);
  assert.match(faults, /SubnetLen 40 .*\n.*Backend\.VNI .*\n.*nothing was written/);
  assert.equal(await cluster.good(["config", "get"]), CONFIG);
  assert.match(await cluster.good(["config", "set", "-"], CONFIG), /is set/, "once more is no change");
  const cases: readonly (readonly [input: string, message: RegExp])[] = [
    ["", /not valid JSON/],
    ["[]", /must be a JSON object/],
    ['{"Network":"10.5.0.0/16","Backend":{"Type":"carrier-pigeon"}}', /carrier-pigeon/],
    ['{"EnableIPv4":false}', /enable at least one/],
  ];
  for (const [input, message] of cases) {
    assert.match(await cluster.bad(["config", "set", "-"], input), message);
  }
});

test("config check needs no datastore", async () => {
  const nowhere = { FLANNELD_ETCD_ENDPOINTS: "http://127.0.0.1:1" };
  const good = await run(["config", "check", "-"], nowhere, '{"Network":"10.5.0.0/16"}');
  assert.equal(good.code, 0);
  assert.match(good.out, /The config is valid: .*backend vxlan\.\nNote: .*no Backend: using vxlan/);
  const bad = await run(["config", "check", "-"], nowhere, '{"Network":"10.5.0.0","EnableIPv6":true}');
  assert.equal(bad.code, 1);
  assert.match(bad.err, /Network "10\.5\.0\.0".*\n.*IPv6Network/);
  const hostile = await run(["config", "check", "-"], nowhere, '{"Network":"\\u001b[2J\\u202e"}');
  assert.ok(!hostile.err.includes("\x1b") && !hostile.err.includes("\u202e"), JSON.stringify(hostile.err));
  for (const [file, message] of [
    ["/nonexistent", /failed to read \/nonexistent: ENOENT/],
    ["/", /failed to read \/: EISDIR/],
    ["/dev/zero", /larger than/],
    [process.execPath, /larger than|not text/],
  ] as const) {
    const outcome = await run(["config", "check", file], nowhere, "");
    assert.equal(outcome.code, 1);
    assert.match(outcome.err, message);
  }
});

test("a config that running hosts cannot follow needs --force", async (t) => {
  const cluster = new Cluster(t);
  await cluster.good(["config", "set", "-"], CONFIG);
  const smaller = '{"Network":"10.5.0.0/16","SubnetMax":"10.5.200.0"}';
  await cluster.good(["config", "set", "-"], smaller);
  const lease = await cluster.join("192.168.64.3");
  const other = '{"Network":"10.9.0.0/16","Backend":{"Type":"vxlan","VNI":7}}';
  const refusal = await cluster.bad(["config", "set", "-"], other);
  assert.ok(refusal.includes(`1 of 1 leases do not fit it (${subnetOf(lease)})`), refusal);
  assert.match(refusal, /Network 10\.5\.0\.0\/16 → 10\.9\.0\.0\/16, Backend\.VNI 1 → 7: /);
  assert.match(refusal, /nothing was written; --force/);
  assert.equal((await cluster.good(["config", "get"])).trim(), smaller);
  await cluster.good(["config", "set", "-"], CONFIG); // a wider range harms no host
  await cluster.good(["config", "set", "--force", "-"], other);
  assert.equal(await cluster.value("config"), other);
});

test("leases: hosts, expiry, and invalid keys", async (t) => {
  const cluster = new Cluster(t);
  await cluster.good(["config", "set", "-"], CONFIG);
  assert.match(await cluster.good(["leases"]), /There are no leases/);
  assert.deepEqual(JSON.parse(await cluster.good(["leases", "--json"])), []);
  const lease = await cluster.join("192.168.64.3");
  await cluster.put("subnets/10.5.222.0-24", '{"PublicIP":"192.168.64.9","PublicIPv6":null}');
  await cluster.put("subnets/10.5.223.0-24", "junk \x1b[2J");
  await cluster.put("subnets/\x1b]0;owned\x07\u202e", "{}");
  const table = await cluster.good(["leases"]);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  assert.doesNotMatch(table, /[\x00-\x09\x0b-\x1f\u202e]/);
  const rows = table.trimEnd().split("\n");
  assert.match(rows[0]!, /^SUBNET +PUBLIC IP +BACKEND +EXPIRES IN +NODE DATA$/);
  const held = rows.find((row) => row.startsWith(`${subnetOf(lease)} `));
  assert.match(held!, / 192\.168\.64\.3 +vxlan +(23h 59m|1d 0h) +\{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"\}$/);
  assert.match(rows[2]!, /^10\.5\.222\.0\/24 +192\.168\.64\.9 +- +never +-$/);
  assert.match(rows[3]!, /^10\.5\.223\.0\/24 +- +- +never +invalid: the value is not JSON$/);
  assert.match(rows[4]!, /^\\x1b\]0;owned\\x07\\u202e +- +- +never +invalid: the key is not a subnet/);
  const json = JSON.parse(await cluster.good(["leases", "list", "--json"]));
  assert.equal(json.length, 4);
  const { revision, expiresAt, ...first } = json[0];
  assert.ok(BigInt(revision) > 0n && Date.parse(expiresAt) > Date.now());
  assert.deepEqual(first, {
    key: lease.key,
    subnet: subnetOf(lease),
    ipv6Subnet: null,
    publicIP: "192.168.64.3",
    publicIPv6: null,
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" },
    backendV6Data: null,
    reservation: false,
    problem: null,
  });
});

test("leases --watch follows changes, also over an outage, and ends with exit code 0", async (t) => {
  const cluster = new Cluster(t);
  await cluster.good(["config", "set", "-"], CONFIG);
  await using server = await startEtcd();
  const env = { ...cluster.env, FLANNELD_ETCD_ENDPOINTS: server.endpoint };
  const key = (name: string) => `${cluster.prefix}/subnets/${name}`;
  await server.ctl("put", key("10.5.2.0-24"), '{"PublicIP":"192.168.64.2"}');
  await using table = new TestProcess(FLANNELCTL, ["leases", "--watch"], { env });
  await using json = new TestProcess(FLANNELCTL, ["leases", "--watch", "--json"], {
    env,
  });
  const both = (what: string, line: RegExp, object: RegExp) =>
    Promise.all([
      table.brings(what, () => line.test(table.stdout), 20_000),
      json.brings(what, () => object.test(json.stdout), 20_000),
    ]);
  await both("the listing", /^10\.5\.2\.0\/24 /m, /^\{"change":"listed","key":"10\.5\.2\.0-24"/m);
  await server.ctl("put", key("10.5.3.0-24"), '{"PublicIP":"192.168.64.3"}');
  await both("added", / added +10\.5\.3\.0\/24 /, /"added","key":"10\.5\.3\.0-24"/);
  await server.ctl("put", key("10.5.3.0-24"), '{"PublicIP":"192.168.64.4"}');
  await both("changed", / changed +10\.5\.3\.0\/24 +192\.168\.64\.4 /, /"changed".*192\.168\.64\.4/);
  await server.ctl("del", key("10.5.2.0-24"));
  await both("removed", / removed +10\.5\.2\.0\/24 /, /"removed","key":"10\.5\.2\.0-24"/);
  await server.kill();
  await table.brings("the outage", () => /Watch on .* lost/.test(table.stderr));
  await server.start();
  await server.ctl("put", key("10.5.9.0-24"), '{"PublicIP":"192.168.64.9"}');
  await both("after it", / added +10\.5\.9\.0\/24 /, /"added","key":"10\.5\.9\.0-24"/);
  assert.equal(await table.stop("SIGINT"), 0);
  assert.equal(await json.stop("SIGTERM"), 0);
  assert.equal(table.stdout.match(/ added /g)!.length, 2, table.stdout);
});

test("a reservation belongs to its host and stays; invalid ones are refused", async (t) => {
  const cluster = new Cluster(t);
  const reserve = (...words: string[]) => ["leases", "reserve", ...words];
  assert.match(await cluster.bad(reserve("10.5.7.0/24", "192.168.64.3")), /no network config/);
  await cluster.good(["config", "set", "-"], CONFIG);
  const said = await cluster.good(reserve("10.5.7.0/24", "192.168.64.3"));
  assert.equal(said, "10.5.7.0/24 is reserved for 192.168.64.3.\n");
  assert.equal(await cluster.value("subnets/10.5.7.0-24"), '{"PublicIP":"192.168.64.3","PublicIPv6":null}');
  assert.equal(await cluster.good(reserve("10.5.7.0/24", "192.168.64.3")), said, "once more is no change");
  const lease = await cluster.join("192.168.64.3");
  assert.equal(lease.key, "10.5.7.0-24");
  assert.equal(lease.expiresAtMs, undefined);

  const cases: readonly (readonly [words: string, message: RegExp])[] = [
    ["10.5.7.0/24 192.168.64.4", /10\.5\.7\.0\/24 belongs to 192\.168\.64\.3: choose another/],
    ["10.5.8.1/24 192.168.64.4", /no subnet begins at 10\.5\.8\.1: the address is in 10\.5\.8\.0\/24/],
    [
      "10.5.8.0/25 192.168.64.4",
      /no subnet of 10\.5\.0\.0\/16: those are \/24 from 10\.5\.1\.0 to 10\.5\.255\.0/,
    ],
    ["10.5.0.0/24 192.168.64.4", /those are \/24 from 10\.5\.1\.0/],
    ["10.6.8.0/24 192.168.64.4", /no subnet of 10\.5\.0\.0\/16/],
    ["10.5.8.0 192.168.64.4", /"10\.5\.8\.0" is not a subnet like/],
    ["10.5.8.0/24 host4", /"host4" is not a usable address like/],
    ["10.5.8.0/24 0.0.0.0", /"0\.0\.0\.0" is not a usable address/],
    ["10.5.8.0/24 2001:db8::4", /identified by their public IPv4 address/],
    ["10.5.8.0/24,fc00::/64 192.168.64.4", /the network has no IPv6: leave fc00::\/64 out/],
    ["fc00::/64 192.168.64.4", /the network has IPv4: name a subnet of 10\.5\.0\.0\/16 too/],
  ];
  for (const [words, message] of cases)
    assert.match(await cluster.bad(reserve(...words.split(" "))), message);

  const running = await cluster.join("192.168.64.5");
  const note = await cluster.good(reserve("10.5.208.0/24", "192.168.64.5")); // none that a host may have drawn
  assert.ok(note.includes(`has also leased ${subnetOf(running)}`), note);
  const kept = await cluster.join("192.168.64.6");
  await cluster.good(reserve(subnetOf(kept), "192.168.64.6"));
  const value = JSON.parse(await cluster.value(`subnets/${kept.key}`));
  assert.equal(value.BackendType, "vxlan", "what the running host publishes stays");
  assert.equal((await cluster.join("192.168.64.6")).expiresAtMs, undefined);
});

test("dual stack: a reservation names both subnets", async (t) => {
  const cluster = new Cluster(t);
  await cluster.put("config", '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}');
  const missing = await cluster.bad(["leases", "reserve", "10.5.7.0/24", "192.168.64.3"]);
  assert.match(missing, /the network has IPv6: name a subnet of fc00::\/48 too/);
  await cluster.good(["leases", "reserve", "10.5.7.0/24,fc00:0:0:7::/64", "192.168.64.3,2001:db8::3"]);
  assert.equal(
    await cluster.value("subnets/10.5.7.0-24&fc00:0:0:7::-64"),
    '{"PublicIP":"192.168.64.3","PublicIPv6":"2001:db8::3"}',
  );
  await cluster.good(["leases", "release", "--yes", "fc00:0:0:7::/64"]);
  assert.match(await cluster.good(["leases"]), /There are no leases/);
});

test("release asks for confirmation, and without a terminal needs --yes", async (t) => {
  const cluster = new Cluster(t);
  await cluster.good(["config", "set", "-"], CONFIG);
  const lease = await cluster.join("192.168.64.3");
  const subnet = subnetOf(lease);
  assert.match(
    await cluster.bad(["leases", "release", subnet], "y\n"),
    /no terminal to confirm on; give --yes/,
  );
  assert.match(
    await cluster.bad(["leases", "release", "10.5.250.0/24"]),
    /there is no lease of 10\.5\.250\.0/,
  );
  assert.match(
    await cluster.bad(["leases", "release", "10.5.250.7/24"]),
    /no subnet begins at 10\.5\.250\.7/,
  );
  assert.match(await cluster.good(["leases"]), / 192\.168\.64\.3 /);

  const answered = async (answer: string): Promise<TestProcess> => {
    const command = [FLANNELCTL, "leases", "release", subnet].join(" ");
    // script(1) gives it a terminal.
    const terminal = new TestProcess("script", ["-qec", command, "/dev/null"], { env: cluster.env });
    await terminal.brings("the question", () => terminal.stdout.includes("[y/N]"), 20_000);
    terminal.stdin.write(answer);
    await until(() => terminal.hasEnded, `the end after ${JSON.stringify(answer)}`);
    return terminal;
  };
  {
    await using no = await answered("\n");
    assert.match(no.stdout, new RegExp(`Release ${subnet} of 192\\.168\\.64\\.3 \\(expires in `));
    assert.equal(await no.ended, 1);
    assert.match(no.stdout, /Nothing was released/);
    await using interrupted = await answered("\x03");
    assert.equal(await interrupted.ended, 1);
  }
  assert.match(await cluster.good(["leases"]), / 192\.168\.64\.3 /);
  await using yes = await answered("y\n");
  assert.equal(await yes.ended, 0, yes.tail());
  assert.match(await cluster.good(["leases"]), /There are no leases/);

  await cluster.put("subnets/what is this", "junk");
  assert.equal(
    await cluster.good(["leases", "release", "--yes", "what is this"]),
    "what is this is released.\n",
  );
});

test("an unavailable store, invalid options: one line, and the right exit code", async (t) => {
  const cluster = new Cluster(t);
  const at = (endpoint: string, ...args: string[]) => run(args, { FLANNELD_ETCD_ENDPOINTS: endpoint }, "");
  for (const args of [["leases"], ["leases", "--watch"], ["config", "get"]]) {
    const { code, err } = await at("http://127.0.0.1:1", ...args);
    assert.equal(code, 1);
    assert.match(err, /^flannelctl: etcd at http:\/\/127\.0\.0\.1:1: connection refused.*\n$/);
  }
  const wrong = await cluster.ctl(["leases", "--datastore=paper"]);
  assert.equal(wrong.code, 1);
  assert.match(wrong.err, /--datastore: "paper" is no datastore: use etcd3, etcd2 or embedded/);
  for (const args of [["leases", "release"], ["leases", "what"], ["config"], ["leases", "--wotch"]]) {
    assert.equal((await cluster.ctl(args)).code, 2, args.join(" "));
  }
  const foreign = await run(["leases"], { ...cluster.env, FLANNELD_JSON: "1", FLANNELD_IFACE: "x" }, "");
  assert.match(foreign.out, /There are no leases/, "variables of other programs' flags mean nothing here");
});

test("W11 a password given to flannelctl is not visible in ps", async (t) => {
  const cluster = new Cluster(t);
  const args = ["leases", "--watch", "--etcd-username=u", "--etcd-password=hunter2"];
  await using watch = new TestProcess(FLANNELCTL, args, { env: cluster.env });
  await watch.brings("the listing", () => watch.stdout.includes("no leases"), 20_000);
  assert.doesNotMatch(readFileSync(`/proc/${watch.pid}/cmdline`, "utf8"), /hunter2/);
  assert.doesNotMatch(watch.stderr, /hunter2/);
});
