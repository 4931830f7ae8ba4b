/**
 * The life of a release of the chart: installed, upgraded to another version with the user's values kept, rolled back,
 * removed. Real helm, on an API server that keeps what it is given (test/support/object-api.ts).
 */

import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { CHART, NAMESPACE, temporaryDirectory, version } from "../support/deploy-objects.ts";
import { helm } from "../support/kube-tools.ts";
import { ObjectApi } from "../support/object-api.ts";

const NEXT = "98.7.6";
const KINDS = ["DaemonSet", "ConfigMap", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"];

interface DaemonSet {
  readonly spec: {
    readonly template: {
      readonly spec: { readonly containers: readonly { image: string; args: readonly string[] }[] };
    };
  };
}

test("helm install, upgrade with values kept, rollback, uninstall", async (t) => {
  await using api = await ObjectApi.start();
  const directory = temporaryDirectory(t);
  const run = async (...args: string[]) => {
    const flags = ["--namespace", NAMESPACE, "--kube-apiserver", api.endpoint];
    // The server has no schemas; test/e2e/deploy-kubernetes.test.ts checks the objects with Kubernetes'.
    if (["install", "upgrade"].includes(args[0]!)) flags.push("--disable-openapi-validation");
    return (await helm([...args, ...flags], { timeoutMs: 60_000 })).stdout;
  };
  const state = () => KINDS.flatMap((kind) => api.objects(kind));
  const flanneld = () =>
    (api.objects("DaemonSet")[0] as unknown as DaemonSet).spec.template.spec.containers[0]!;
  const config = () => {
    const { data } = api.objects("ConfigMap")[0] as unknown as { data: Record<string, string> };
    const { Network, Backend } = JSON.parse(data["net-conf.json"]!);
    return [Network, Backend.Type];
  };

  const values = join(directory, "values.yaml");
  writeFileSync(
    values,
    'podCidr: "10.99.0.0/16"\nflannel:\n  backend: host-gw\n  args: ["--ip-masq", "--kube-subnet-mgr", "--iface=eth1"]\n',
  );
  await run("install", "flannel", CHART, "--values", values);
  assert.equal(flanneld().image, `flannel-ts:${version}`);
  assert.deepEqual(config(), ["10.99.0.0/16", "host-gw"]);
  const first = state();
  assert.deepEqual(
    first.map(({ kind }) => kind),
    KINDS,
  );

  // The next version of the chart, as it would be pulled.
  const next = join(directory, "next");
  cpSync(CHART, next, { recursive: true });
  const chart = readFileSync(join(next, "Chart.yaml"), "utf8");
  writeFileSync(join(next, "Chart.yaml"), chart.replace(/^(version|appVersion): .*$/gm, `$1: "${NEXT}"`));
  await run("upgrade", "flannel", next, "--reset-then-reuse-values");
  assert.equal(flanneld().image, `flannel-ts:${NEXT}`);
  assert.ok(flanneld().args.includes("--iface=eth1"));
  assert.deepEqual(config(), ["10.99.0.0/16", "host-gw"]);
  // Nothing but the version differs, so that nodes change nothing but the image.
  const without = (objects: unknown, number: string) =>
    JSON.parse(JSON.stringify(objects).replaceAll(number, "VERSION"));
  assert.deepEqual(without(state(), NEXT), without(first, version));

  await run("upgrade", "flannel", next, "--reset-then-reuse-values", "--set", "flannel.backend=vxlan");
  assert.deepEqual(config(), ["10.99.0.0/16", "vxlan"]);
  await run("rollback", "flannel", "1");
  assert.deepEqual(state(), first);
  const history = JSON.parse(await run("history", "flannel", "--output", "json")) as { status: string }[];
  assert.deepEqual(
    history.map(({ status }) => status),
    ["superseded", "superseded", "superseded", "deployed"],
  );

  await run("uninstall", "flannel");
  assert.deepEqual(state(), []);
  assert.deepEqual(api.objects("Secret"), [], "helm's own records");
});
