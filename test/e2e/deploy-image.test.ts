/**
 * The image as it is shipped: assembled, built by a real Docker, and run with no more rights than the manifests give.
 *
 *              hub 192.168.64.1: etcd
 *               ┌──────────┴──────────┐
 *        eth0 192.168.64.11    eth0 192.168.64.12
 *        h1: flanneld in a     h2: flanneld on
 *            container             the host
 *        br0 10.6.a.1          br0 10.6.b.1
 */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { exec } from "../../src/linux/exec.ts";
import { DockerEngine } from "../support/docker.ts";
import { startEtcdOn, type TestHost, TestHosts } from "../support/hosts.ts";
import { ping } from "../support/ping.ts";
import { until } from "../support/until.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const ARCHITECTURE = process.arch === "arm64" ? "arm64" : "amd64";
const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
const IMAGE = `flannel-ts:${version}`;
/** Most of it is Node.js; docs/kubernetes.md names the size. */
const MAX_IMAGE_MB = 140;
const PREFIX = "/coreos.com/network";
/** The rights of the DaemonSet's container. */
const RIGHTS = [
  ...["--network=host", "--read-only", "--security-opt=no-new-privileges"],
  ...["--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW"],
];
/** Those of the init containers. */
const FEW_RIGHTS = [
  "--rm",
  "--network=none",
  "--read-only",
  "--security-opt=no-new-privileges",
  "--cap-drop=ALL",
];

let bed: TestHosts;
let h1: TestHost;
let h2: TestHost;
let engine: DockerEngine;
let endpoint: string;
before(async () => {
  bed = new TestHosts("image", 2);
  [h1, h2] = bed.hosts as [TestHost, TestHost];
  ({ endpoint } = await startEtcdOn(bed.hub));
  await exec("node", [join(ROOT, "deploy/image/assemble.ts"), ARCHITECTURE], { timeoutMs: 120_000 });
  engine = await DockerEngine.start(h1, ["--iptables=false", "--bridge=none"]);
  const context = join(ROOT, "dist/image");
  await engine.docker(["build", "--build-arg", `TARGETARCH=${ARCHITECTURE}`, "--tag", IMAGE, context], {
    timeoutMs: 120_000,
  });
});
after(async () => {
  await engine?.[Symbol.asyncDispose]();
  await bed?.[Symbol.asyncDispose]();
});

test("the image is small, and holds no shell and nothing that is writable for others", async () => {
  const megabytes = Number(await engine.docker(["inspect", "--format={{.Size}}", IMAGE])) / 1e6;
  assert.ok(megabytes < MAX_IMAGE_MB, `${megabytes} MB`);
  const root = join(ROOT, `dist/image/root-${ARCHITECTURE}`);
  const files = readdirSync(root, { recursive: true }).map(String);
  assert.deepEqual(
    files.filter((file) => /(^|\/)(sh|bash|dash|busybox)$/.test(file)),
    [],
  );
  const { stdout } = await exec("find", [root, "!", "-type", "l", "-perm", "/o+w"]);
  assert.equal(stdout, "");
});

test("its commands run without any right and with nothing to write to", async () => {
  assert.equal(await engine.docker(["run", ...FEW_RIGHTS, IMAGE, "--version"]), `v${version}`);
  const run = (...command: string[]) =>
    engine.docker(["run", ...FEW_RIGHTS, "--entrypoint", command[0]!, IMAGE, ...command.slice(1)]);
  assert.equal(await run("flannelctl", "version"), `flannelctl v${version}`);
  assert.match(await run("nft", "--version"), /^nftables v/);
  assert.match(await run("iptables-nft", "--version"), /\(nf_tables\)$/);
  assert.match(await run("ip6tables-legacy", "--version"), /\(legacy\)$/);
});

