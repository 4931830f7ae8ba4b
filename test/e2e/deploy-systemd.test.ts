/**
 * The systemd units, with systemd's own checks and under a real systemd: flanneld with all restrictions, and Docker's unit
 * with the drop-in (dockerd is a stub that records its arguments; e2e/docker*.test.ts use the real one).
 *
 *              hub 192.168.64.1: etcd
 *               ┌──────────┴──────────┐
 *        eth0 192.168.64.11    eth0 192.168.64.12
 *        h1: systemd:          h2: flanneld
 *            flanneld, docker      without systemd
 */

import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseFlags } from "../../src/config/flags.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS } from "../../src/config/options-table.ts";
import { exec } from "../../src/linux/exec.ts";
import { startEtcdOn, type TestHost, TestHosts } from "../support/hosts.ts";
import { echoRequestsIn, PingStream, ping } from "../support/ping.ts";
import type { TestProcess } from "../support/process.ts";
import { FLANNELD } from "../support/programs.ts";
import { Systemd } from "../support/systemd.ts";
import { until } from "../support/until.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const UNITS = join(ROOT, "deploy/systemd");
const MK_DOCKER_OPTS = join(ROOT, "deploy/docker/mk-docker-opts.sh");
/** systemd-analyze's scale is 0 (best) to 10; docs/systemd.md names the score. Its --threshold is ten times that. */
const THRESHOLD = 29;
const PREFIX = "/site/net";

const unit = (file: string): string => readFileSync(join(UNITS, file), "utf8");
/** The relevant part of Debian's docker.service. */
const DOCKER_SERVICE = `[Unit]
After=network-online.target
[Service]
ExecStart=/usr/sbin/dockerd -H fd://
`;

let bed: TestHosts;
let h1: TestHost;
let h2: TestHost;
let systemd: Systemd;
let endpoint: string;
/** flanneld on h2. */
let other: TestProcess;
before(async () => {
  bed = new TestHosts("systemd", 2);
  [h1, h2] = bed.hosts as [TestHost, TestHost];
  ({ endpoint } = await startEtcdOn(bed.hub));
  await putConfig(PREFIX, '{"Network": "10.7.0.0/16"}');
  const dockerd = join(h1.directory, "dockerd");
  writeFileSync(dockerd, '#!/bin/sh\necho "$@" >/run/dockerd-was-given\nexec sleep 1000000\n');
  chmodSync(dockerd, 0o755);
  other = startOther(PREFIX);
  systemd = await Systemd.start(h1, {
    units: {
      "flanneld.service": unit("flanneld.service"),
      "docker.service": DOCKER_SERVICE,
      "docker.service.d/flannel.conf": unit("docker.service.d/flannel.conf"),
    },
    programs: {
      flanneld: FLANNELD,
      "mk-docker-opts.sh": MK_DOCKER_OPTS,
      dockerd,
    },
    settings: {
      flanneld: unit("flanneld.sysconfig")
        .replace(/^FLANNEL_ETCD_ENDPOINTS=.*$/m, `FLANNEL_ETCD_ENDPOINTS="${endpoint}"`)
        .replace(/^FLANNEL_ETCD_PREFIX=.*$/m, `FLANNEL_ETCD_PREFIX="${PREFIX}"`)
        .replace(
          /^FLANNEL_OPTIONS=.*$/m,
          'FLANNEL_OPTIONS="-ip-masq -healthz-port=8081 -probe-interval=off"',
        ),
    },
  });
  await other.brings("flanneld on h2", () => /flanneld is ready/.test(other.stderr));
});
after(async () => {
  await systemd?.[Symbol.asyncDispose]();
  await bed?.[Symbol.asyncDispose]();
});

const readInside = async (path: string): Promise<string> => (await systemd.run("cat", [path])).stdout;

