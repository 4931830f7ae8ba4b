/**
 * The values of the chart: they reach the network config and the pods, or are refused with a remedy. Rendered with real helm, checked
 * with Kubernetes' own schemas and with flanneld's own parsers.
 */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { BACKEND_TYPES } from "../../src/backend/backends.ts";
import { POLICY_RULES } from "../../src/lease/kube/rbac.ts";
import {
  type AnyObject,
  CHART,
  checkObjects,
  DEPLOY,
  flanneldOf,
  imagesOf,
  NAMESPACE,
  netConfOf,
  ofKind,
  podOf,
  renderChart,
  temporaryDirectory,
} from "../support/deploy-objects.ts";
import { helm, kubectl, readObjects } from "../support/kube-tools.ts";

/** Every backend that Go flannel has had. */
const BACKENDS = [...BACKEND_TYPES, "tunnel"];

for (const backend of BACKENDS) {
  test(`the chart renders the backend ${backend}, or refuses it as flanneld does`, async () => {
    const isSupported = BACKEND_TYPES.includes(backend);
    const rendering = renderChart(`flannel.backend="${backend}"`);
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
    await checkObjects(objects);
    assert.equal(netConfOf(objects).backend.type, backend);
  });
}

test("the values reach the network config", async () => {
  const vxlan = await renderChart(
    ...["flannel.backendPort=4789", "flannel.vni=7", "flannel.mtu=9000", "flannel.GBP=true"],
    ...["flannel.directRouting=true", "flannel.disableTxChecksum=true", "flannel.enableNFTables=true"],
    ...['podCidr="10.1.0.0/16"', 'podCidrv6="2001:cafe:42::/56"'],
  );
  await checkObjects(vxlan);
  const config = netConfOf(vxlan);
  assert.deepEqual(config.backend.members, {
    ...{ Port: 4789, VNI: 7, MTU: 9000, GBP: true, DirectRouting: true, DisableTxChecksum: true },
  });
  assert.equal(config.enableNftables, true);
  assert.deepEqual(config.notes, []);
  assert.ok(config.ipv4 !== undefined && config.ipv6 !== undefined);
  const ipv6Only = await renderChart(
    'podCidr=""',
    'podCidrv6="2001:cafe:42::/56"',
    'flannel.backend="host-gw"',
  );
  await checkObjects(ipv6Only);
  assert.equal(netConfOf(ipv6Only).ipv4, undefined);
  assert.deepEqual(
    netConfOf(await renderChart('flannel.backend="udp"', "flannel.backendPort=8286")).backend.members,
    {
      Port: 8286,
    },
  );
});

test("the values of wireguard and ipip reach the network config", async () => {
  const wireguard = await renderChart(
    ...['flannel.backend="wireguard"', "flannel.backendPort=51000", "flannel.backendPortv6=51001"],
    ...["flannel.mtu=1400", 'flannel.tunnelMode="auto"', "flannel.keepaliveInterval=25", 'flannel.psk=""'],
    ...["flannel.vni=7", "flannel.directRouting=true"],
  );
  await checkObjects(wireguard);
  assert.deepEqual(netConfOf(wireguard).backend.members, {
    ...{ ListenPort: 51000, ListenPortV6: 51001, MTU: 1400, Mode: "auto", PersistentKeepaliveInterval: 25 },
  });
  const ipip = await renderChart('flannel.backend="ipip"', "flannel.directRouting=true", "flannel.mtu=1400");
  await checkObjects(ipip);
  assert.deepEqual(netConfOf(ipip).backend.members, { DirectRouting: true, MTU: 1400 });
});

test("the values of ipsec and extension, and what userspace WireGuard and charon need of the node", async () => {
  const volumeOf = (objects: readonly AnyObject[], volume: string) =>
    podOf(objects).volumes.find(({ name }) => name === volume)?.hostPath;
  const userspace = await renderChart('flannel.backend="wireguard"', 'flannel.implementation="userspace"');
  assert.deepEqual(netConfOf(userspace).backend.members, { Implementation: "userspace" });
  assert.deepEqual(volumeOf(userspace, "tun"), { path: "/dev/net/tun", type: "CharDevice" });
  assert.equal(volumeOf(await renderChart('flannel.backend="wireguard"'), "tun"), undefined);
  const ipsec = await renderChart(
    ...['flannel.backend="ipsec"', "flannel.udpEncap=true", 'flannel.espProposal="aes256gcm16-ecp384"'],
    'flannel.charonDirectory="/run/strongswan"',
  );
  await checkObjects(ipsec);
  assert.deepEqual(netConfOf(ipsec).backend.members, {
    ...{ UDPEncap: true, ESPProposal: "aes256gcm16-ecp384" },
  });
  assert.deepEqual(volumeOf(ipsec, "charon"), { path: "/run/strongswan", type: "DirectoryOrCreate" });
  const commands = { SubnetAddCommand: "add $SUBNET", PostStartupCommand: "post" };
  const extension = await renderChart(
    'flannel.backend="extension"',
    `flannel.subnetAddCommand="${commands.SubnetAddCommand}"`,
    `flannel.postStartupCommand="${commands.PostStartupCommand}"`,
  );
  await checkObjects(extension);
  assert.deepEqual(netConfOf(extension).backend.members, commands);
});