for (const variant of ["iptables-nft", "iptables-legacy", "nftables"] as const) {
  test(`flanneld in a container carries packets to one that runs on a host (${variant})`, async () => {
    const prefix = `${PREFIX}/${variant}`;
    const network = { Network: "10.6.0.0/16", EnableNFTables: variant === "nftables" };
    await bed.hub.run(
      "etcdctl",
      ["--endpoints", endpoint, "put", `${prefix}/config`, JSON.stringify(network)],
      {
        env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
      },
    );
    const args = [`--etcd-endpoints=${endpoint}`, `--etcd-prefix=${prefix}`, "--ip-masq"];
    const other = h2.start(join(ROOT, "bin/flanneld"), [
      ...args,
      `--subnet-file=${join(h2.directory, `${variant}.env`)}`,
    ]);
    // As kubelet says which one it uses.
    if (variant !== "nftables") await h1.run(variant, ["-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
    const run = join(h1.directory, variant);
    mkdirSync(run);
    writeFileSync(join(h1.directory, "xtables.lock"), "");
    await engine.docker([
      ...["run", "--detach", "--name", variant, ...RIGHTS],
      ...["--volume", `${run}:/run/flannel`],
      ...["--volume", `${join(h1.directory, "xtables.lock")}:/run/xtables.lock`],
      ...[IMAGE, ...args, "--healthz-port=8081"],
    ]);
    const log = engine.startDocker(["logs", "--follow", variant], {});
    try {
      await log.brings("flanneld in the container", () => /flanneld is ready/.test(log.stderr), 20_000);
      await other.brings("flanneld on the host", () => /flanneld is ready/.test(other.stderr));
      // A container's /proc/sys is read-only. With forwarding on, as Kubernetes wants it, accept_ra 1 means 0.
      assert.doesNotMatch(log.stderr, /^[WEF]\d{4}(?!.*accept_ra: EROFS)/m);
      const first = await makeBridge(h1, join(run, "subnet.env"));
      const second = await makeBridge(h2, join(h2.directory, `${variant}.env`));
      await until(async () => (await ping(h1.netns, second, { count: 1 })) === 1, "the way to h2");
      assert.equal(await ping(h1.netns, second), 5);
      assert.equal(await ping(h2.netns, first), 5);
      const rules =
        variant === "nftables"
          ? await h1.run("nft", ["list", "table", "ip", "flannel-ipv4"])
          : await h1.run(`${variant}-save`, []);
      assert.match(rules, /masquerade/i);
      const answer = await exec(
        "node",
        ["-e", 'fetch("http://127.0.0.1:8081/readyz").then(async (r) => console.log(await r.text()))'],
        { netns: h1.netns },
      );
      assert.equal(answer.stdout.trim(), "flanneld is ready");
      await engine.docker(["stop", "--time=10", variant]);
      assert.equal(await engine.docker(["inspect", "--format={{.State.ExitCode}}", variant]), "0");
      assert.equal(await ping(h1.netns, second), 5);
    } finally {
      await engine.docker(["rm", "--force", variant]);
      await other.stop();
      for (const host of [h1, h2]) await host.run("ip", ["link", "delete", "br0"]).catch(() => {});
      if (variant !== "nftables") await h1.run(variant, ["-t", "mangle", "-X", "KUBE-IPTABLES-HINT"]);
    }
  });
}

test("the plugin that it installs runs on a host that has no library and no shell", async () => {
  // A host like that is a directory with the plugins and nothing else.
  const host = join(h1.directory, "bare-host");
  const plugins = join(host, "opt/cni/bin");
  mkdirSync(plugins, { recursive: true });
  const install = () =>
    engine.docker([
      ...[
        "run",
        ...FEW_RIGHTS,
        "--volume",
        `${plugins}:/opt/cni/bin`,
        "--entrypoint",
        "/opt/bin/install-cni",
      ],
      ...[IMAGE, "plugin", "--to=/opt/cni/bin", "--host-path=/opt/cni/bin"],
    ]);
  assert.match(await install(), new RegExp(`^/opt/cni/bin/flannel: version ${version}-\\w+ installed$`));
  assert.match(await install(), /is there already$/);
  const { stdout } = await exec("chroot", [host, "/opt/cni/bin/flannel"], {
    env: { PATH: process.env.PATH, CNI_COMMAND: "VERSION" },
    input: '{"cniVersion": "1.0.0"}',
  });
  assert.deepEqual(JSON.parse(stdout).supportedVersions.includes("0.3.1"), true);
});

test("the network config that it installs is the ConfigMap's", async () => {
  const netd = join(h1.directory, "net.d");
  const config = join(h1.directory, "cni-conf.json");
  mkdirSync(netd);
  writeFileSync(config, '{"cniVersion": "0.3.1", "name": "cbr0", "plugins": [{"type": "flannel"}]}');
  const install = () =>
    engine.docker([
      ...[
        "run",
        ...FEW_RIGHTS,
        "--volume",
        `${netd}:/etc/cni/net.d`,
        "--volume",
        `${config}:/etc/kube-flannel/cni-conf.json:ro`,
      ],
      ...["--entrypoint", "/opt/bin/install-cni", IMAGE, "config"],
    ]);
  await install();
  assert.equal(readFileSync(join(netd, "10-flannel.conflist"), "utf8"), readFileSync(config, "utf8"));
  assert.deepEqual(readdirSync(netd), ["10-flannel.conflist"]);
  writeFileSync(config, "{");
  await assert.rejects(install(), /is not valid JSON/);
});

/** A bridge with the host's address in the network, in place of containers; gives the address. */
async function makeBridge(host: TestHost, subnetFile: string): Promise<string> {
  await until(() => existsSync(subnetFile), subnetFile);
  const subnet = /^FLANNEL_SUBNET=(.*)$/m.exec(readFileSync(subnetFile, "utf8"))![1]!;
  await host.run("ip", ["link", "add", "br0", "type", "bridge"]);
  await host.run("ip", ["address", "add", subnet, "dev", "br0"]);
  await host.run("ip", ["link", "set", "br0", "up"]);
  return subnet.split("/")[0]!;
}
