/**
 * Labs of every kind: made, pinged, looked at, removed. With one segment as drawn in lab.test.ts; with two:
 *
 *                  hub: router, datastore
 *        192.168.64.0/24           192.168.65.0/24          fd00:64::/64, fd00:64:0:1::/64
 *         ┌───────┴───────┐              │
 *        h1              h3             h2
 */

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, suite, test } from "node:test";
import { hasEsp } from "../../src/linux/esp.ts";
import { ExecError, type ExecResult, exec } from "../../src/linux/exec.ts";
import { hasLinkType } from "../../src/linux/link-types.ts";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { FLANNELCTL } from "../support/programs.ts";

const temporary = mkdtempSync(join(tmpdir(), `lab-matrix-${process.pid}-`));
const made: string[] = [];

after(async () => {
  for (const name of made) await flannelctl("down", name);
  rmSync(temporary, { recursive: true, force: true });
});

async function flannelctl(
  command: string,
  lab: string,
  ...args: string[]
): Promise<ExecResult & { code: number }> {
  try {
    return {
      code: 0,
      ...(await exec(FLANNELCTL, ["lab", command, `--name=${lab}`, ...args], { timeoutMs: 60_000 })),
    };
  } catch (error) {
    if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
    return { code: error.exitCode, stdout: error.stdout, stderr: error.stderr };
  }
}

