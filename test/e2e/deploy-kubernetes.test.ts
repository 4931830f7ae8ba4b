/**
 * The manifest, the kustomization and the chart: checked with Kubernetes' own schemas, with real helm and kubectl, and with
 * flanneld's own parsers.
 */

import assert from "node:assert/strict";
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  type AnyObject,
  CHART,
  checkObjects,
  DEPLOY,
  imagesOf,
  manifest,
  NAMESPACE,
  netConfOf,
  ofKind,
  podOf,
  renderChart,
  temporaryDirectory,
  version,
} from "../support/deploy-objects.ts";
import { helm, type KubeObject, kubectl, readObjects, schemaFaults } from "../support/kube-tools.ts";

test("the manifest is valid for Kubernetes and flanneld", async () => {
  await checkObjects(manifest);
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
  const rendered = await renderChart();
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

test("the chart passes helm's linter, and has the version of package.json", async () => {
  await helm(["lint", "--strict", "--quiet", CHART]);
  const chart = readObjects<KubeObject & { version: string; appVersion: string }>(
    readFileSync(join(CHART, "Chart.yaml"), "utf8"),
  )[0]!;
  assert.deepEqual([chart.version, chart.appVersion], [version, version]);
});

test("the notes after the installation say what to checkObjects, and what is not used", async () => {
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

const byName = (objects: readonly AnyObject[]): AnyObject[] =>
  objects.toSorted((a, b) => (`${a.kind}/${a.metadata.name}` < `${b.kind}/${b.metadata.name}` ? -1 : 1));

function writeInto(directory: string, file: string, text: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, file), text);
}
