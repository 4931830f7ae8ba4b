/**
 * The image as it is shipped: assembled, built by a real Docker, and run with the permissions of the manifests.
 *
 *              hub 192.168.64.1: etcd
 *               ┌──────────┴──────────┐
 *        eth0 192.168.64.11    eth0 192.168.64.12
 *        h1: flanneld in a     h2: flanneld on
 *            container             the host
 *        br0 10.6.a.1          br0 10.6.b.1
 */

import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { writeImageArchive } from "../../scripts/release/image-archive.ts";
import { ARCHITECTURES } from "../../scripts/release/release-plan.ts";
import { KubeApiServer } from "../../src/kube-server/kube-api-server.ts";
import { makeNode, makePod } from "../../src/kube-server/objects/node-object.ts";
import { KUBE_RULES } from "../../src/lease/kube/rbac.ts";
import { exec } from "../../src/linux/exec.ts";
import { writeSysctl } from "../../src/linux/sysctl.ts";
import { freshNetns } from "../netns/support.ts";
import { makeCertificates } from "../support/certificates.ts";
import { type CniRuntime, cniRuntime } from "../support/cni-runtime.ts";
import { Containerd } from "../support/containerd.ts";
import { DockerEngine } from "../support/docker.ts";
import { startEtcdOn, type TestHost, TestHosts } from "../support/hosts.ts";
import { helm, readObjects } from "../support/kube-tools.ts";
import { type ManifestObject, type ManifestPod, runManifestPod } from "../support/manifest-pod.ts";
import { PingStream, ping } from "../support/ping.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { until } from "../support/until.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CHART = join(ROOT, "deploy/chart/flannel");
const ARCHITECTURE = process.arch === "arm64" ? "arm64" : "amd64";
const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
const IMAGE = `flannel-ts:${version}`;
/** Most of it is Node.js; docs/kubernetes.md names the size. */
const MAX_IMAGE_MB = 140;
const PREFIX = "/coreos.com/network";
/** The permissions of the DaemonSet's container. */
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
let engine2: DockerEngine;
let endpoint: string;
before(async () => {
  bed = new TestHosts("image", 2);
  [h1, h2] = bed.hosts as [TestHost, TestHost];
  // A container's /proc/sys is read-only: what flanneld would set for its device is set as the default.
  writeSysctl("ipv6/conf/default/accept_ra", "0", { netns: h1.netns });
  ({ endpoint } = await startEtcdOn(bed.hub));
  await exec("node", [join(ROOT, "deploy/image/assemble.ts"), ARCHITECTURE], { timeoutMs: 120_000 });
  [engine, engine2] = (await Promise.all(bed.hosts.map(startEngine))) as [DockerEngine, DockerEngine];
});
after(async () => {
  await engine?.[Symbol.asyncDispose]();
  await engine2?.[Symbol.asyncDispose]();
  await bed?.[Symbol.asyncDispose]();
});

test("the image is small, says what it is, and has no shell and no world-writable file", async () => {
  const megabytes = Number(await engine.docker(["inspect", "--format={{.Size}}", IMAGE])) / 1e6;
  assert.ok(megabytes < MAX_IMAGE_MB, `${megabytes} MB`);
  const labels = JSON.parse(await engine.docker(["inspect", "--format={{json .Config.Labels}}", IMAGE]));
  assert.equal(labels["org.opencontainers.image.version"], version);
  assert.equal(labels["org.opencontainers.image.licenses"], "Apache-2.0");
  assert.match(labels["org.opencontainers.image.created"], /^\d{4}-\d\d-\d\dT/);
  const root = join(ROOT, `dist/image/root-${ARCHITECTURE}`);
  const files = readdirSync(root, { recursive: true }).map(String);
  assert.deepEqual(
    files.filter((file) => /(^|\/)(sh|bash|dash|busybox)$/.test(file)),
    [],
  );
  const { stdout } = await exec("find", [root, "!", "-type", "l", "-perm", "/o+w"]);
  assert.equal(stdout, "");
});