test("systemd-analyze verifies the unit, and the exposure is as low as documented", async () => {
  // ExecStart and ExecStartPost are not installed on this machine.
  const text = unit("flanneld.service")
    .replaceAll("/usr/local/bin/flanneld", FLANNELD)
    .replaceAll("/usr/local/bin/mk-docker-opts.sh", MK_DOCKER_OPTS);
  const file = join(h1.directory, "flanneld.service");
  writeFileSync(file, text);
  const verified = await exec("systemd-analyze", ["verify", "--man=no", "--recursive-errors=no", file]);
  assert.equal(verified.stdout + verified.stderr, "");
  await exec("systemd-analyze", ["security", "--offline=true", `--threshold=${THRESHOLD}`, file]);
});

test("flanneld accepts all flags of the unit and the sysconfig file", () => {
  const settings = Object.fromEntries(
    [...unit("flanneld.sysconfig").matchAll(/^(\w+)="(.*)"$/gm)].map(([, name, value]) => [name!, value!]),
  );
  const environment = [...unit("flanneld.service").matchAll(/^Environment=(\w+)=/gm)].map(
    ([, name]) => name!,
  );
  assert.deepEqual(Object.keys(settings).sort(), environment.sort());
  const command = /^ExecStart=\S+ (.*)$/m.exec(unit("flanneld.service"))![1]!;
  const args = command
    .replace(/\$\{(\w+)\}/g, (_, name: string) => settings[name]!)
    .replace("$FLANNEL_OPTIONS", "-iface=eth1 -ip-masq -etcd-cafile=/etc/etcd/ca.pem")
    .split(" ");
  const source = { args, environment: { variables: {}, prefix: ENVIRONMENT_PREFIX } };
  assert.equal(parseFlags(FLANNELD_FLAGS, source).type, "ok");
});

test("Docker starts as without the drop-in while flanneld is not enabled", async () => {
  await systemd.systemctl("start", "docker");
  await untilDockerdRuns();
  assert.equal((await readInside("/run/dockerd-was-given")).trim(), "-H fd://");
  assert.equal(await systemd.isActive("flanneld.service"), false);
  await systemd.systemctl("stop", "docker");
  await systemd.run("rm", ["/run/dockerd-was-given"]);
});

test("systemctl start docker: flanneld is ready first, Docker gets its options, and packets arrive", async () => {
  await systemd.systemctl("enable", "flanneld");
  await systemd.systemctl("start", "docker");
  await systemd.untilActive("flanneld.service");
  const subnet = /^FLANNEL_SUBNET=(.*)$/m.exec(await readInside("/run/flannel/subnet.env"))![1]!;
  assert.match(subnet, /^10\.7\.\d+\.1\/24$/);
  await systemd.untilActive("docker.service");
  await untilDockerdRuns();
  assert.equal(
    (await readInside("/run/dockerd-was-given")).trim(),
    `-H fd:// --bip=${subnet} --ip-masq=false --mtu=1450`,
  );
  for (const [host, address] of [
    [h1, subnet],
    [h2, subnetOf(h2)],
  ] as const) {
    await host.run("ip", ["link", "add", "br0", "type", "bridge"]);
    await host.run("ip", ["address", "add", address, "dev", "br0"]);
    await host.run("ip", ["link", "set", "br0", "up"]);
  }
  await until(
    async () => (await ping(h1.netns, addressOf(subnetOf(h2)), { count: 1 })) === 1,
    "the way to h2",
  );
  assert.equal(await ping(h2.netns, addressOf(subnet)), 5);
});

test("with all restrictions everything works: device settings, firewall, repairs", async () => {
  const accepts = await readNetSysctl("ipv6/conf/flannel.1/accept_ra");
  assert.equal(accepts, "0");
  assert.match(await h1.run("iptables-save", ["-t", "nat"]), /flanneld masq.* -j MASQUERADE/);
  await h1.run("ip", ["link", "delete", "flannel.1"]);
  await until(async () => (await ping(h1.netns, addressOf(subnetOf(h2)), { count: 1 })) === 1, "the repair");
  const pid = await systemd.property("flanneld.service", "MainPID");
  const status = (await systemd.run("cat", [`/proc/${pid}/status`])).stdout;
  // CAP_NET_ADMIN 12, CAP_NET_RAW 13, CAP_DAC_READ_SEARCH 2 (linux/capability.h).
  assert.equal(Number.parseInt(/^CapEff:\s*(\w+)$/m.exec(status)![1]!, 16), (1 << 12) | (1 << 13) | (1 << 2));
  assert.match(status, /^NoNewPrivs:\s*1$/m);
  assert.match(status, /^Seccomp:\s*2$/m);
});

