/**
 * The manifest, the kustomization and the chart: checked with Kubernetes' own schemas, with real helm and kubectl, and with
 * flanneld's own parsers.
 */

import assert from "node:assert/strict";
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { BACKEND_TYPES, findBackend, MISSING_BACKEND_TYPES } from "../../src/backend/backends.ts";
import { parseFlags } from "../../src/config/flags.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../src/config/network-config.ts";
import { readOptions } from "../../src/config/options.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS } from "../../src/config/options-table.ts";
import { KUBE_RULES } from "../../src/lease/kube/rbac.ts";
import { helm, type KubeObject, kubectl, readObjects, schemaFaults } from "../support/kube-tools.ts";

const DEPLOY = fileURLToPath(new URL("../../deploy", import.meta.url));
const CHART = join(DEPLOY, "chart/flannel");
const NAMESPACE = "kube-flannel";
const { version } = JSON.parse(readFileSync(join(DEPLOY, "../package.json"), "utf8")) as { version: string };

/** Every backend that Go flannel has had. */
const BACKENDS = [...BACKEND_TYPES, ...MISSING_BACKEND_TYPES, "tunnel"];

interface Container {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly env?: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: unknown }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
}
interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}
interface AnyObject extends KubeObject {
  readonly rules?: unknown;
  readonly roleRef?: unknown;
  readonly subjects?: unknown;
  readonly data?: Readonly<Record<string, string>>;
  readonly stringData?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly template: {
      readonly spec: Readonly<Record<string, unknown>> & {
        readonly initContainers: readonly Container[];
        readonly containers: readonly Container[];
        readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
      };
    };
  };
}

const manifest = readObjects<AnyObject>(readFileSync(join(DEPLOY, "kubernetes/kube-flannel.yml"), "utf8"));
const ofKind = (objects: readonly AnyObject[], kind: string): AnyObject =>
  objects.find((object) => object.kind === kind) ?? assert.fail(`no ${kind}`);
const podOf = (objects: readonly AnyObject[]) => ofKind(objects, "DaemonSet").spec!.template.spec;
const flanneldOf = (objects: readonly AnyObject[]): Container => podOf(objects).containers[0]!;
/** Of the Secret where there is one, else of the ConfigMap; never of both. */
function netConfOf(objects: readonly AnyObject[]): NetworkConfig {
  const texts = objects.flatMap(({ kind, data, stringData }) =>
    kind === "ConfigMap" || kind === "Secret" ? ((data ?? stringData)?.["net-conf.json"] ?? []) : [],
  );
  assert.equal(texts.length, 1);
  return parseNetworkConfig(texts[0]!);
}

async function render(...settings: readonly string[]): Promise<AnyObject[]> {
  const args = ["template", "flannel", CHART, "--namespace", NAMESPACE];
  const { stdout } = await helm([...args, ...settings.flatMap((setting) => ["--set-json", setting])]);
  return readObjects<AnyObject>(stdout);
}

/** What is true for every way of installing flannel, with any settings. */
async function check(objects: readonly AnyObject[]): Promise<void> {
  // Kubernetes' schemas have none of the Prometheus operator's kinds.
  assert.deepEqual(await schemaFaults(objects.filter(({ kind }) => kind !== "PodMonitor")), []);
  const clusterWide = ["Namespace", "ClusterRole", "ClusterRoleBinding"];
  for (const { kind, metadata } of objects) {
    assert.equal(metadata.namespace, clusterWide.includes(kind) ? undefined : NAMESPACE, kind);
  }
  assert.deepEqual(ofKind(objects, "ClusterRole").rules, KUBE_RULES);
  assert.deepEqual(ofKind(objects, "ClusterRoleBinding").roleRef, {
    apiGroup: "rbac.authorization.k8s.io",
    kind: "ClusterRole",
    name: ofKind(objects, "ClusterRole").metadata.name,
  });
  const { name } = ofKind(objects, "ServiceAccount").metadata;
  assert.deepEqual(ofKind(objects, "ClusterRoleBinding").subjects, [
    { kind: "ServiceAccount", name, namespace: NAMESPACE },
  ]);
  const pod = podOf(objects);
  assert.equal(pod.serviceAccountName, name);
  assert.equal(pod.hostNetwork, true);
  assert.equal(pod.priorityClassName, "system-node-critical");
  checkRights(pod);
  checkVolumes(pod);
  checkFlanneld(flanneldOf(objects), netConfOf(objects));
}

