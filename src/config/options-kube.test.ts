import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "../base/error.ts";
import { parseFlags } from "./flags.ts";
import { readOptions } from "./options.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_FLAGS } from "./options-table.ts";

const read = (args: readonly string[], variables?: Record<string, string>) =>
  readAll(args, variables).datastore;

function readAll(args: readonly string[], variables: Record<string, string> = {}) {
  const result = parseFlags(FLANNELD_FLAGS, { args, environment: { variables, prefix: ENVIRONMENT_PREFIX } });
  if (result.type !== "ok") assert.fail(JSON.stringify(result));
  return readOptions(result.flags, variables);
}

test("--kube-subnet-mgr makes Kubernetes the datastore, with Go flannel's defaults", () => {
  assert.deepEqual(read(["--kube-subnet-mgr"]), {
    kind: "kube",
    apiUrl: undefined,
    kubeconfigFile: undefined,
    annotationPrefix: "flannel.alpha.coreos.com",
    netConfigPath: "/etc/kube-flannel/net-conf.json",
    nodeName: undefined,
    podName: undefined,
    podNamespace: undefined,
  });
  assert.equal(read([]).kind, "etcd3");
  assert.equal(read(["--kube-subnet-mgr=false"]).kind, "etcd3");
});

test("reads its flags and the variables of the DaemonSet", () => {
  const args = [
    ...[
      "--kube-api-url=https://192.0.2.1:6443",
      "--kubeconfig-file=/k",
      "--kube-annotation-prefix=a.example/b",
    ],
    ...["--net-config-path=/n"],
  ];
  const variables = {
    ...{ FLANNELD_KUBE_SUBNET_MGR: "true", NODE_NAME: "n1", POD_NAME: "p", POD_NAMESPACE: "kube-flannel" },
    // of no use here, in manifests all the same
    ...{ EVENT_QUEUE_DEPTH: "5000", CONT_WHEN_CACHE_NOT_READY: "false", FLANNELD_ETCD_PREFIX: "/p" },
  };
  assert.deepEqual(read(args, variables), {
    kind: "kube",
    apiUrl: "https://192.0.2.1:6443",
    kubeconfigFile: "/k",
    annotationPrefix: "a.example/b",
    netConfigPath: "/n",
    nodeName: "n1",
    podName: "p",
    podNamespace: "kube-flannel",
  });
  const { setNodeNetworkUnavailable } = readAll([...args, "--set-node-network-unavailable=false"], variables);
  assert.equal(setNodeNetworkUnavailable, false);
});

test("invalid combinations are reported by flag, without secrets", () => {
  const cases: readonly (readonly [args: string, message: RegExp])[] = [
    ["--kube-api-url=https://h:1", /^--kube-api-url: has no effect without --kube-subnet-mgr/],
    ["--kubeconfig-file=/k --kube-subnet-mgr=false", /^--kubeconfig-file: has no effect without/],
    ["--kube-subnet-mgr --datastore=etcd3", /^--datastore: names another.*--kube-subnet-mgr asks for Kubern/],
    ["--kube-subnet-mgr --network=10.5.0.0/16", /^--network: names another datastore/],
    ["--kube-subnet-mgr --kube-annotation-prefix=", /^--kube-annotation-prefix: is empty/],
    ["--kube-subnet-mgr --net-config-path=", /^--net-config-path: is empty/],
    ["--kube-subnet-mgr --kube-api-url=h:6443", /^--kube-api-url: "h:6443" is not of the form https:/],
    ["--kube-subnet-mgr --kube-api-url=ftp://u:hunter2@h", /^--kube-api-url: .*is not of the form https:/],
    [
      "--kube-subnet-mgr --kube-api-url=https://u:hunter2@h",
      /^--kube-api-url: must not contain user and password/,
    ],
  ];
  for (const [args, message] of cases) {
    assert.throws(
      () => read(args.split(" ")),
      (error) =>
        error instanceof ConfigError && message.test(error.message) && !/hunter2/.test(error.message),
      args,
    );
  }
  const refused = (variables: Record<string, string>) => () => read(["--kube-subnet-mgr"], variables);
  assert.throws(refused({ EVENT_QUEUE_DEPTH: "-1" }), /^ConfigError: EVENT_QUEUE_DEPTH: "-1" is not a whole/);
  assert.throws(
    refused({ CONT_WHEN_CACHE_NOT_READY: "x" }),
    /^ConfigError: CONT_WHEN_CACHE_NOT_READY: "x" is/,
  );
  assert.equal(read([], { EVENT_QUEUE_DEPTH: "x" }).kind, "etcd3", "of no concern without Kubernetes");
});

test("network policies need Kubernetes", () => {
  const variables = { NODE_NAME: "n1" };
  const read = (...args: string[]) => readAll(args, variables).networkPolicy;
  assert.equal(read("--kube-subnet-mgr"), undefined);
  assert.deepEqual(read("--kube-subnet-mgr", "--network-policy"), { isAlone: false });
  assert.deepEqual(read("--kube-subnet-mgr", "--network-policy-only"), { isAlone: true });
  const logged = ["--kube-subnet-mgr", "--network-policy", "--network-policy-log-group"];
  assert.deepEqual(read(...logged, "100"), { isAlone: false, logGroup: 100 });
  assert.deepEqual(read(...logged, "-1"), { isAlone: false });
  for (const group of ["-2", "65536"])
    assert.throws(() => read(...logged, group), /is no group of nfnetlink_log/);
  for (const flag of ["--network-policy", "--network-policy-only"])
    assert.throws(() => read(flag), {
      message: `${flag}: network policies, pods and namespaces are in the Kubernetes API: give --kube-subnet-mgr too, or leave this out`,
    });
});