test("systemctl status shows name and state; the watchdog gets its keep-alives", async () => {
  const pid = await systemd.property("flanneld.service", "MainPID");
  assert.equal((await readInside(`/proc/${pid}/comm`)).trim(), "flanneld");
  const status = () => systemd.property("flanneld.service", "StatusText");
  await until(async () => /^Ready: 10\.7\.\d+\.0\/24, 1 peer/.test(await status()), "the status");
  assert.equal(await systemd.property("flanneld.service", "WatchdogUSec"), "1min");
  const first = await systemd.property("flanneld.service", "WatchdogTimestampMonotonic");
  assert.notEqual(first, "0");
  await until(
    async () => (await systemd.property("flanneld.service", "WatchdogTimestampMonotonic")) !== first,
    "another keep-alive",
    40_000,
  );
});

test("a restart and a crash lose no packet, do not restart Docker and keep the subnet", async () => {
  const docker = await systemd.property("docker.service", "MainPID");
  const before = await readInside("/run/flannel/subnet.env");
  await using stream = new PingStream(h2.netns, addressOf(/^FLANNEL_SUBNET=(.*)$/m.exec(before)![1]!));
  await stream.more(5);
  await systemd.systemctl("restart", "flanneld");
  await stream.more(5);
  await systemd.systemctl("kill", "--signal=SIGKILL", "flanneld");
  await until(async () => (await systemd.property("flanneld.service", "NRestarts")) === "1", "the restart");
  await systemd.untilActive("flanneld.service");
  await stream.more(5);
  const answers = stream.answers;
  assert.deepEqual(
    answers,
    Array.from({ length: answers.length }, (_, index) => index + 1),
  );
  assert.equal(await systemd.property("docker.service", "MainPID"), docker);
  assert.equal(await readInside("/run/flannel/subnet.env"), before);
});

test("an invalid flag keeps Docker from starting with addresses of its own choice", async () => {
  await systemd.systemctl("stop", "docker", "flanneld");
  await systemd.run("rm", ["/run/flannel/docker", "/run/dockerd-was-given"]);
  const file = join(h1.directory, "etc/flanneld");
  const good = readFileSync(file, "utf8");
  writeFileSync(file, good.replace('="-ip-masq', '="-ip-mask'));
  await systemd.systemctl("start", "docker", "--no-block");
  await until(
    async () => Number(await systemd.property("docker.service", "NRestarts")) >= 1,
    "Docker's second try",
  );
  await assert.rejects(systemd.run("test", ["-e", "/run/dockerd-was-given"]));
  writeFileSync(file, good);
  await systemd.untilActive("flanneld.service", 20_000);
  await untilDockerdRuns();
});

test("the udp backend gets its device, and a restart loses no packet: systemd stores the descriptors", async () => {
  await systemd.systemctl("stop", "docker", "flanneld");
  await other.stop(); // two on one host would fight for their routes
  await putConfig("/site/udp", '{"Network": "10.8.0.0/16", "Backend": {"Type": "udp"}}');
  other = startOther("/site/udp");
  await other.brings("flanneld on h2", () => /flanneld is ready/.test(other.stderr));
  const file = join(h1.directory, "etc/flanneld");
  writeFileSync(file, readFileSync(file, "utf8").replace(`"${PREFIX}"`, '"/site/udp"'));
  await systemd.systemctl("start", "flanneld");
  await h1.run("ip", ["-details", "link", "show", "flannel0"]);
  const subnet = /^FLANNEL_SUBNET=(.*)$/m.exec(await readInside("/run/flannel/subnet.env"))![1]!;
  const tunnelAddress = addressOf(subnet).replace(/1$/, "0");
  await until(async () => (await ping(h2.netns, tunnelAddress, { count: 1 })) === 1, "the way to h1");
  await using stream = new PingStream(h2.netns, tunnelAddress);
  await stream.more(5);
  await systemd.systemctl("restart", "flanneld");
  await stream.more(5);
  assert.equal(await systemd.property("flanneld.service", "NFileDescriptorStore"), "2");
  const answers = stream.answers.toSorted((a, b) => a - b);
  assert.deepEqual(
    answers,
    Array.from({ length: answers.length }, (_, index) => index + 1),
  );
});