test("the route tables of aws-vpc", async () => {
  const objects = await renderChart(
    'flannel.backend="aws-vpc"',
    'flannel.routeTableIDs=["rtb-0a1b2c3d","rtb-4e5f6a7b"]',
    'flannel.extraEnv=[{"name":"AWS_REGION","value":"eu-central-1"}]',
  );
  await checkObjects(objects);
  assert.deepEqual(netConfOf(objects).backend.members, { RouteTableID: ["rtb-0a1b2c3d", "rtb-4e5f6a7b"] });
  assert.deepEqual(netConfOf(await renderChart('flannel.backend="aws-vpc"')).backend.members, {});
  await assert.rejects(
    renderChart('flannel.backend="aws-vpc"', 'flannel.routeTableIDs=["main"]'),
    /routeTableIDs/,
  );
});

test("ali-vpc and tencent-vpc take their key from a Secret, as environment variables only", async () => {
  for (const [backend, table] of [
    ["ali-vpc", "vtb-bp145q7glnuzdv"],
    ["tencent-vpc", "rtb-n0yejvje"],
  ]) {
    const objects = await renderChart(
      `flannel.backend="${backend}"`,
      ...[`flannel.routeTableIDs=["${table}"]`, 'flannel.accessKeySecret="cloud-key"'],
    );
    await checkObjects(objects);
    assert.deepEqual(netConfOf(objects).backend.members, { RouteTableID: [table] });
    const [flanneld] = podOf(objects).containers;
    assert.deepEqual(
      flanneld!.env!.filter(({ name }) => name.startsWith("ACCESS_KEY")),
      ["ACCESS_KEY_ID", "ACCESS_KEY_SECRET"].map((key) => ({
        name: key,
        valueFrom: { secretKeyRef: { name: "cloud-key", key } },
      })),
    );
  }
  const withoutKey = podOf(await renderChart('flannel.backend="gce"', 'flannel.accessKeySecret="cloud-key"'));
  assert.ok(!withoutKey.containers[0]!.env!.some(({ name }) => name.startsWith("ACCESS_KEY")));
});

test("a preshared key is in a Secret, which the pods read in the place of the ConfigMap's file", async () => {
  const psk = Buffer.alloc(32, 7).toString("base64");
  const objects = await renderChart('flannel.backend="wireguard"', `flannel.psk="${psk}"`);
  await checkObjects(objects);
  assert.deepEqual(netConfOf(objects).backend.members, { PSK: psk });
  const others = objects.filter(({ kind }) => kind !== "Secret");
  assert.ok(!JSON.stringify(others).includes(psk));
  const long = "0123456789abcdef".repeat(6);
  const ofIpsec = await renderChart('flannel.backend="ipsec"', `flannel.psk="${long}"`);
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
  const byDefault = await renderChart('flannel.backend="wireguard"');
  for (const none of ["0", '""', "null"])
    assert.deepEqual(await renderChart('flannel.backend="wireguard"', `flannel.psk=${none}`), byDefault);
  assert.deepEqual(await renderChart(`flannel.psk="${psk}"`), await renderChart(), "no backend, no secret");
});