test("its commands run without capabilities and with a read-only file system", async () => {
  const said = await engine.docker(["run", ...FEW_RIGHTS, IMAGE, "--version"]);
  assert.equal(said.split(" ")[0], `v${version}`);
  const run = (...command: string[]) =>
    engine.docker(["run", ...FEW_RIGHTS, "--entrypoint", command[0]!, IMAGE, ...command.slice(1)]);
  assert.equal(await run("flannelctl", "version"), `flannelctl ${said}`);
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
    // kubelet's hint which variant it uses.
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
      assert.doesNotMatch(log.stderr, /^[WEF]\d{4}/m);
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
      // The operator's tool agrees, from within the same container.
      const plan = ["exec", variant, "flannelctl", "plan", ...args];
      assert.match(await engine.docker(plan), /nothing to (do|change)/i);
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

test("the installed plugin runs on a host that has no library and no shell", async () => {
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
      ...[IMAGE, "plugin", "--to=/opt/cni/bin"],
    ]);
  assert.match(await install(), new RegExp(`^/opt/cni/bin/flannel: version ${version}-\\w+ installed$`));
  assert.match(await install(), /is already installed$/);
  const { stdout } = await exec("chroot", [host, "/opt/cni/bin/flannel"], {
    env: { PATH: process.env.PATH, CNI_COMMAND: "VERSION" },
    input: '{"cniVersion": "1.0.0"}',
  });
  assert.deepEqual(JSON.parse(stdout).supportedVersions.includes("0.3.1"), true);
});

test("containerd imports the release's archive, and its runtime starts it read-only", async () => {
  const out = join(h2.directory, "archive");
  mkdirSync(out);
  const plan = {
    ...{ root: ROOT, out, version, commit: "", epochSeconds: 0, isFast: true, imageRepository: "" },
  };
  const architecture = ARCHITECTURES.find(({ name }) => name === ARCHITECTURE)!;
  writeImageArchive(plan, architecture, join(ROOT, "dist/image"), join(out, "staging"));
  await using containerd = await Containerd.start(h2);
  const archive = join(out, `flannel-ts-${version}-image-${ARCHITECTURE}-zstd.tar`);
  const platform = `linux/${ARCHITECTURE}`;
  await containerd.ctr(["images", "import", "--snapshotter", "native", "--platform", platform, archive]);
  const image = `docker.io/library/${IMAGE}`;
  const rights = ["--read-only"];
  const { stdout } = await containerd.run(image, "version", rights, ["/opt/bin/flanneld", "--version"]);
  assert.equal(stdout.split(" ")[0], `v${version}`);
  const bin = join(out, "bin");
  mkdirSync(bin);
  const mount = ["--mount", `type=bind,src=${bin},dst=/opt/cni/bin,options=rbind:rw`];
  const said = await containerd.run(
    image,
    "install",
    [...rights, ...mount],
    [...["/opt/bin/install-cni", "plugin"]],
  );
  assert.match(said.stdout, /^\/opt\/cni\/bin\/flannel: version \S+ installed$/m);
  assert.deepEqual(readdirSync(bin), ["flannel"]);
});