function checkRights({ initContainers, containers }: ReturnType<typeof podOf>): void {
  const few = { privileged: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true };
  for (const { name, securityContext } of initContainers) {
    assert.deepEqual(securityContext, { ...few, capabilities: { drop: ["ALL"] } }, name);
  }
  assert.equal(containers.length, 1);
  assert.deepEqual(containers[0]!.securityContext, {
    ...few,
    capabilities: { drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW"] },
  });
}

function checkVolumes({ initContainers, containers, volumes }: ReturnType<typeof podOf>): void {
  const mounted = [...initContainers, ...containers].flatMap(({ volumeMounts }) => volumeMounts);
  assert.deepEqual(
    [...new Set(mounted.map(({ name }) => name))].sort(),
    volumes
      .map(({ name }) => name)
      .filter((name) => name !== "cni" || initContainers.length > 1)
      .sort(),
  );
}

/** flanneld's own parsers accept its flags, environment and config. */
function checkFlanneld(
  { command, args, env, volumeMounts, ...rest }: Container,
  config: NetworkConfig,
): void {
  assert.deepEqual(command, ["/opt/bin/flanneld"]);
  const variables = Object.fromEntries(env!.map(({ name, value }) => [name, value ?? "a-name"]));
  const parsed = parseFlags(FLANNELD_FLAGS, { args, environment: { variables, prefix: ENVIRONMENT_PREFIX } });
  if (parsed.type !== "ok") assert.fail(`flanneld does not accept ${args.join(" ")}`);
  const options = readOptions(parsed.flags, variables);
  assert.equal(parsed.flags.values["kube-subnet-mgr"], true);
  for (const name of ["POD_NAME", "POD_NAMESPACE", "NODE_NAME"])
    assert.equal(variables[name], "a-name", name);
  const mounts = volumeMounts.map(({ mountPath }) => mountPath.replace(/\/$/, ""));
  for (const file of [parsed.flags.values["subnet-file"], parsed.flags.values["net-config-path"]]) {
    assert.ok(mounts.includes(file.slice(0, file.lastIndexOf("/"))), `${file} is on no volume`);
  }
  assert.equal(mounts.includes("/dev/net/tun"), config.backend.type === "udp");
  findBackend(config.backend.type);
  const { listen } = options.status;
  const isScraped = parsed.flags.sources["status-listen"] !== undefined;
  const ports = [
    ...(options.healthz === undefined ? [] : [{ name: "healthz", containerPort: options.healthz.port }]),
    ...(isScraped ? [{ name: "metrics", containerPort: listen!.port }] : []),
  ];
  assert.deepEqual(
    rest.ports ?? [],
    ports.map((port) => ({ ...port, protocol: "TCP" })),
  );
  if (options.healthz === undefined) {
    assert.deepEqual([rest.livenessProbe, rest.readinessProbe], [undefined, undefined]);
  } else {
    assert.deepEqual(rest.livenessProbe?.httpGet, { path: "/healthz", port: "healthz" });
    assert.deepEqual(rest.readinessProbe?.httpGet, { path: "/readyz", port: "healthz" });
  }
}

test("the manifest is valid for Kubernetes and flanneld", async () => {
  await check(manifest);
  const namespace = ofKind(manifest, "Namespace");
  assert.equal(namespace.metadata.name, NAMESPACE);
  assert.equal(namespace.metadata.labels!["pod-security.kubernetes.io/enforce"], "privileged");
  assert.deepEqual(new Set(imagesOf(manifest)), new Set([`flannel-ts:${version}`]));
});

test("kubectl's kustomize renders the manifest, with another image", async (t) => {
  const { stdout } = await kubectl(["kustomize", join(DEPLOY, "kubernetes")]);
  assert.deepEqual(byName(readObjects<AnyObject>(stdout)), byName(manifest));
  const overlay = temporaryDirectory(t);
  writeFileSync(
    join(overlay, "kustomization.yaml"),
    `resources:\n- base\nimages:\n- name: flannel-ts\n  newName: images.example/net/flannel-ts\n  newTag: "7"\n`,
  );
  // kustomize follows no paths out of the overlay's root; a copy is what a user's repository holds.
  for (const file of globSync("*", { cwd: join(DEPLOY, "kubernetes") })) {
    const text = readFileSync(join(DEPLOY, "kubernetes", file), "utf8");
    writeInto(join(overlay, "base"), file, text);
  }
  const built = readObjects<AnyObject>((await kubectl(["kustomize", overlay])).stdout);
  assert.deepEqual(new Set(imagesOf(built)), new Set(["images.example/net/flannel-ts:7"]));
});

test("the chart with default values is the manifest", async () => {
  const rendered = await render();
  const { tolerations, ...pod } = podOf(rendered);
  const { tolerations: manifestTolerations, ...manifestPod } = podOf(manifest);
  assert.deepEqual(pod, manifestPod);
  // As in Go flannel's two: the chart tolerates NoExecute as well.
  assert.deepEqual(manifestTolerations, [{ operator: "Exists", effect: "NoSchedule" }]);
  assert.deepEqual(tolerations, [
    { effect: "NoExecute", operator: "Exists" },
    { effect: "NoSchedule", operator: "Exists" },
  ]);
  assert.deepEqual(netConfOf(rendered), netConfOf(manifest));
  for (const kind of ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"]) {
    assert.deepEqual(ofKind(rendered, kind), ofKind(manifest, kind));
  }
  const cniConf = (objects: readonly AnyObject[]) =>
    JSON.parse(ofKind(objects, "ConfigMap").data!["cni-conf.json"]!);
  assert.deepEqual(cniConf(rendered), cniConf(manifest));
});

for (const backend of BACKENDS) {
  test(`the chart renders the backend ${backend}, or refuses it as flanneld does`, async () => {
    const isSupported = BACKEND_TYPES.includes(backend);
    const rendering = render(`flannel.backend="${backend}"`);
    if (!isSupported) {
      await assert.rejects(
        rendering,
        new RegExp(
          `flannel.backend: "${backend}" is not supported by this version: use one of ${BACKEND_TYPES.join(", ")}`,
        ),
      );
      return;
    }
    const objects = await rendering;
    await check(objects);
    assert.equal(netConfOf(objects).backend.type, backend);
  });
}

test("the values reach the network config", async () => {
  const vxlan = await render(
    ...["flannel.backendPort=4789", "flannel.vni=7", "flannel.mtu=9000", "flannel.GBP=true"],
    ...["flannel.directRouting=true", "flannel.disableTxChecksum=true", "flannel.enableNFTables=true"],
    ...['podCidr="10.1.0.0/16"', 'podCidrv6="2001:cafe:42::/56"'],
  );
  await check(vxlan);
  const config = netConfOf(vxlan);
  assert.deepEqual(config.backend.members, {
    ...{ Port: 4789, VNI: 7, MTU: 9000, GBP: true, DirectRouting: true, DisableTxChecksum: true },
  });
  assert.equal(config.enableNftables, true);
  assert.deepEqual(config.notes, []);
  assert.ok(config.ipv4 !== undefined && config.ipv6 !== undefined);
  const ipv6Only = await render('podCidr=""', 'podCidrv6="2001:cafe:42::/56"', 'flannel.backend="host-gw"');
  await check(ipv6Only);
  assert.equal(netConfOf(ipv6Only).ipv4, undefined);
  assert.deepEqual(
    netConfOf(await render('flannel.backend="udp"', "flannel.backendPort=8286")).backend.members,
    {
      Port: 8286,
    },
  );
});

test("the values of wireguard and ipip reach the network config", async () => {
  const wireguard = await render(
    ...['flannel.backend="wireguard"', "flannel.backendPort=51000", "flannel.backendPortv6=51001"],
    ...["flannel.mtu=1400", 'flannel.tunnelMode="auto"', "flannel.keepaliveInterval=25", 'flannel.psk=""'],
    ...["flannel.vni=7", "flannel.directRouting=true"],
  );
  await check(wireguard);
  assert.deepEqual(netConfOf(wireguard).backend.members, {
    ...{ ListenPort: 51000, ListenPortV6: 51001, MTU: 1400, Mode: "auto", PersistentKeepaliveInterval: 25 },
  });
  const ipip = await render('flannel.backend="ipip"', "flannel.directRouting=true", "flannel.mtu=1400");
  await check(ipip);
  assert.deepEqual(netConfOf(ipip).backend.members, { DirectRouting: true, MTU: 1400 });
});

test("the values of ipsec and extension, and what userspace WireGuard and charon need of the node", async () => {
  const volumeOf = (objects: readonly AnyObject[], volume: string) =>
    podOf(objects).volumes.find(({ name }) => name === volume)?.hostPath;
  const userspace = await render('flannel.backend="wireguard"', 'flannel.implementation="userspace"');
  assert.deepEqual(netConfOf(userspace).backend.members, { Implementation: "userspace" });
  assert.deepEqual(volumeOf(userspace, "tun"), { path: "/dev/net/tun", type: "CharDevice" });
  assert.equal(volumeOf(await render('flannel.backend="wireguard"'), "tun"), undefined);
  const ipsec = await render(
    ...['flannel.backend="ipsec"', "flannel.udpEncap=true", 'flannel.espProposal="aes256gcm16-ecp384"'],
    'flannel.charonDirectory="/run/strongswan"',
  );
  await check(ipsec);
  assert.deepEqual(netConfOf(ipsec).backend.members, {
    ...{ UDPEncap: true, ESPProposal: "aes256gcm16-ecp384" },
  });
  assert.deepEqual(volumeOf(ipsec, "charon"), { path: "/run/strongswan", type: "DirectoryOrCreate" });
  const commands = { SubnetAddCommand: "add $SUBNET", PostStartupCommand: "post" };
  const extension = await render(
    'flannel.backend="extension"',
    `flannel.subnetAddCommand="${commands.SubnetAddCommand}"`,
    `flannel.postStartupCommand="${commands.PostStartupCommand}"`,
  );
  await check(extension);
  assert.deepEqual(netConfOf(extension).backend.members, commands);
});

test("a preshared key is in a Secret, which the pods read in the place of the ConfigMap's file", async () => {
  const psk = Buffer.alloc(32, 7).toString("base64");
  const objects = await render('flannel.backend="wireguard"', `flannel.psk="${psk}"`);
  await check(objects);
  assert.deepEqual(netConfOf(objects).backend.members, { PSK: psk });
  const others = objects.filter(({ kind }) => kind !== "Secret");
  assert.ok(!JSON.stringify(others).includes(psk));
  const long = "0123456789abcdef".repeat(6);
  const ofIpsec = await render('flannel.backend="ipsec"', `flannel.psk="${long}"`);
  assert.deepEqual(netConfOf(ofIpsec).backend.members, { PSK: long });
  assert.ok(!JSON.stringify(ofIpsec.filter(({ kind }) => kind !== "Secret")).includes(long));
  assert.deepEqual(
    podOf(objects).volumes.find(({ name }) => name === "flannel-cfg"),
    {
      name: "flannel-cfg",
      projected: {
        defaultMode: 0o400,
        sources: [
          { configMap: { name: ofKind(objects, "ConfigMap").metadata.name } },
          { secret: { name: ofKind(objects, "Secret").metadata.name } },
        ],
      },
    },
  );
  const byDefault = await render('flannel.backend="wireguard"');
  for (const none of ["0", '""', "null"])
    assert.deepEqual(await render('flannel.backend="wireguard"', `flannel.psk=${none}`), byDefault);
  assert.deepEqual(await render(`flannel.psk="${psk}"`), await render(), "no backend, no secret");
});

test("the values reach the pods", async () => {
  const objects = await render(
    ...[
      'flannel.image={"repository":"images.example/net/flannel-ts","tag":"7"}',
      'flannel.imagePullPolicy="Always"',
    ],
    ...[
      'flannel.cniBinDir="/var/lib/cni/bin"',
      'flannel.cniConfDir="/var/lib/cni/net.d"',
      "flannel.healthz.port=0",
    ],
    ...[
      "flannel.skipCNIConfigInstallation=true",
      'flannel.nodeSelector={"net":"flannel"}',
      "flannel.tolerations=[]",
    ],
    ...[
      'flannel.extraEnv=[{"name":"WIREGUARD_KEY_FILE","value":"/run/flannel/key"}]',
      "flannel.resources={}",
    ],
    ...['global.imagePullSecrets=[{"name":"s"}]', 'flannel.args=["--kube-subnet-mgr","--iface=eth1","-v=2"]'],
  );
  await check(objects);
  const pod = podOf(objects);
  assert.deepEqual(new Set(imagesOf(objects)), new Set(["images.example/net/flannel-ts:7"]));
  assert.deepEqual(pod.imagePullSecrets, [{ name: "s" }]);
  assert.deepEqual(pod.nodeSelector, { net: "flannel" });
  assert.equal(pod.tolerations, undefined);
  assert.equal(pod.initContainers.length, 1);
  assert.ok(pod.initContainers[0]!.args.includes("--host-path=/var/lib/cni/bin"));
  const paths = pod.volumes.map(({ hostPath }) => hostPath?.path);
  assert.ok(paths.includes("/var/lib/cni/bin") && paths.includes("/var/lib/cni/net.d"));
  assert.deepEqual(flanneldOf(objects).args, ["--kube-subnet-mgr", "--iface=eth1", "-v=2"]);
  assert.ok(flanneldOf(objects).env!.some(({ name }) => name === "WIREGUARD_KEY_FILE"));
});

test("metrics: on the nodes' addresses by choice, with annotations, a token and a PodMonitor", async () => {
  const byDefault = await render();
  assert.doesNotMatch(JSON.stringify(byDefault), /prometheus|PodMonitor|status-listen/);
  assert.deepEqual(await render("flannel.metrics=null"), byDefault);
  const annotationsOf = (objects: readonly AnyObject[]) =>
    (ofKind(objects, "DaemonSet").spec!.template as unknown as { metadata: { annotations: unknown } })
      .metadata.annotations;
  const open = await render("flannel.metrics.port=7001", "flannel.metrics.podMonitor.enabled=true");
  await check(open);
  assert.deepEqual(annotationsOf(open), {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": "7001",
    "prometheus.io/path": "/metrics",
  });
  const endpoint = (objects: readonly AnyObject[]) =>
    (ofKind(objects, "PodMonitor").spec as unknown as { podMetricsEndpoints: Record<string, unknown>[] })
      .podMetricsEndpoints[0]!;
  assert.deepEqual([endpoint(open).port, endpoint(open).authorization], ["metrics", undefined]);
  assert.ok(flanneldOf(open).args.includes("--status-listen=0.0.0.0:7001"));

  const secured = await render(
    ...[
      'flannel.metrics={"port":7000,"tokenSecret":"t","podMonitor":{"enabled":true,"labels":{"release":"p"}}}',
    ],
    ...['podCidr=""', 'podCidrv6="2001:cafe:42::/56"', "flannel.healthz.port=0", 'flannel.backend="host-gw"'],
  );
  await check(secured);
  const { args } = flanneldOf(secured);
  assert.deepEqual(args.slice(-2), [
    "--status-listen=[::]:7000",
    "--status-token-file=/etc/flannel-status/token",
  ]);
  assert.deepEqual(endpoint(secured).authorization, { credentials: { name: "t", key: "token" } });
  assert.equal(ofKind(secured, "PodMonitor").metadata.labels!.release, "p");
  const volume = podOf(secured).volumes.find(({ name }) => name === "status-token");
  assert.deepEqual(volume, { name: "status-token", secret: { secretName: "t", defaultMode: 0o400 } });

  // The manifest's kustomization means the same as the chart.
  const { stdout } = await kubectl(["kustomize", join(DEPLOY, "monitoring")]);
  const manifestWithMetrics = readObjects<AnyObject>(stdout);
  await check(manifestWithMetrics);
  const chart = await render("flannel.metrics.port=7000", "flannel.metrics.podMonitor.enabled=true");
  assert.deepEqual(flanneldOf(manifestWithMetrics), flanneldOf(chart));
  assert.deepEqual(annotationsOf(manifestWithMetrics), annotationsOf(chart));
  assert.deepEqual(ofKind(manifestWithMetrics, "PodMonitor"), ofKind(chart, "PodMonitor"));
});

for (const [setting, fault] of [
  [
    "flannel.metrics.podMonitor.enabled=true",
    /does not reach the nodes' loopback; set flannel\.metrics\.port/,
  ],
  ['flannel.metrics.port="65536"', /flannel\.metrics\.port: it is larger than 65535/],
  ['flannel.metrics.tokenSecret="a b"', /does not match pattern/],
  ['flannel.backendPort="http"', /'http' does not match pattern/],
  ['flannel.backendPort="65536"', /flannel\.backendPort: 65536 is larger than 65535/],
  ['flannel.healthz.port="65536"', /flannel\.healthz\.port: it is larger than 65535/],
  ['flannel.vni="16777216"', /flannel\.vni: 16777216 is larger than 16777215/],
  ['flannel.backendPortv6="65536"', /flannel\.backendPortv6: 65536 is larger than 65535/],
  ['flannel.keepaliveInterval="70000"', /flannel\.keepaliveInterval: 70000 is larger than 65535/],
  ['flannel.psk="secret"', /does not match pattern/],
  ['flannel.tunnelMode="IPv4"', /value must be one of 'separate', 'auto', 'ipv4', 'ipv6'/],
  ['flannel.directRouting="yes"', /value must be one of true, false/],
  ['netpol.enabled="true"', /netpol\.enabled: this chart does not run kube-network-policies/],
  ["flannel.args=null", /missing property 'args'/],
  ['flannel.cniBinDir="opt/cni"', /does not match pattern/],
  ["netpol.enabled=true", /netpol\.enabled: this chart does not run kube-network-policies; install it/],
  ['podCidr=""', /podCidr and podCidrv6 are both empty: set the cluster's pod network/],
  [
    'flannel.image.repository="registry.example/flannel-io/flannel"',
    /is Go flannel's image, which this chart cannot/,
  ],
] as const) {
  test(`the chart refuses ${setting} with a remedy`, async () => {
    await assert.rejects(render(setting), fault);
  });
}

test("F17 numbers and switches as strings mean the same as without quotes", async () => {
  const values = {
    backendPort: 4789,
    vni: 7,
    mtu: 9000,
    GBP: true,
    directRouting: true,
    disableTxChecksum: false,
  };
  const settings = Object.entries({ ...values, enableNFTables: true, skipCNIConfigInstallation: false });
  const plain = await render(
    ...settings.map(([name, value]) => `flannel.${name}=${value}`),
    "flannel.healthz.port=9000",
  );
  const args = ["template", "flannel", CHART, "--namespace", NAMESPACE];
  for (const write of [
    String,
    (value: unknown) => String(value).replace(/^./, (letter) => letter.toUpperCase()),
  ]) {
    const strings = [...settings, ["healthz.port", 9000]].flatMap(([name, value]) => [
      "--set-string",
      `flannel.${name}=${write(value)}`,
    ]);
    const { stdout } = await helm([...args, ...strings]);
    assert.deepEqual(readObjects<AnyObject>(stdout), plain);
  }
  assert.equal(podOf(plain).initContainers.length, 2);
});

test("F17 null means not set, wherever a default exists", async () => {
  const byDefault = await render();
  const nothing = [
    "psk",
    "tunnelMode",
    "keepaliveInterval",
    "backendPortv6",
    "macPrefix",
    "backendPort",
    "mtu",
    "vni",
    "GBP",
    "directRouting",
    "enableNFTables",
    "extraEnv",
    "imagePullPolicy",
    "nodeSelector",
    "cniBinDir",
    "cniConfDir",
    "flannel_cni",
    "skipCNIConfigInstallation",
    "image.tag",
    "image.repository",
  ];
  const rendered = await render(
    ...nothing.map((name) => `flannel.${name}=null`),
    "netpol=null",
    "podCidrv6=null",
  );
  assert.deepEqual(rendered, byDefault);
  await check(await render("flannel.healthz=null", "flannel.resources=null"));
});

test("F17 what Kubernetes wants as text may be given as a number or a switch", async (t) => {
  const file = join(temporaryDirectory(t), "values.yaml");
  writeFileSync(
    file,
    "flannel:\n  image: {tag: 20240101}\n  nodeSelector: {ssd: true, zone: 7}\n  extraEnv: [{name: A, value: 10000000}, {name: B, value: false}]\n" +
      "  cniConf: {cniVersion: 1.0.0, name: cbr0, plugins: [{type: flannel}]}\n",
  );
  const { stdout } = await helm(["template", "flannel", CHART, "--namespace", NAMESPACE, "--values", file]);
  const objects = readObjects<AnyObject>(stdout);
  await check(objects);
  assert.deepEqual(new Set(imagesOf(objects)), new Set(["flannel-ts:20240101"]));
  assert.deepEqual(podOf(objects).nodeSelector, { ssd: "true", zone: "7" });
  const env = flanneldOf(objects).env!;
  assert.deepEqual(env.slice(-2), [
    { name: "A", value: "10000000" },
    { name: "B", value: "false" },
  ]);
  assert.deepEqual(JSON.parse(ofKind(objects, "ConfigMap").data!["cni-conf.json"]!).plugins, [
    { type: "flannel" },
  ]);
});

test("F17 unknown values are reported after the installation, and have no effect", async () => {
  const install = ["install", "flannel", CHART, "--dry-run=client", "--namespace", NAMESPACE];
  const unknown = ["flannel.bakend=udp", "flannel.healthz.prot=1", "flannel.image.tga=x", "extra.a=b"];
  const { stdout } = await helm([...install, ...unknown.flatMap((setting) => ["--set", setting])]);
  assert.match(
    stdout.slice(stdout.indexOf("NOTES:")),
    /WARNING: this chart does not have these values, .*: extra, flannel\.bakend, flannel\.healthz\.prot, flannel\.image\.tga$/m,
  );
  assert.doesNotMatch((await helm(install)).stdout, /WARNING/);
  assert.deepEqual(await render('flannel.bakend="udp"'), await render());
});

test("F17 the values that the chart knows are those of its schema", () => {
  const schema = JSON.parse(readFileSync(join(CHART, "values.schema.json"), "utf8"));
  const helpers = readFileSync(join(CHART, "templates/_helpers.tpl"), "utf8");
  const known = (prefix: string) =>
    [...new RegExp(`"${prefix}" \\(list ([^)]*)\\)`).exec(helpers)![1]!.matchAll(/"(\w+)"/g)].map(
      ([, name]) => name!,
    );
  const { flannel } = schema.properties;
  assert.deepEqual(known("").sort(), Object.keys(schema.properties).sort());
  assert.deepEqual(known("flannel.").sort(), Object.keys(flannel.properties).sort());
  assert.deepEqual(known("flannel.image.").sort(), Object.keys(schema.definitions.image.properties).sort());
  assert.deepEqual(
    known("flannel.healthz.").sort(),
    Object.keys(flannel.properties.healthz.properties).sort(),
  );
});

test("the chart passes helm's linter, and has the version of package.json", async () => {
  await helm(["lint", "--strict", "--quiet", CHART]);
  const chart = readObjects<KubeObject & { version: string; appVersion: string }>(
    readFileSync(join(CHART, "Chart.yaml"), "utf8"),
  )[0]!;
  assert.deepEqual([chart.version, chart.appVersion], [version, version]);
});

test("the notes after the installation say what to check, and what is not used", async () => {
  const { stdout } = await helm([
    ...["install", "flannel", CHART, "--dry-run=client", "--namespace", NAMESPACE],
    ...["--set", "flannel.flannel_cni.image.repository=somewhere/plugin"],
  ]);
  const notes = stdout.slice(stdout.indexOf("NOTES:"));
  assert.match(notes, /kubectl -n kube-flannel rollout status daemonset\/kube-flannel-ds/);
  assert.match(
    notes,
    /kubectl label namespace kube-flannel pod-security\.kubernetes\.io\/enforce=privileged/,
  );
  assert.match(
    notes,
    new RegExp(`flannel_cni\\.image is not used: the CNI plugin comes with flannel-ts:${version}`),
  );
});

test("what Kubernetes would drop or refuse fails the schemas", async () => {
  const text = JSON.stringify(ofKind(manifest, "DaemonSet"));
  const faultsWith = async (from: string, to: string): Promise<string> => {
    assert.ok(text.includes(from), from);
    return (await schemaFaults([JSON.parse(text.replace(from, to)) as KubeObject])).join("\n");
  };
  assert.equal(await faultsWith('"hostNetwork":true', '"hostNetwork":true'), "");
  assert.match(
    await faultsWith('"hostNetwork":true', '"hostNetwrk":true'),
    /"hostNetwrk"' does not exist in type 'IPodSpec'/,
  );
  assert.match(await faultsWith('"100Mi"', '"100Mo"'), /memory must match format "quantity"/);
  assert.match(await faultsWith('"protocol":"TCP"', '"protocol":"TPC"'), /protocol must be equal to one of/);
});

function imagesOf(objects: readonly AnyObject[]): string[] {
  const { initContainers, containers } = podOf(objects);
  return [...initContainers, ...containers].map(({ image }) => image);
}

const byName = (objects: readonly AnyObject[]): AnyObject[] =>
  objects.toSorted((a, b) => (`${a.kind}/${a.metadata.name}` < `${b.kind}/${b.metadata.name}` ? -1 : 1));

function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), `flannel-deploy-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function writeInto(directory: string, file: string, text: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, file), text);
}