test("the values reach the pods", async () => {
  const objects = await renderChart(
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
  await checkObjects(objects);
  const pod = podOf(objects);
  assert.deepEqual(new Set(imagesOf(objects)), new Set(["images.example/net/flannel-ts:7"]));
  assert.deepEqual(pod.imagePullSecrets, [{ name: "s" }]);
  assert.deepEqual(pod.nodeSelector, { net: "flannel" });
  assert.equal(pod.tolerations, undefined);
  assert.equal(pod.initContainers.length, 1);
  assert.deepEqual(pod.initContainers[0]!.args, ["plugin", "--to=/opt/cni/bin"]);
  const paths = pod.volumes.map(({ hostPath }) => hostPath?.path);
  assert.ok(paths.includes("/var/lib/cni/bin") && paths.includes("/var/lib/cni/net.d"));
  assert.deepEqual(flanneldOf(objects).args, ["--kube-subnet-mgr", "--iface=eth1", "-v=2"]);
  assert.ok(flanneldOf(objects).env!.some(({ name }) => name === "WIREGUARD_KEY_FILE"));
});

test("metrics: on the nodes' addresses by choice, with annotations, a token and a PodMonitor", async () => {
  const byDefault = await renderChart();
  assert.doesNotMatch(JSON.stringify(byDefault), /prometheus|PodMonitor|status-listen/);
  assert.deepEqual(await renderChart("flannel.metrics=null"), byDefault);
  const annotationsOf = (objects: readonly AnyObject[]) =>
    (ofKind(objects, "DaemonSet").spec!.template as unknown as { metadata: { annotations: unknown } })
      .metadata.annotations;
  const open = await renderChart("flannel.metrics.port=7001", "flannel.metrics.podMonitor.enabled=true");
  await checkObjects(open);
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

  const secured = await renderChart(
    ...[
      'flannel.metrics={"port":7000,"tokenSecret":"t","podMonitor":{"enabled":true,"labels":{"release":"p"}}}',
    ],
    ...['podCidr=""', 'podCidrv6="2001:cafe:42::/56"', "flannel.healthz.port=0", 'flannel.backend="host-gw"'],
  );
  await checkObjects(secured);
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
  await checkObjects(manifestWithMetrics);
  const chart = await renderChart("flannel.metrics.port=7000", "flannel.metrics.podMonitor.enabled=true");
  assert.deepEqual(flanneldOf(manifestWithMetrics), flanneldOf(chart));
  assert.deepEqual(annotationsOf(manifestWithMetrics), annotationsOf(chart));
  assert.deepEqual(ofKind(manifestWithMetrics, "PodMonitor"), ofKind(chart, "PodMonitor"));
});

test("network policies: rights, flags and a waiting plugin only where they are switched on", async () => {
  const byDefault = await renderChart();
  assert.doesNotMatch(JSON.stringify(byDefault), /network-policy|networkpolicies|failClosed/);
  assert.deepEqual(await renderChart("netpol.enabled=false", "netpol.failClosed=false"), byDefault);
  const cniConfOf = (objects: readonly AnyObject[]) =>
    JSON.parse(ofKind(objects, "ConfigMap").data!["cni-conf.json"]!) as {
      plugins: Record<string, unknown>[];
    };
  const policyRoles = (objects: readonly AnyObject[]) =>
    objects.filter(({ metadata }) => metadata.name === "flannel-network-policy");

  const chart = await renderChart('netpol.enabled="true"');
  await checkObjects(chart);
  const [role, binding] = policyRoles(chart);
  assert.deepEqual(role?.rules, POLICY_RULES);
  assert.equal((binding!.roleRef as { name: string }).name, "flannel-network-policy");
  assert.deepEqual(binding?.subjects, ofKind(chart, "ClusterRoleBinding").subjects);
  const [first, ...others] = cniConfOf(byDefault).plugins;
  assert.deepEqual(cniConfOf(chart).plugins, [{ ...first, failClosed: true }, ...others]);
  assert.deepEqual(
    flanneldOf(chart).args.filter((arg) => !flanneldOf(byDefault).args.includes(arg)),
    ["--network-policy"],
  );

  // The kustomization means the same.
  const { stdout } = await kubectl(["kustomize", join(DEPLOY, "network-policy")]);
  const manifest = readObjects<AnyObject>(stdout);
  await checkObjects(manifest);
  assert.deepEqual(policyRoles(manifest), policyRoles(chart));
  assert.deepEqual(cniConfOf(manifest), cniConfOf(chart));
  assert.deepEqual(new Set(flanneldOf(manifest).args), new Set(flanneldOf(chart).args));

  const chosen = await renderChart('netpol={"enabled":true,"failClosed":"false"}');
  assert.equal(cniConfOf(chosen).plugins[0]!.failClosed, false);
  const own = await renderChart(
    "netpol.enabled=true",
    'flannel.cniConf={"cniVersion":"1.0.0","name":"x","plugins":[{"type":"flannel","failClosed":false},{"type":"portmap"}]}',
  );
  assert.deepEqual(cniConfOf(own).plugins, [{ type: "flannel", failClosed: false }, { type: "portmap" }]);
  await assert.rejects(
    renderChart("netpol.enabled=true", 'flannel.cniConf="{"'),
    /flannel\.cniConf: it is no JSON/,
  );
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
  ["flannel.args=null", /missing property 'args'/],
  ['flannel.cniBinDir="opt/cni"', /does not match pattern/],
  ['netpol.enabled="yes"', /value must be one of true, false/],
  ['netpol={"enabled":true,"failClosed":7}', /value must be one of true, false/],
  ['podCidr=""', /podCidr and podCidrv6 are both empty: set the cluster's pod network/],
  [
    'flannel.image.repository="registry.example/flannel-io/flannel"',
    /is Go flannel's image, which this chart cannot/,
  ],
] as const) {
  test(`the chart refuses ${setting} with a remedy`, async () => {
    await assert.rejects(renderChart(setting), fault);
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
  const plain = await renderChart(
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
  const byDefault = await renderChart();
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
  const rendered = await renderChart(
    ...nothing.map((name) => `flannel.${name}=null`),
    "netpol=null",
    "podCidrv6=null",
  );
  assert.deepEqual(rendered, byDefault);
  await checkObjects(await renderChart("flannel.healthz=null", "flannel.resources=null"));
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
  await checkObjects(objects);
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
  assert.deepEqual(await renderChart('flannel.bakend="udp"'), await renderChart());
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
