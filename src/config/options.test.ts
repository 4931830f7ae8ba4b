import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { formatIp, parseIp } from "../address/ip.ts";
import { ConfigError } from "../base/error.ts";
import { defaultOf, parseFlags } from "./flags.ts";
import { describeOptions, type FlanneldOptions, readOptions } from "./options.ts";
import type { EtcdDatastore } from "./options-datastore.ts";
import { parseGoRegExp } from "./options-regexp.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS } from "./options-table.ts";

function options(args: readonly string[], variables: Record<string, string> = {}) {
  const result = parseFlags(FLANNELD_FLAGS, { args, environment: { variables, prefix: ENVIRONMENT_PREFIX } });
  assert.equal(result.type, "ok", JSON.stringify(result));
  if (result.type !== "ok") throw new Error("unreachable");
  return readOptions(result.flags, variables);
}

function etcdOf({ datastore }: FlanneldOptions): EtcdDatastore {
  assert.ok(datastore.kind !== "kube");
  return datastore;
}

function fault(args: readonly string[], variables?: Record<string, string>): string {
  try {
    options(args, variables);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  assert.fail(`no error for ${args.join(" ")}`);
}

test("the defaults are Go flannel's", () => {
  const { flags, ...rest } = options([]);
  assert.deepEqual(flags.sources, {});
  assert.deepEqual(rest, {
    datastore: {
      kind: "etcd3",
      etcd: {
        endpoints: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
        prefix: "/coreos.com/network",
        keyFile: undefined,
        certFile: undefined,
        caFile: undefined,
        username: undefined,
        password: undefined,
      },
    },
    setNodeNetworkUnavailable: true,
    interface: {
      iface: [],
      ifaceRegex: [],
      ifaceCanReach: undefined,
      publicIp: undefined,
      publicIpv6: undefined,
    },
    firewall: { ipMasq: false, randomFully: true, forwardRules: true, resyncMs: 5000 },
    networkPolicy: undefined,
    subnetFile: "/run/flannel/subnet.env",
    renewMarginMs: 3_600_000,
    blackholeRoute: false,
    removeStaleBridge: false,
    udpOffloads: true,
    cloudResyncMs: 60_000,
    healthz: undefined,
    status: {
      listen: { ip: parseIp("127.0.0.1"), port: 7000 },
      socket: "/run/flannel/flanneld.sock",
      tokenFile: undefined,
      tls: undefined,
    },
    probeIntervalMs: 1_000,
    log: { verbosity: 0, files: undefined, notes: [] },
    wireguardKeyFile: "/run/flannel/wgkey",
    charonSocket: "/var/run/charon.vici",
    notifySocket: undefined,
    declaredNetwork: undefined,
  });
});

test("--probe-interval is in seconds, and can be switched off", () => {
  const intervalOf = (text: string) => options([`--probe-interval=${text}`]).probeIntervalMs;
  for (const off of ["0", "off", "", "0s"]) assert.equal(intervalOf(off), undefined);
  assert.deepEqual(["5", "0.5", "10s"].map(intervalOf), [5_000, 500, 10_000]);
  for (const wrong of ["-1", "1m", "0.01", "3601", "NaN", "1e3", "0x10"])
    assert.throws(
      () => intervalOf(wrong),
      /--probe-interval: .* is no number of seconds within 0\.1…3600, nor 0 or "off"/,
    );
});

test("where the status server listens", () => {
  const statusOf = (...args: string[]) => options(args).status;
  for (const off of ["", "off"]) assert.equal(statusOf(`--status-listen=${off}`).listen, undefined);
  assert.deepEqual(statusOf("--status-listen=[::]:7001").listen, { ip: parseIp("::"), port: 7001 });
  assert.equal(statusOf("--status-socket=off").socket, undefined);
  assert.equal(statusOf("--status-socket=/a/b.sock").socket, "/a/b.sock");
  assert.equal(statusOf("--subnet-file=/run/blue/subnet.env").socket, "/run/blue/flanneld.sock");
  assert.equal(statusOf("--subnet-file=/run/flannel/blue.env").socket, "/run/flannel/blue.sock");
  for (const text of ["7000", ":7000", "localhost:7000", "127.0.0.1:0", "127.0.0.1:65536", "::1:7000"])
    assert.match(fault([`--status-listen=${text}`]), /^--status-listen: .* is no address and port like/);
});

test("who may read the status server's port", () => {
  const statusOf = (...args: string[]) => options(args).status;
  assert.equal(statusOf("--status-token-file=/t").tokenFile, "/t");
  const tls = ["--status-tls-cert-file=/c", "--status-tls-key-file=/k"];
  assert.deepEqual(statusOf(...tls).tls, { certFile: "/c", keyFile: "/k", clientCaFile: undefined });
  assert.equal(statusOf(...tls, "--status-tls-client-ca-file=/ca").tls?.clientCaFile, "/ca");
  assert.match(fault([tls[0]!]), /^--status-tls-cert-file: .*give --status-tls-key-file too$/);
  assert.match(fault([tls[1]!]), /^--status-tls-key-file: .*give --status-tls-cert-file too$/);
  assert.match(fault(["--status-tls-client-ca-file=/ca"]), /^--status-tls-client-ca-file: /);
  assert.match(fault(["--status-listen=off", "--status-token-file=/t"]), /--status-listen is off/);
});

test("reads a command line from a unit file", () => {
  const line =
    "-etcd-endpoints=https://10.0.0.1:2379,https://10.0.0.2:2379 -etcd-prefix=/k8s/network/ -etcd-cafile=/ca.pem " +
    "-etcd-certfile=/c.pem -etcd-keyfile=/k.pem --iface=eth1 --iface 10.0.0.9 --iface= --iface-regex=^10\\.0 " +
    "--iface-can-reach=8.8.8.8 --public-ip=192.0.2.1 --public-ipv6=2001:db8::1 --subnet-lease-renew-margin=1439 " +
    "--ip-masq=true --healthz-ip=::1 --healthz-port=8090 --v=2 --logtostderr=true --alsologtostderr -vmodule=a=1 " +
    "-log_dir=/var/log -stderrthreshold=INFO -log_backtrace_at=x:1 --iptables-resync=30 --iptables-forward-rules=f";
  const read = options(line.split(" "));
  const { etcd } = etcdOf(read);
  assert.deepEqual(etcd.endpoints, ["https://10.0.0.1:2379", "https://10.0.0.2:2379"]);
  assert.equal(etcd.prefix, "/k8s/network");
  assert.deepEqual(read.interface.iface, ["eth1", "10.0.0.9"]);
  assert.deepEqual(read.interface.ifaceRegex, [/^10\.0/]);
  assert.equal(formatIp(read.interface.publicIp!), "192.0.2.1");
  assert.equal(formatIp(read.healthz!.ip), "::1");
  assert.equal(read.renewMarginMs, 1439 * 60_000);
  assert.equal(read.log.verbosity, 2);
  assert.deepEqual(read.firewall, {
    ipMasq: true,
    randomFully: true,
    forwardRules: false,
    resyncMs: 30_000,
  });
});

test("reads the other environment variables", () => {
  const read = options([], {
    NOTIFY_SOCKET: "/run/systemd/notify",
    FLANNELD_SUBNET_FILE: "/s",
  });
  assert.equal(read.notifySocket, "/run/systemd/notify");
  assert.equal(read.subnetFile, "/s");
});

test("every flag with an invalid value is named", () => {
  const cases: [string, RegExp][] = [
    ["--subnet-lease-renew-margin=0", /^--subnet-lease-renew-margin: 0 is not within 1…1439$/],
    ["--subnet-lease-renew-margin=1440", /^--subnet-lease-renew-margin: 1440 is not within 1…1439$/],
    ["--healthz-port=65536", /^--healthz-port: 65536 is not within 0…65535$/],
    ["--healthz-ip=localhost", /^--healthz-ip: "localhost" is not an IP address$/],
    ["--iptables-resync=0", /^--iptables-resync: 0 is not within/],
    ["--v=-1", /^--v: -1 is not within/],
    ["--public-ip=10.0.0.300", /^--public-ip: "10.0.0.300" is not an IPv4 address$/],
    ["--public-ip=::1", /^--public-ip: "::1" is not an IPv4 address$/],
    ["--public-ipv6=1.2.3.4", /^--public-ipv6: "1.2.3.4" is not an IPv6 address$/],
    ["--iface-can-reach=example.org", /^--iface-can-reach: "example.org" is not an IP address$/],
    ["--iface-regex=eth(", /^--iface-regex: "eth\(" is not a regular expression/],
    ["--subnet-file=", /^--subnet-file: is empty/],
    ["--etcd-prefix=.", /^--etcd-prefix: "\." names no path/],
    ["--etcd-prefix=a/../..", /^--etcd-prefix: "a\/\.\.\/\.\." names no path/],
    ["--etcd-prefix=", /^--etcd-prefix: is empty/],
    ["--etcd-endpoints=", /^--etcd-endpoints: is empty/],
    ["--etcd-endpoints=ftp://h:1", /^--etcd-endpoints: "ftp:\/\/h:1" is not of the form/],
    ["--etcd-endpoints=http://h:99999", /^--etcd-endpoints: "http:\/\/h:99999" is not of the form/],
    ["--etcd-endpoints=http://h:1/v2/keys", /^--etcd-endpoints: "http:\/\/h:1\/v2\/keys" must end after/],
    ["--etcd-keyfile=k", /^--etcd-keyfile: a client key needs its certificate/],
    ["--etcd-certfile=c", /^--etcd-certfile: a client certificate needs its key/],
    ["--etcd-username=u", /^--etcd-username: a user name needs a password/],
    ["--etcd-password=hunter2", /^--etcd-password: a password needs a user name/],
    ["false", /^argument "false" belongs to no flag/],
  ];
  for (const [arg, message] of cases) assert.match(fault([arg]), message);
  assert.match(fault([], { FLANNELD_PUBLIC_IP: "x" }), /^FLANNELD_PUBLIC_IP: "x"/);
});

test("W10 certificates without an https endpoint are refused; without a scheme they make it https", () => {
  assert.match(fault(["--etcd-cafile=ca"]), /^--etcd-cafile: .*https:\/\//);
  assert.match(
    fault(["--etcd-cafile=ca", "--etcd-endpoints=https://a:1,http://b:1"]),
    /^--etcd-cafile: .*http:/,
  );
  assert.deepEqual(etcdOf(options(["--etcd-cafile=ca", "--etcd-endpoints=h:2379"])).etcd.endpoints, [
    "https://h:2379",
  ]);
  assert.deepEqual(etcdOf(options(["--etcd-endpoints=localhost:2379"])).etcd.endpoints, [
    "http://localhost:2379",
  ]);
});

test("W11 no secret is in the description, in an endpoint, or in an error", () => {
  const read = options(["--etcd-username=root", "--v=1"], {
    FLANNELD_ETCD_PASSWORD: "hunter2",
    FLANNELD_ETCD_ENDPOINTS: "http://root:hunter2@h:2379",
    ACCESS_KEY_SECRET: "hunter2",
  });
  assert.equal(etcdOf(read).etcd.password, "hunter2");
  assert.equal(
    describeOptions(read),
    "etcd-endpoints=http://[redacted]@h:2379 (FLANNELD_ETCD_ENDPOINTS) etcd-username=root " +
      "etcd-password=[redacted] (FLANNELD_ETCD_PASSWORD) v=1",
  );
  for (const endpoints of [
    "http://root:hunter2@h:1/x",
    "http://root:hunter2/3@h:1",
    "http://root:hunter2,x@h:1",
  ]) {
    assert.doesNotMatch(fault([`--etcd-endpoints=${endpoints}`]), /hunter2/);
  }
  assert.doesNotMatch(fault(["--etcd-username=root", "--etcd-password", "the", "hunter2"]), /hunter2/);
});

test("user and password inside an endpoint count as the flags would, and the flags win", () => {
  const { endpoints, username, password } = etcdOf(options(["--etcd-endpoints=http://u:p%40ss@h:1"])).etcd;
  assert.deepEqual(
    { endpoints, username, password },
    {
      endpoints: ["http://h:1"],
      username: "u",
      password: "p@ss",
    },
  );
  const both = etcdOf(
    options(["--etcd-endpoints=http://u:p@h:1", "--etcd-username=v", "--etcd-password=q"]),
  ).etcd;
  assert.equal(both.username, "v");
  assert.equal(both.password, "q");
});

test("regular expressions in Go's spelling", () => {
  assert.ok(parseGoRegExp("(?i)^ETH").test("eth0"));
  assert.ok(parseGoRegExp("^ens[[:digit:]]+\\z").test("ens33"));
  assert.ok(!parseGoRegExp("^ens[^[:digit:]]").test("ens33"));
  assert.ok(parseGoRegExp("(?P<net>10\\.0)\\.").test("10.0.0.1"));
  assert.ok(parseGoRegExp("eth(0|1)$").test("eth1"));
  for (const text of ["[", "a**", "\\pL", "[[:nope:]]"])
    assert.throws(() => parseGoRegExp(text), SyntaxError);
});

test("docs/flags.md lists every flag with its default and its variable", () => {
  const page = readFileSync(new URL("../../docs/flags.md", import.meta.url), "utf8");
  for (const [name, spec] of Object.entries(FLANNELD_FLAGS)) {
    const row = page.split("\n").find((line) => line.startsWith(`| \`--${name}\``));
    assert.ok(row, `--${name} is missing`);
    const value = String(defaultOf(spec));
    if (value !== "") assert.ok(row.includes(`\`${value}\``), `--${name}: default ${value} is missing`);
  }
});

test("F15 the etcd prefix is cleaned as Go's path.Clean does", () => {
  const prefixOf = (text: string) => etcdOf(options([`--etcd-prefix=${text}`])).etcd.prefix;
  const cases: [string, string][] = [
    ["/", ""],
    ["//", ""],
    ["/a/..", ""],
    ["/a/./b", "/a/b"],
    ["/a//b/", "/a/b"],
    ["/a/../b", "/b"],
    ["/../a", "/a"],
    ["a/b", "a/b"],
    ["./a", "a"],
    [" /a ", "/a"],
  ];
  for (const [text, prefix] of cases) assert.equal(prefixOf(text), prefix, text);
});

test("F15 endpoints between quotes, spaces and stray commas, with schemes in upper case", () => {
  const endpointsOf = (text: string) => etcdOf(options([], { FLANNELD_ETCD_ENDPOINTS: text })).etcd.endpoints;
  const both = ["http://a:2379", "http://b:2379"];
  for (const text of [
    '"http://a:2379,http://b:2379"',
    "'http://a:2379,http://b:2379'",
    '"http://a:2379","http://b:2379"',
    '"http://a:2379", "http://b:2379",',
    " http://a:2379 ,, http://b:2379/ ,",
    "HTTP://a:2379,a:2379,Http://b:2379".replace("a:2379,a", "a"),
    "a:2379,b:2379",
    "http://a:2379,\n  http://b:2379\r\n",
  ]) {
    assert.deepEqual(endpointsOf(text), both, JSON.stringify(text));
  }
  assert.deepEqual(endpointsOf("http://[fd00::1]:2379"), ["http://[fd00::1]:2379"]);
  assert.match(
    fault(["--etcd-endpoints=http://fd00::1:2379"]),
    /^--etcd-endpoints: "http:\/\/fd00::1:2379" is not of the form .*; write an IPv6 address in brackets: \[fd00::1\]:2379$/,
  );
  assert.match(fault(["--etcd-endpoints=fd00::1:2379"]), /in brackets/);
  for (const separator of [" ", ";", "; "]) {
    assert.match(
      fault([`--etcd-endpoints=http://a:1${separator}http://b:1`]),
      /; separate endpoints with commas$/,
    );
  }
  assert.match(fault(['--etcd-endpoints="http://a:2379']), /^--etcd-endpoints: /);
});

test("klog's flags: files with -logtostderr=false, else a note that they have no effect", () => {
  const logOf = (...args: string[]) => options(args).log;
  assert.deepEqual(logOf("-logtostderr=false").files, {
    ...{ directory: undefined, file: undefined, maxBytes: 100 * 1024 * 1024, stderrThreshold: 2 },
  });
  const files = logOf(
    "-logtostderr=false",
    "-log_dir=/d",
    "-log_file_max_size=0",
    "-stderrthreshold=warning",
  ).files;
  assert.deepEqual([files?.directory, files?.maxBytes, files?.stderrThreshold], ["/d", 0, 1]);
  assert.equal(logOf("-logtostderr=false", "-stderrthreshold=3").files?.stderrThreshold, 3);
  assert.equal(logOf("-logtostderr=false", "-alsologtostderr").files?.stderrThreshold, 0);
  assert.deepEqual(logOf("-log_dir=/d", "-alsologtostderr"), {
    ...{ verbosity: 0, files: undefined },
    notes: [
      "--log_dir, --alsologtostderr: no effect, because the log goes to stderr; add -logtostderr=false",
    ],
  });
  assert.throws(
    () => logOf("-stderrthreshold=loud"),
    /--stderrthreshold: "loud" is no severity: use INFO, WARNING/,
  );
  assert.throws(() => logOf("-log_file_max_size=-1"), /--log_file_max_size: -1 is not within/);
});
