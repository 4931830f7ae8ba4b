/** The objects of the manifest and the chart, and what is true for every way of installing flannel. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { findBackend } from "../../src/backend/backends.ts";
import { parseFlags } from "../../src/config/flags.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../src/config/network-config.ts";
import { readOptions } from "../../src/config/options.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS } from "../../src/config/options-table.ts";
import { KUBE_RULES } from "../../src/lease/kube/rbac.ts";
import { helm, type KubeObject, readObjects, schemaFaults } from "./kube-tools.ts";

export const DEPLOY = fileURLToPath(new URL("../../deploy", import.meta.url));
export const CHART = join(DEPLOY, "chart/flannel");
export const NAMESPACE = "kube-flannel";

export const { version } = JSON.parse(readFileSync(join(DEPLOY, "../package.json"), "utf8")) as {
  version: string;
};

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

export interface AnyObject extends KubeObject {
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

export const manifest = readObjects<AnyObject>(
  readFileSync(join(DEPLOY, "kubernetes/kube-flannel.yml"), "utf8"),
);

export const ofKind = (objects: readonly AnyObject[], kind: string): AnyObject =>
  objects.find((object) => object.kind === kind) ?? assert.fail(`no ${kind}`);

export const podOf = (objects: readonly AnyObject[]) => ofKind(objects, "DaemonSet").spec!.template.spec;
export const flanneldOf = (objects: readonly AnyObject[]): Container => podOf(objects).containers[0]!;

/** Of the Secret where there is one, else of the ConfigMap; never of both. */
export function netConfOf(objects: readonly AnyObject[]): NetworkConfig {
  const texts = objects.flatMap(({ kind, data, stringData }) =>
    kind === "ConfigMap" || kind === "Secret" ? ((data ?? stringData)?.["net-conf.json"] ?? []) : [],
  );
  assert.equal(texts.length, 1);
  return parseNetworkConfig(texts[0]!);
}

export async function renderChart(...settings: readonly string[]): Promise<AnyObject[]> {
  const args = ["template", "flannel", CHART, "--namespace", NAMESPACE];
  const { stdout } = await helm([...args, ...settings.flatMap((setting) => ["--set-json", setting])]);
  return readObjects<AnyObject>(stdout);
}

/** What is true for every way of installing flannel, with any settings. */
export async function checkObjects(objects: readonly AnyObject[]): Promise<void> {
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

export function imagesOf(objects: readonly AnyObject[]): string[] {
  const { initContainers, containers } = podOf(objects);
  return [...initContainers, ...containers].map(({ image }) => image);
}

export function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), `flannel-deploy-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