for (const backend of ["vxlan", "udp"] as const) {
  test(`two nodes run the chart's DaemonSet (${backend}): pods reach each other, even while it is replaced`, async (t) => {
    using certificates = makeCertificates();
    const [cert, key] = [certificates.server.cert, certificates.server.key].map((file) =>
      readFileSync(file, "utf8"),
    );
    const rights = { user: "system:serviceaccount:kube-flannel:flannel", rules: KUBE_RULES };
    const tokens = [{ token: "the-pods-token", ...rights }];
    await using api = await KubeApiServer.start({ tls: { cert: cert!, key: key! }, tokens });
    await using stack = new AsyncDisposableStack();
    const nodes = await Promise.all(
      [engine, engine2].map(async (nodeEngine, index) => {
        const node = await makeNodeOf(nodeEngine, index + 1, { api, ca: certificates.ca, stack, backend });
        const said = await node.apply();
        assert.match(said[0]!, backend === "vxlan" ? /version \S+ installed$/ : /is already installed$/);
        assert.match(said[1]!, /10-flannel\.conflist: (config installed|config is already installed)$/);
        return node;
      }),
    );
    for (const node of nodes) {
      await until(() => node.isUnavailable() === false, `NetworkUnavailable of ${node.name}`, 20_000);
      node.runtime = cniRuntime(
        JSON.parse(readFileSync(join(node.directory, "net.d/10-flannel.conflist"), "utf8")),
        node.engine.host.netns,
        [join(node.directory, "bin"), "/usr/lib/cni"],
      );
    }
    const [first, second] = await Promise.all(
      nodes.map(async (node) => {
        const pod = freshNetns(t, "pod");
        const { ips } = await node.runtime!.add({ id: `${node.name}-pod`, netns: pod.path });
        return { netns: pod.path, address: addressOf(ips[0].address) };
      }),
    );
    assert.match(`${first!.address} ${second!.address}`, /^10\.244\.1\.\d+ 10\.244\.2\.\d+$/);
    await until(
      async () => (await ping(first!.netns, second!.address, { count: 1 })) === 1,
      "the first ping",
    );
    assert.equal(await ping(second!.netns, first!.address), 5);

    // The operator's tool, in the pod.
    const flannelctl = (...words: string[]) =>
      engine.docker(["exec", "kube-flannel-1", "flannelctl", ...words, "--kube-subnet-mgr"]);
    const leases = await flannelctl("leases");
    const type = backend === "udp" ? "-" : backend; // udp publishes none
    for (const [index, { name }] of nodes.entries()) {
      assert.match(leases, new RegExp(`^${name} +10\\.244\\.${index + 1}\\.0/24 +[\\d.]+ +${type} `, "m"));
    }
    assert.match(await flannelctl("config", "get"), /"Network": "10\.244\.0\.0\/16"/);
    const plan = await flannelctl("plan", "--ip-masq");
    assert.match(plan, /^lease +10\.244\.1\.0\/24, the podCIDR of node /m);
    assert.match(plan, /^Nothing to do: /m);

    await using stream = new PingStream(first!.netns, second!.address);
    await stream.more(5);
    await nodes[0]!.remove();
    assert.match((await nodes[0]!.apply())[0]!, /is already installed$/);
    await until(() => nodes[0]!.isReady(), "flanneld again");
    await stream.more(5);
    const { answers } = stream;
    // With udp the replaced pod forwards the packets itself.
    if (backend === "vxlan") {
      assert.deepEqual(
        answers,
        Array.from({ length: answers.length }, (_, index) => index + 1),
      );
    }

    await Promise.all(
      nodes.map((node, index) =>
        node.runtime!.del({ id: `${node.name}-pod`, netns: [first, second][index]!.netns }),
      ),
    );
    assert.deepEqual(
      api.requests.filter(({ status }) => status >= 400),
      [],
    );
    for (const node of nodes) await node.remove();
  });
}

for (const installer of ["/opt/bin/install-conf", "cp"]) {
  test(`F17 Go flannel's manifest with this image in the place of its two (config by ${installer})`, async () => {
    using certificates = makeCertificates();
    const [cert, key] = [certificates.server.cert, certificates.server.key].map((file) =>
      readFileSync(file, "utf8"),
    );
    const rights = { user: "system:serviceaccount:kube-flannel:flannel", rules: KUBE_RULES };
    const tokens = [{ token: "the-pods-token", ...rights }];
    await using api = await KubeApiServer.start({ tls: { cert: cert!, key: key! }, tokens });
    await using stack = new AsyncDisposableStack();
    const name = installer === "cp" ? "go-cp" : "go-conf";
    const node = await makeNodeOf(engine, 1, { api, ca: certificates.ca, stack, backend: "vxlan", name });
    stack.defer(() => node.remove());
    // Go's manifest does not set NODE_NAME: flanneld asks for its pod.
    api.pods.create(makePod("kube-flannel-1", { namespace: "kube-flannel", nodeName: name }));
    const objects = goManifest(node.directory, installer);
    const said = await node.apply(objects);
    assert.match(said[0]!, /^\/opt\/cni\/bin\/flannel: version \S+ (installed|is already installed)/);
    await until(() => node.isUnavailable() === false, "NetworkUnavailable", 20_000);
    const conflist = readFileSync(join(node.directory, "net.d/10-flannel.conflist"), "utf8");
    assert.equal(conflist, objects[0]!.data!["cni-conf.json"]);
    const { stdout } = await exec(join(node.directory, "bin/flannel"), [], {
      env: { PATH: process.env.PATH, CNI_COMMAND: "VERSION" },
      input: '{"cniVersion": "1.0.0"}',
    });
    assert.ok(JSON.parse(stdout).supportedVersions.includes("1.0.0"));
  });
}