async function succeed(command: string, lab: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await flannelctl(command, lab, ...args);
  assert.equal(code, 0, `lab ${command} ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

/** Makes a lab, and removes it after `look`. */
async function withLab(
  label: string,
  flags: readonly string[],
  look: (lab: string) => Promise<void>,
): Promise<void> {
  const lab = `m${process.pid}${label}`;
  made.push(lab);
  await succeed("up", lab, ...flags);
  await look(lab);
  await succeed("down", lab);
  assert.deepEqual(
    readdirSync("/run/netns").filter((name) => name.startsWith(`flannel-${lab}-`)),
    [],
  );
}

/** What a host holds: "10.5.3.0/24 dev eth0", sorted by subnet. */
async function routesOf(
  lab: string,
  host: string,
  family: 4 | 6,
): Promise<{ subnet: string; device: string }[]> {
  const out = await succeed("exec", lab, host, "--", "ip", `-${family}`, "route", "show", "proto", "70");
  return [...out.matchAll(/^(\S+) .*dev (\S+)/gm)].map(([, subnet, device]) => ({
    subnet: subnet!,
    device: device!,
  }));
}

/** The subnet of each host in a family, as `lab status` shows it. */
async function subnetsOf(lab: string, family: 4 | 6): Promise<Map<string, string>> {
  const bridge = family === 4 ? /^(h\d+) .* (10\.5\.\d+\.)1\/24/gm : /^(h\d+) .* (fd00:5:\S*::)1\/64/gm;
  const status = await succeed("status", lab);
  return new Map(
    [...status.matchAll(bridge)].map(([, host, base]) => [
      host!,
      family === 4 ? `${base}0/24` : `${base}/64`,
    ]),
  );
}

/** All ways answer, in tables for these families. */
async function pings(lab: string, hosts: number, families: readonly (4 | 6)[]): Promise<void> {
  const out = await succeed("ping", lab, "--count=2");
  const ways = (2 * hosts - 1) * hosts * families.length;
  assert.match(out, new RegExp(`^All ${ways} ways work`, "m"));
  assert.doesNotMatch(out, /lost/);
  const titles = families.length === 1 ? [] : families.map((family) => `IPv${family}`);
  assert.deepEqual(out.match(/^IPv\d$/gm) ?? [], titles);
}

const KINDS = [
  { label: "a", flags: ["--backend=vxlan"], families: [4], device: { 4: "flannel.1" }, daemon: "store" },
  { label: "b", flags: ["--etcd"], families: [4], device: { 4: "flannel.1" }, daemon: "etcd" },
  { label: "c", flags: ["--backend=host-gw"], families: [4], device: { 4: "eth0" }, daemon: "store" },
  {
    label: "d",
    flags: ["--dual-stack"],
    families: [4, 6],
    device: { 4: "flannel.1", 6: "flannel-v6.1" },
    daemon: "store",
  },
  {
    label: "e",
    flags: ["--dual-stack", "--backend=host-gw"],
    families: [4, 6],
    device: { 4: "eth0", 6: "eth0" },
    daemon: "store",
  },
  { label: "f", flags: ["--ipv6-only"], families: [6], device: { 6: "flannel-v6.1" }, daemon: "store" },
  {
    label: "g",
    flags: ["--ipv6-only", "--backend=host-gw", "--etcd"],
    families: [6],
    device: { 6: "eth0" },
    daemon: "etcd",
  },
] as const;

// They mostly wait: for pings, for processes to end.
suite("labs", { concurrency: 3 }, () => {
  for (const { label, flags, families, device, daemon } of KINDS) {
    test(`lab up ${flags.join(" ")}: all ways work, each peer has its route`, () =>
      withLab(label, ["--hosts=2", ...flags], async (lab) => {
        await pings(lab, 2, families);
        assert.match(await succeed("status", lab), new RegExp(`^hub .* ${daemon} +\\d+ `, "m"));
        for (const family of families) {
          const subnets = await subnetsOf(lab, family);
          assert.deepEqual(await routesOf(lab, "h1", family), [
            { subnet: subnets.get("h2"), device: (device as Record<number, string>)[family] },
          ]);
        }
      }));
  }

  test("lab up --backend=udp: all ways work, through its device", () =>
    withLab("l", ["--hosts=2", "--backend=udp"], async (lab) => {
      await pings(lab, 2, [4]);
      const route = await succeed("exec", lab, "h1", "--", "ip", "route", "get", "10.5.255.9");
      assert.match(route, / dev flannel0 /);
    }));

  test("lab up --nftables: rules in nftables of both families, none of flannel's in iptables", () =>
    withLab("h", ["--hosts=2", "--dual-stack", "--nftables"], async (lab) => {
      await pings(lab, 2, [4, 6]);
      const tables = await succeed("exec", lab, "h1", "--", "nft", "list", "tables");
      assert.match(tables, /^table ip flannel/m);
      assert.match(tables, /^table ip6 flannel/m);
      assert.doesNotMatch(await succeed("exec", lab, "h1", "--", "iptables-save"), /FLANNEL/);
    }));

  test("lab up --subnets=2 --direct-routing: hosts on one link route directly, others use the tunnel", () =>
    withLab("i", ["--hosts=3", "--subnets=2", "--direct-routing", "--dual-stack"], async (lab) => {
      await pings(lab, 3, [4, 6]);
      for (const family of [4, 6] as const) {
        const tunnel = family === 4 ? "flannel.1" : "flannel-v6.1";
        const subnets = await subnetsOf(lab, family);
        const ways = async (host: string) =>
          new Map((await routesOf(lab, host, family)).map(({ subnet, device }) => [subnet, device]));
        const expected = (peers: Record<string, string>) =>
          new Map(Object.entries(peers).map(([peer, device]) => [subnets.get(peer)!, device]));
        assert.deepEqual(await ways("h1"), expected({ h2: tunnel, h3: "eth0" }));
        assert.deepEqual(await ways("h2"), expected({ h1: tunnel, h3: tunnel }));
        assert.deepEqual(await ways("h3"), expected({ h1: "eth0", h2: tunnel }));
      }
    }));

  test("host-gw over two subnets: up and status say which hosts do not reach each other, ping shows it, the log too", async () => {
    const note = /^Note: host-gw reaches only hosts on the same link: .*\(h1, h3 \| h2\)/m;
    await withLab("j", ["--hosts=3", "--subnets=2", "--backend=host-gw"], async (lab) => {
      assert.match(await succeed("status", lab), note);
      const { code, stdout } = await flannelctl("ping", lab, "--count=1");
      assert.equal(code, 1);
      assert.match(stdout, /^h1-c1 +- +✗ +\d+\.\d\d$/m);
      assert.match(stdout, /^8 of 15 ways failed\.$/m);
      assert.match(stdout, note);
      const log = await succeed("exec", lab, "h1", "--", "cat", `/run/flannel-lab/${lab}/h1/flanneld.log`);
      assert.match(log, /192\.168\.65\.12 is on no link of this host .* use vxlan/);
    });
  });

  test("a config from a file: its families and its backend's options are the lab's", async () => {
    const file = join(temporary, "config.json");
    const config = {
      ...{ network: "10.5.0.0/20", subnetlen: 26, enableipv6: true, ipv6network: "fd00:5::/56" },
      backend: { type: "vxlan", vni: 42, DirectRouting: true },
    };
    writeFileSync(file, JSON.stringify(config, undefined, 2));
    await withLab("k", ["--hosts=3", "--subnets=2", `--config=${file}`], async (lab) => {
      await pings(lab, 3, [4, 6]);
      const devices = (await routesOf(lab, "h1", 4)).map(({ device }) => device).sort();
      assert.deepEqual(devices, ["eth0", "flannel.42"]);
      assert.match(await succeed("status", lab), /10\.5\.\d+\.\d+\/26/);
      const stored = await succeed("exec", lab, "hub", "--", FLANNELCTL, "config", "get");
      assert.deepEqual(JSON.parse(stored), config);
    });
  });
});

for (const backend of ["wireguard", "ipip"] as const) {
  test(`${backend}: a lab where the kernel has such devices, else a refusal with the remedy`, async () => {
    using rtnetlink = openRtnetlink();
    // WireGuard runs in flanneld where the kernel has none.
    if (backend === "wireguard" || hasLinkType(rtnetlink, backend)) {
      await withLab(backend[0]!, ["--hosts=2", `--backend=${backend}`], (lab) => pings(lab, 2, [4]));
      return;
    }
    const lab = `m${process.pid}${backend[0]}`;
    const { code, stdout, stderr } = await flannelctl("up", lab, `--backend=${backend}`);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(
      stderr,
      new RegExp(
        `this machine's kernel has no ${backend} devices.*'modprobe ${backend}'.*another --backend\n$`,
      ),
    );
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
    assert.match((await flannelctl("status", lab)).stderr, /there is no lab/);
  });
}