test("userspace WireGuard: a restart and a crash lose no packet of the host's", async (t) => {
  await systemd.systemctl("stop", "flanneld");
  await other.stop();
  const backend = '{"Type": "wireguard", "Implementation": "userspace"}';
  await putConfig("/site/wg", `{"Network": "10.9.0.0/16", "Backend": ${backend}}`);
  other = startOther("/site/wg");
  await other.brings("flanneld on h2", () => /flanneld is ready/.test(other.stderr));
  const file = join(h1.directory, "etc/flanneld");
  writeFileSync(file, readFileSync(file, "utf8").replace('"/site/udp"', '"/site/wg"'));
  await systemd.systemctl("start", "flanneld");
  const tunnelAddress = addressOf(subnetOf(h2)).replace(/1$/, "0");
  await until(async () => (await ping(h1.netns, tunnelAddress, { count: 1 })) === 1, "the way to h2");
  const received = async () => echoRequestsIn(await h2.run("cat", ["/proc/net/snmp"]));
  const before = await received();
  await using stream = new PingStream(h1.netns, tunnelAddress);
  await stream.more(5);
  await systemd.systemctl("restart", "flanneld");
  await stream.more(5);
  t.diagnostic(`packets waited for up to ${stream.longestMs.toFixed(0)} ms over the restart`);
  assert.equal(await systemd.property("flanneld.service", "NFileDescriptorStore"), "3");
  const restarts = Number(await systemd.property("flanneld.service", "NRestarts"));
  await systemd.systemctl("kill", "--signal=SIGKILL", "flanneld");
  await until(
    async () => Number(await systemd.property("flanneld.service", "NRestarts")) > restarts,
    "the restart",
  );
  await stream.more(5);
  // Answers that were on their way when flanneld ended were encrypted for a session that nobody has any more.
  const sent = await stream.countSent();
  await until(async () => (await received()) - before === sent, `${sent} requests at h2`);
});

const untilDockerdRuns = (): Promise<void> =>
  until(
    () =>
      systemd.run("test", ["-s", "/run/dockerd-was-given"]).then(
        () => true,
        () => false,
      ),
    "dockerd",
  );

async function putConfig(prefix: string, config: string): Promise<void> {
  const env = { PATH: process.env.PATH, ETCDCTL_API: "3" };
  await bed.hub.run("etcdctl", ["--endpoints", endpoint, "put", `${prefix}/config`, config], { env });
}

/** flanneld on h2, without systemd. */
function startOther(prefix: string): TestProcess {
  const args = [
    ...[`--etcd-endpoints=${endpoint}`, `--etcd-prefix=${prefix}`],
    ...[`--subnet-file=${join(h2.directory, "subnet.env")}`, "--probe-interval=off"],
  ];
  const env = { ...process.env, WIREGUARD_KEY_FILE: join(h2.directory, "wgkey") };
  return h2.start(FLANNELD, args, { env });
}

function subnetOf(host: TestHost): string {
  assert.ok(existsSync(join(host.directory, "subnet.env")));
  return /^FLANNEL_SUBNET=(.*)$/m.exec(readFileSync(join(host.directory, "subnet.env"), "utf8"))![1]!;
}

const addressOf = (subnet: string): string => subnet.split("/")[0]!;

const readNetSysctl = async (key: string): Promise<string> =>
  (await exec("cat", [`/proc/sys/net/${key}`], { netns: h1.netns })).stdout.trim();