test("F17 mk-docker-opts.sh can be copied out of the image", async () => {
  const out = join(h1.directory, "scripts");
  mkdirSync(out);
  await engine.docker([
    ...["run", ...FEW_RIGHTS, "--volume", `${out}:/out`, "--entrypoint", "cp", IMAGE],
    ...["/opt/bin/mk-docker-opts.sh", "/out"],
  ]);
  const copy = join(out, "mk-docker-opts.sh");
  assert.deepEqual(readFileSync(copy), readFileSync(join(ROOT, "deploy/docker/mk-docker-opts.sh")));
  assert.equal(statSync(copy).mode & 0o777, 0o755);
});

test("the installed network config is the ConfigMap's", async () => {
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

/**
 * The ConfigMap and DaemonSet of Go flannel's kube-flannel.yml (v0.28; with `cp` as up to v0.27), as far as a node sees
 * them: its init containers have all rights that a container has, and the directories of the node are this test's.
 */
function goManifest(directory: string, installer: string): readonly ManifestObject[] {
  const config = ["/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist"];
  const field = (fieldPath: string) => ({ valueFrom: { fieldRef: { fieldPath } } });
  const pod: ManifestPod = {
    hostNetwork: true,
    initContainers: [
      {
        ...{ name: "install-cni-plugin", image: IMAGE, command: ["cp"] },
        args: ["-f", "/flannel", "/opt/cni/bin/flannel"],
        volumeMounts: [{ name: "cni-plugin", mountPath: "/opt/cni/bin" }],
      },
      {
        ...{ name: "install-cni", image: IMAGE, command: [installer] },
        args: installer === "cp" ? ["-f", ...config] : config,
        volumeMounts: [
          { name: "cni", mountPath: "/etc/cni/net.d" },
          { name: "flannel-cfg", mountPath: "/etc/kube-flannel/" },
        ],
      },
    ],
    containers: [
      {
        ...{ name: "kube-flannel", image: IMAGE, command: ["/opt/bin/flanneld"] },
        args: ["--ip-masq", "--kube-subnet-mgr", "--healthz-port=8081"],
        securityContext: { privileged: false, capabilities: { add: ["NET_ADMIN", "NET_RAW"] } },
        env: [
          { name: "POD_NAME", ...field("metadata.name") },
          { name: "POD_NAMESPACE", ...field("metadata.namespace") },
          { name: "EVENT_QUEUE_DEPTH", value: "5000" },
          { name: "CONT_WHEN_CACHE_NOT_READY", value: "false" },
        ],
        volumeMounts: [
          { name: "run", mountPath: "/run/flannel" },
          { name: "flannel-cfg", mountPath: "/etc/kube-flannel/" },
          { name: "xtables-lock", mountPath: "/run/xtables.lock" },
        ],
      },
    ],
    volumes: [
      { name: "run", hostPath: { path: "/run/flannel" } },
      { name: "cni-plugin", hostPath: { path: join(directory, "bin") } },
      { name: "cni", hostPath: { path: join(directory, "net.d") } },
      { name: "flannel-cfg", configMap: { name: "kube-flannel-cfg" } },
      { name: "xtables-lock", hostPath: { path: "/run/xtables.lock", type: "FileOrCreate" } },
    ],
  };
  const metadata = (name: string) => ({ name, namespace: "kube-flannel" });
  return [
    {
      ...{ apiVersion: "v1", kind: "ConfigMap", metadata: metadata("kube-flannel-cfg") },
      data: {
        "cni-conf.json":
          '{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel", "delegate": {"hairpinMode": true, ' +
          '"isDefaultGateway": true}}, {"type": "portmap", "capabilities": {"portMappings": true}}]}\n',
        "net-conf.json":
          '{"Network": "10.244.0.0/16", "EnableNFTables": false, "Backend": {"Type": "vxlan"}}\n',
      },
    },
    {
      ...{ apiVersion: "apps/v1", kind: "DaemonSet", metadata: metadata("kube-flannel-ds") },
      spec: { template: { spec: pod } },
    },
  ];
}

async function startEngine(host: TestHost): Promise<DockerEngine> {
  const started = await DockerEngine.start(host, ["--iptables=false", "--bridge=none"]);
  const context = join(ROOT, "dist/image");
  await started.docker(["build", "--build-arg", `TARGETARCH=${ARCHITECTURE}`, "--tag", IMAGE, context], {
    timeoutMs: 120_000,
  });
  return started;
}

/** A node of a cluster: its object, its connection to the API server, and the chart's DaemonSet on it. */
async function makeNodeOf(
  nodeEngine: DockerEngine,
  number: number,
  cluster: {
    readonly api: KubeApiServer;
    readonly ca: string;
    readonly stack: AsyncDisposableStack;
    readonly backend: string;
    readonly name?: string;
  },
) {
  const { api, ca, stack, backend, name = `node-${number}` } = cluster;
  const { host } = nodeEngine;
  api.nodes.create(makeNode(name, { podCIDRs: [`10.244.${number}.0/24`] }));
  const line = stack.use(await startTcpProxy(api.port, { netns: host.netns }));
  const directory = join(host.directory, name);
  const serviceAccount = join(directory, "account");
  mkdirSync(serviceAccount, { recursive: true });
  writeFileSync(join(serviceAccount, "token"), "the-pods-token");
  copyFileSync(ca, join(serviceAccount, "ca.crt"));
  writeSysctl("ipv4/ip_forward", "1", { netns: host.netns });
  // Directories of this test in the place of the machine's.
  const cniConf = {
    ...{ name: "cbr0", cniVersion: "0.3.1" },
    plugins: [
      {
        type: "flannel",
        subnetFile: join(directory, "run/flannel/subnet.env"),
        dataDir: join(directory, "flannel"),
        ipam: { dataDir: join(directory, "networks") },
        delegate: { hairpinMode: true, isDefaultGateway: true },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
  const flannel = {
    backend,
    cniBinDir: join(directory, "bin"),
    cniConfDir: join(directory, "net.d"),
    cniConf: JSON.stringify(cniConf),
  };
  const values = join(directory, "values.json");
  writeFileSync(values, JSON.stringify({ flannel }));
  const { stdout } = await helm([
    "template",
    "flannel",
    CHART,
    "--namespace=kube-flannel",
    "--values",
    values,
  ]);
  const pod = `kube-flannel-${number}`;
  const fields = { "metadata.name": pod, "metadata.namespace": "kube-flannel", "spec.nodeName": name };
  const node = {
    name,
    directory,
    engine: nodeEngine,
    runtime: undefined as CniRuntime | undefined,
    /** Starts the pod; returns the output of its init containers. */
    async apply(objects: readonly ManifestObject[] = readObjects(stdout)): Promise<readonly string[]> {
      const place = { engine: nodeEngine, directory, fields, serviceAccount, apiPort: line.port };
      return (await runManifestPod(objects, place)).said;
    },
    async remove(): Promise<void> {
      await nodeEngine.docker(["stop", "--time=10", pod]);
      await nodeEngine.docker(["rm", pod]);
    },
    isUnavailable: (): boolean =>
      api.nodes.get(name)!.status?.conditions?.find(({ type }) => type === "NetworkUnavailable")?.status !==
      "False",
    async isReady(): Promise<boolean> {
      const ask = 'fetch("http://127.0.0.1:8081/readyz").then(({ ok }) => console.log(ok), () => {})';
      return (await exec("node", ["-e", ask], { netns: host.netns })).stdout.trim() === "true";
    },
  };
  return node;
}

const addressOf = (subnet: string): string => subnet.split("/")[0]!;

/** A bridge with the host's address in the network, in place of containers; gives the address. */
async function makeBridge(host: TestHost, subnetFile: string): Promise<string> {
  await until(() => existsSync(subnetFile), subnetFile);
  const subnet = /^FLANNEL_SUBNET=(.*)$/m.exec(readFileSync(subnetFile, "utf8"))![1]!;
  await host.run("ip", ["link", "add", "br0", "type", "bridge"]);
  await host.run("ip", ["address", "add", subnet, "dev", "br0"]);
  await host.run("ip", ["link", "set", "br0", "up"]);
  return addressOf(subnet);
}