test("extension: commands that the lab brings along", async () => {
  await withLab("e", ["--hosts=2", "--backend=extension"], (lab) => pings(lab, 2, [4]));
});

test("ipsec: a lab where the kernel has ESP, else a refusal with the remedy", async () => {
  if (hasEsp()) return withLab("i", ["--hosts=2", "--backend=ipsec"], (lab) => pings(lab, 2, [4]));
  const lab = `m${process.pid}i`;
  const { code, stderr } = await flannelctl("up", lab, "--backend=ipsec");
  assert.equal(code, 1);
  assert.match(stderr, /kernel has no IPsec \(ESP\).*'modprobe -a esp4 xfrm_user'.*another --backend\n$/);
  assert.match((await flannelctl("status", lab)).stderr, /there is no lab/);
});

test("what contradicts itself is refused in one line, and nothing is made", async () => {
  const lab = `m${process.pid}z`;
  for (const [flags, message] of [
    [["--dual-stack", "--ipv6-only"], /--dual-stack and --ipv6-only exclude each other/],
    [["--backend=host-gw", "--direct-routing"], /--direct-routing is for the tunnels of vxlan and ipip/],
    [["--subnets=5"], /--subnets: must be within 1…3/],
    [["--config=/dev/null", "--nftables"], /--nftables and --config exclude each other/],
    [["--subnets=many"], /--subnets/],
  ] as const) {
    const { code, stderr } = await flannelctl("up", lab, ...flags);
    assert.notEqual(code, 0);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
  }
  assert.equal((await flannelctl("status", lab)).code, 1);
});
