/**
 * A lab that is a Kubernetes cluster, as a user runs it: bin/flannelctl, real flanneld with flannel's own permissions, pods
 * by bin/flannel and its delegates, kubectl in the hub.
 *
 *                hub: API server
 *           ┌───────┬───┴───┬───────┐
 *          h1      h2      h3      h4 (joins and leaves)
 *           │       │       │       │
 *         h1-c1   h2-c1   h3-c1   h4-c1
 *
 * That nothing remains is checked on the machine, not through the lab.
 */

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { exec, runCommand } from "../../src/linux/exec.ts";
import { netnsPath } from "../../src/linux/netns.ts";
import { PingStream } from "../support/ping.ts";
import { TestProcess } from "../support/process.ts";
import { FLANNELCTL, FLANNELD } from "../support/programs.ts";
import { until } from "../support/until.ts";

const [first, second, third] = ["a", "b", "c"].map((letter) => `k${process.pid}${letter}`) as [
  string,
  string,
  string,
];
/** kubectl has its cache here. */
const home = mkdtempSync(join(tmpdir(), `lab-kube-${process.pid}-`));

after(async () => {
  for (const name of [first, second, third]) await runCommand(FLANNELCTL, ["lab", "down", "--name", name]);
  rmSync(home, { recursive: true, force: true });
});

const lab = (command: string, name: string, ...args: string[]) =>
  runCommand(FLANNELCTL, ["lab", command, `--name=${name}`, ...args]);

async function succeed(command: string, name: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await lab(command, name, ...args);
  assert.equal(code, 0, `lab ${command} ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

const directoryOf = (name: string): string => `/run/flannel-lab/${name}`;
const netnsOf = (name: string, node: string): string => netnsPath(`flannel-${name}-${node}`);

/** kubectl in the hub, with the lab's kubeconfig unless another one is given. */
const kubectl = (name: string, args: readonly string[], file = "kubeconfig") =>
  lab(
    "exec",
    name,
    ...["hub", "--", "env", `HOME=${home}`, "kubectl", "--request-timeout=10s"],
    `--kubeconfig=${directoryOf(name)}/${file}`,
    ...args,
  );

interface Node {
  readonly metadata: { readonly name: string; readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly podCIDRs: readonly string[] };
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
}

async function nodesOf(name: string): Promise<Node[]> {
  const { code, stdout, stderr } = await kubectl(name, ["get", "nodes", "-o", "json"]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout).items;
}

/** flannel's routes to other hosts. */
async function routesOf(name: string, host: string, family: 4 | 6 = 4): Promise<string[]> {
  const args = [`-${family}`, "-json", "route", "show", "proto", "70"];
  const { stdout } = await exec("ip", args, { netns: netnsOf(name, host) });
  return (JSON.parse(stdout) as { dst: string }[]).map(({ dst }) => dst).sort();
}

/** Everything on the machine whose name contains the lab's. */
function traces(name: string): string[] {
  const namespaces = readdirSync("/run/netns").filter((file) => file.startsWith(`flannel-${name}-`));
  const commands = readdirSync("/proc")
    .filter((file) => /^\d+$/.test(file))
    .map((pid) => readProc(pid, "cmdline").replaceAll("\0", " "))
    .filter((line) => line.includes(`flannel-lab/${name}/`));
  const directories = [directoryOf(name), `/var/lib/flannel-lab/${name}`].filter(existsSync);
  return [...namespaces, ...commands, ...directories];
}

function readProc(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return ""; // it has just ended
  }
}

test("a cluster of three hosts: pods, hosts that join and leave, flanneld killed", async (t) => {
  const out = await succeed("up", first, "--kube");
  assert.match(out, /^hub {2}192\.168\.64\.1 {2}kube, network config written$/m);
  assert.match(
    out,
    /^h2 {3}192\.168\.64\.12 {2}flanneld, bridge 10\.5\.\d\.1\/24, MTU 1450, container h2-c1 10\.5\.\d\.2$/m,
  );
  assert.match(
    out,
    new RegExp(
      `lab exec hub --name ${first} -- kubectl --kubeconfig ${directoryOf(first)}/kubeconfig get nodes`,
    ),
  );

  await t.test("every pod and every host reaches every pod; status lists them", async () => {
    assert.match(await succeed("ping", first, "--count=2"), /^All 15 ways work/m);
    const status = await succeed("status", first);
    assert.match(status, /^hub +192\.168\.64\.1 +kube +\d+ /m);
    assert.match(status, /^h3 +192\.168\.64\.13 +flanneld +\d+ +10\.5\.\d\.1\/24 +h3-c1 10\.5\.\d\.2$/m);
  });

  await t.test(
    "kubectl sees the nodes with their podCIDRs and flannel's annotations; the network is available",
    async () => {
      const names = ["h1", "h2", "h3"];
      await until(
        async () =>
          (await nodesOf(first)).every(({ status: { conditions } }) =>
            conditions.some(({ type, status }) => type === "NetworkUnavailable" && status === "False"),
          ),
        "NetworkUnavailable=False on every node",
      );
      const nodes = await nodesOf(first);
      assert.deepEqual(
        nodes.map(({ metadata }) => metadata.name),
        names,
      );
      for (const [index, { metadata, spec }] of nodes.entries()) {
        const prefix = "flannel.alpha.coreos.com";
        assert.equal(metadata.annotations[`${prefix}/kube-subnet-manager`], "true");
        assert.equal(metadata.annotations[`${prefix}/public-ip`], `192.168.64.1${index + 1}`);
        assert.equal(metadata.annotations[`${prefix}/backend-type`], "vxlan");
        assert.match(spec.podCIDRs.join(), /^10\.5\.\d\.0\/24$/);
      }
      assert.equal(new Set(nodes.flatMap(({ spec }) => spec.podCIDRs)).size, 3);
      const table = (await kubectl(first, ["get", "nodes", "-o", "wide"])).stdout;
      assert.match(table, /^h2 +Ready .* 192\.168\.64\.12 /m);
    },
  );

  await t.test(
    "secrets are root's alone, and flanneld may do what flannel's ClusterRole allows",
    async () => {
      for (const file of ["kubeconfig", "flanneld.kubeconfig", "kube-api.json", "net-conf.json"]) {
        assert.equal(statSync(join(directoryOf(first), file)).mode & 0o777, 0o600, file);
      }
      const { code, stderr } = await kubectl(first, ["delete", "node", "h1"], "flanneld.kubeconfig");
      assert.equal(code, 1);
      assert.match(
        stderr,
        /User "system:serviceaccount:kube-flannel:flannel" cannot delete resource "nodes" in API group ""/,
      );
    },
  );

  await t.test(
    "flannelctl lists the leases with flanneld's own permissions, and the plan is empty",
    async () => {
      const flags = ["--kube-subnet-mgr", `--kubeconfig-file=${directoryOf(first)}/flanneld.kubeconfig`];
      const leases = await succeed("exec", first, "hub", "--", FLANNELCTL, "leases", ...flags);
      assert.match(leases, /^h2 +10\.5\.\d\.0\/24 +192\.168\.64\.12 +vxlan +never +\{"VNI":1,/m);
      const config = `--net-config-path=${directoryOf(first)}/net-conf.json`;
      const plan = ["NODE_NAME=h1", FLANNELCTL, "plan", "--ip-masq", config, ...flags];
      assert.match(await succeed("exec", first, "h1", "--", "env", ...plan), /^Nothing to do/m);
    },
  );

  await t.test("a host joins: no packet is lost between the others, and all reach its pod", async () => {
    await using stream = new PingStream(netnsOf(first, "h1-c1"), await podAddress(first, "h2"));
    await stream.more(20);
    const added = await succeed("add-host", first);
    assert.match(
      added,
      /^h4 {3}192\.168\.64\.14 {2}flanneld, bridge 10\.5\.3\.1\/24, .* h4-c1 10\.5\.3\.2$/m,
    );
    assert.match(await succeed("ping", first, "--count=1"), /^All 28 ways work/m);
    await stream.more(20);
    const { lost, sent } = await stream.stop();
    assert.deepEqual(lost, [], `of ${sent}`);
    assert.match(await succeed("status", first), /^h4 .* h4-c1 10\.5\.3\.2$/m);
    assert.deepEqual(
      (await nodesOf(first)).map(({ metadata }) => metadata.name),
      ["h1", "h2", "h3", "h4"],
    );
  });

  await t.test("a host leaves: the others remove it, and nothing of it remains", async () => {
    const [subnet] = (await nodesOf(first))[1]!.spec.podCIDRs as [string];
    assert.ok((await routesOf(first, "h1")).includes(subnet));
    assert.match(await succeed("remove-host", first, "h2"), /^Removed host h2 from lab/);
    for (const host of ["h1", "h3", "h4"]) {
      await until(async () => !(await routesOf(first, host)).includes(subnet), `${host} without ${subnet}`);
      assert.equal((await routesOf(first, host)).length, 2);
    }
    assert.deepEqual(
      (await nodesOf(first)).map(({ metadata }) => metadata.name),
      ["h1", "h3", "h4"],
    );
    assert.deepEqual(
      traces(first).filter((trace) => /[-/]h2\b/.test(trace)),
      [],
    );
    assert.match(await succeed("ping", first, "--count=1"), /^All 15 ways work/m);
    assert.doesNotMatch(await succeed("status", first), /h2/);
  });

  await t.test("the next host gets its name and address", async () => {
    assert.match(
      await succeed("add-host", first),
      /^h2 {3}192\.168\.64\.12 {2}flanneld, bridge 10\.5\.\d\.1/m,
    );
    assert.match(await succeed("ping", first, "--count=1"), /^All 28 ways work/m);
    await succeed("remove-host", first, "h4");
  });

  await t.test("concurrent commands: one changes the lab, the other reports that", async () => {
    const outcomes = await Promise.all([lab("add-host", first), lab("add-host", first)]);
    const done = outcomes.filter(({ code }) => code === 0);
    assert.ok(done.length > 0);
    for (const { code, stderr } of outcomes) {
      if (code !== 0)
        assert.match(stderr, /another command \(process \d+\) is changing lab .* when it is through/);
    }
    for (const { stdout } of done) await succeed("remove-host", first, /^h\d/.exec(stdout)![0]);
  });

  await t.test("hosts that cannot be removed are reported", async () => {
    const { code, stderr } = await lab("remove-host", first, "h9");
    assert.equal(code, 1);
    assert.match(stderr, /there is no host "h9" in lab .*; there are: h1, h2, h3/);
  });

  await t.test("flanneld killed and restarted: no packet is lost", async () => {
    await using stream = new PingStream(netnsOf(first, "h1-c1"), await podAddress(first, "h3"));
    await stream.more(20);
    const pid = /^h3 .* flanneld +(\d+) /m.exec(await succeed("status", first))![1]!;
    const [program, ...args] = readProc(pid, "cmdline").split("\0").slice(0, -1);
    const command = args.slice(args.findIndex((arg) => arg.endsWith("flanneld.cjs")) + 1);
    assert.ok(program?.endsWith("/node"));
    assert.ok(command.includes("--kube-subnet-mgr"), command.join(" "));
    const before = (await nodesOf(first))[2]!.metadata.annotations;
    process.kill(Number(pid), "SIGKILL");
    await until(() => readProc(pid, "cmdline") === "", "its end");
    await stream.more(20);
    const flanneld = FLANNELD;
    await using again = new TestProcess(flanneld, command, {
      netns: netnsOf(first, "h3"),
      env: { NODE_NAME: "h3" },
    });
    await again.brings("readiness", () => again.stderr.includes("flanneld is ready"));
    await stream.more(20);
    const { lost, sent } = await stream.stop();
    assert.deepEqual(lost, [], `of ${sent}`);
    assert.deepEqual((await nodesOf(first))[2]!.metadata.annotations, before, "the MAC is kept");
  });

  await t.test("down: pods are detached, nothing remains", async () => {
    const { code, stdout, stderr } = await lab("down", first);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /Removed lab/);
    assert.deepEqual(traces(first), []);
    assert.match(await succeed("down", first), /There is no lab/);
  });
});

test("dual stack and nftables: pods have both addresses, a host that joins is reached by both", async () => {
  await succeed("up", second, "--kube", "--dual-stack", "--nftables", "--hosts=2");
  assert.match(await succeed("ping", second, "--count=1"), /^All 12 ways work/m);
  assert.match(await succeed("add-host", second), /h3-c1 10\.5\.2\.2 fd00:5:0:2::2$/m);
  assert.match(await succeed("ping", second, "--count=1"), /^All 30 ways work/m);
  assert.deepEqual(await routesOf(second, "h1", 4), ["10.5.1.0/24", "10.5.2.0/24"]);
  assert.deepEqual(await routesOf(second, "h1", 6), ["fd00:5:0:1::/64", "fd00:5:0:2::/64"]);
  const [node] = await nodesOf(second);
  assert.deepEqual(node!.spec.podCIDRs, ["10.5.0.0/24", "fd00:5::/64"]);
  assert.equal(node!.metadata.annotations["flannel.alpha.coreos.com/public-ipv6"], "fd00:64::11");
  await succeed("down", second);
  assert.deepEqual(traces(second), []);
});

test("hosts join and leave a lab with an etcd too: the subnet of the one that leaves is released", async () => {
  await succeed("up", third, "--hosts=1");
  const refused = await lab("remove-host", third, "h1");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /h1 is the last host of lab .*: "lab down" removes the lab/);
  await succeed("add-host", third);
  assert.match(await succeed("ping", third, "--count=1"), /^All 6 ways work/m);
  const leases = async () =>
    (await succeed("exec", third, "hub", "--", FLANNELCTL, "leases")).match(/^10\.5\./gm);
  assert.equal((await leases())?.length, 2);
  await succeed("remove-host", third, "h1");
  await until(async () => (await routesOf(third, "h2")).length === 0, "h2 without routes");
  assert.equal((await leases())?.length, 1);
  await succeed("down", third);
  assert.deepEqual(traces(third), []);
});

test("`lab up --kube` killed at any moment: `lab down` finds everything", async () => {
  const directory = directoryOf(third);
  const moments: [string, () => boolean][] = [
    ["the access is written", () => existsSync(`${directory}/kubeconfig`)],
    ["the API server runs", () => existsSync(`${directory}/kube.log`)],
    ["a pod's namespace is there", () => existsSync(netnsOf(third, "h1-c1"))],
    ["a pod is attached", () => existsSync(`${directory}/h1/h1-c1.json`)],
  ];
  for (const [what, condition] of moments) {
    const up = new TestProcess(FLANNELCTL, ["lab", "up", "--kube", "--hosts=2", `--name=${third}`]);
    await up.brings(what, condition, 30_000);
    await up.stop("SIGKILL");
    await succeed("down", third);
    assert.deepEqual(traces(third), [], `killed when ${what}`);
  }
});

test("a host that cannot join is removed again, and the lab keeps running", async () => {
  await succeed("up", third, "--kube", "--hosts=1");
  const foreign = `flannel-${third}-h2`;
  await exec("ip", ["netns", "add", foreign]);
  const clash = await lab("add-host", third);
  await exec("ip", ["netns", "delete", foreign]);
  assert.equal(clash.code, 1);
  assert.match(clash.stderr, /the network namespace .*-h2 exists and is no lab's/);
  // Without its permissions flanneld exits.
  await exec("mv", [`${directoryOf(third)}/flanneld.kubeconfig`, `${directoryOf(third)}/away`]);
  const failed = await lab("add-host", third);
  await exec("mv", [`${directoryOf(third)}/away`, `${directoryOf(third)}/flanneld.kubeconfig`]);
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /flanneld on h2 exited:\n.*kubeconfig/);
  assert.deepEqual(
    traces(third).filter((trace) => /[-/]h2\b/.test(trace)),
    [],
  );
  await succeed("add-host", third);
  assert.match(await succeed("ping", third, "--count=1"), /^All 6 ways work/m);
  await succeed("down", third);
});

test("contradicting or missing options are one line, and nothing is created", async () => {
  const both = await lab("up", third, "--kube", "--etcd");
  assert.match(both.stderr, /--kube and --etcd exclude each other: leave one of the two out/);
  const node = [process.execPath, fileURLToPath(new URL("../../src/cmd/flannelctl.ts", import.meta.url))];
  const bare = await runCommand("env", [
    "PATH=/nonexistent",
    ...node,
    "lab",
    "up",
    "--kube",
    `--name=${third}`,
  ]);
  assert.match(bare.stderr, /not installed: openssl; on Debian: apt-get install openssl/);
  for (const { code, stderr } of [both, bare]) {
    assert.equal(code, 1);
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
  }
  assert.deepEqual(traces(third), []);
});

test("make demo with --kube: up, a table without a gap, until SIGTERM, then nothing", async () => {
  const demo = fileURLToPath(new URL("../../scripts/demo.ts", import.meta.url));
  const make = new TestProcess(process.execPath, [demo, third, "--kube"]);
  await make.brings("the demo", () => make.stdout.includes("until Ctrl-C"), 30_000);
  assert.match(make.stdout, /^All 15 ways work/m);
  assert.match(make.stdout, /kubectl --kubeconfig \S+ get nodes/);
  assert.notDeepEqual(traces(third), []);
  assert.equal(await make.stop("SIGTERM"), 0);
  assert.deepEqual(traces(third), []);
});

/** The address of the only pod of a host. */
async function podAddress(name: string, host: string): Promise<string> {
  return new RegExp(`${host}-c1 (\\S+)`).exec(await succeed("status", name))![1]!;
}
