/** As whom the Kubernetes store comes: in a pod, with a kubeconfig, with the wrong rights, the wrong authority, and tokens that rotate. */

import assert from "node:assert/strict";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { hasCode } from "../../src/base/error.ts";
import { KubeApiServer, type KubeRule } from "../../src/kube-server/kube-api-server.ts";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import type { KubePorts, KubeStoreOptions } from "../../src/lease/kube/kube-lease-store.ts";
import { KUBE_RULES } from "../../src/lease/kube/rbac.ts";
import { makeCertificates } from "../support/certificates.ts";
import { follow } from "../support/follow.ts";
import {
  addPeer,
  attributesOf,
  keepLog,
  NETWORK,
  networkUnavailable,
  openKubeStore,
  temporaryDirectory,
} from "../support/kube-store.ts";
import { until } from "../support/until.ts";

const USER = "system:serviceaccount:kube-flannel:flannel";

/** A server with TLS and the token "first" for flannel, and a pod's files. */
async function makeBed(t: TestContext, rules: readonly KubeRule[] = KUBE_RULES) {
  const certificates = makeCertificates();
  t.after(() => certificates[Symbol.dispose]());
  const directory = temporaryDirectory();
  t.after(() => directory[Symbol.dispose]());
  const pem = (path: string) => readFileSync(path, "utf8");
  const api = await KubeApiServer.start({
    tls: {
      cert: pem(certificates.server.cert),
      key: pem(certificates.server.key),
      clientCa: pem(certificates.ca),
    },
    tokens: [{ token: "first", user: USER, rules }],
  });
  t.after(() => api[Symbol.asyncDispose]());
  api.nodes.create(makeNode("node-1", { podCIDRs: ["10.5.1.0/24"] }));
  writeFileSync(directory.at("token"), "first");
  writeFileSync(directory.at("ca.crt"), pem(certificates.ca));
  const log = keepLog();
  const ports: Partial<KubePorts> = {
    logger: log,
    environment: { KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: String(api.port) },
  };
  return {
    api,
    certificates,
    directory,
    log,
    setToken: (token: string, itsRules = rules) => api.setTokens([{ token, user: USER, rules: itsRules }]),
    /** As the pod on node-1. */
    async openPod(options: Partial<KubeStoreOptions> = {}) {
      const store = await openKubeStore(
        undefined,
        "node-1",
        { serviceAccountDirectory: directory.path, ...options },
        ports,
      );
      t.after(() => store[Symbol.asyncDispose]());
      return store;
    },
    /** With a kubeconfig of this user and cluster. */
    async openAs(user: object, cluster: object = {}) {
      const kubeconfigFile = directory.at("kubeconfig");
      const ca = { "certificate-authority": certificates.ca };
      const config = {
        apiVersion: "v1",
        kind: "Config",
        "current-context": "here",
        contexts: [{ name: "here", context: { cluster: "c", user: "u" } }],
        clusters: [{ name: "c", cluster: { server: api.url, ...ca, ...cluster } }],
        users: [{ name: "u", user }],
      };
      writeFileSync(kubeconfigFile, JSON.stringify(config));
      const store = await openKubeStore(
        undefined,
        "node-1",
        { kubeconfigFile },
        { ...ports, environment: {} },
      );
      t.after(() => store[Symbol.asyncDispose]());
      return store;
    },
  };
}

test("in a pod, with the rights of the ClusterRole and no more, everything works", async (t) => {
  const bed = await makeBed(t);
  bed.api.pods.create({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "flannel-x", namespace: "kube-flannel" },
    spec: { nodeName: "node-1" },
  });
  addPeer(bed.api, 2);
  const store = await bed.openPod({
    nodeName: undefined,
    podName: "flannel-x",
    podNamespace: "kube-flannel",
  });
  await store.readHost();
  assert.equal(store.nodeName, "node-1");
  const lease = await store.acquire({ network: NETWORK, attributes: attributesOf(1), previous: undefined });
  await using watch = follow(store);
  await until(() => watch.table.size === 2, "both leases");
  await store.renew(lease, attributesOf(9));
  const abort = new AbortController();
  const available = store.keepAvailable(abort.signal);
  await until(() => networkUnavailable(bed.api, "node-1")?.status === "False", "the condition");
  abort.abort();
  await available;
  assert.deepEqual([...new Set(bed.api.requests.map(({ status }) => status))], [200]);
  assert.deepEqual(bed.log.lines, []);
});

for (const [verb, resource, run] of [
  ["get", "nodes", (store) => store.readHost()],
  [
    "patch",
    "nodes/status",
    (store) => store.acquire({ network: NETWORK, attributes: attributesOf(1), previous: undefined }),
  ],
] as readonly [string, string, (store: Awaited<ReturnType<typeof openKubeStore>>) => Promise<unknown>][]) {
  test(`without the right to ${verb} ${resource} it says so, and what the ClusterRole needs`, async (t) => {
    const bed = await makeBed(t, without(verb, resource));
    const store = await bed.openPod();
    await assert.rejects(run(store), (error) => {
      const text = String(error);
      assert.match(text, new RegExp(`forbids flanneld to ${verb} ${resource}`));
      assert.match(text, new RegExp(`User "${USER}" cannot ${verb} resource "${resource}"`));
      assert.match(
        text,
        new RegExp(`needs a rule with .* resources \\["${resource}"\\], verbs \\["${verb}"\\]`),
      );
      return hasCode(error, "FORBIDDEN");
    });
  });
}

for (const verb of ["list", "watch"]) {
  test(`without the right to ${verb} nodes the log says so once; once it is given, the nodes come`, async (t) => {
    const bed = await makeBed(t, without(verb, "nodes"));
    addPeer(bed.api, 2);
    const store = await bed.openPod();
    await using watch = follow(store);
    const complaints = () =>
      bed.log.lines.filter((line) => line.includes(`forbids flanneld to ${verb} nodes`));
    await until(() => bed.api.requests.filter(({ status }) => status === 403).length >= 4, "four attempts");
    assert.equal(complaints().length, 1, bed.log.text);
    bed.setToken("first", KUBE_RULES);
    await until(() => watch.table.size === 1, "the peer");
    addPeer(bed.api, 3);
    await until(() => watch.table.size === 2, "another peer");
  });
}

test("a token that rotates is read again; a watch that is open stays", async (t) => {
  const bed = await makeBed(t);
  const store = await bed.openPod();
  await using watch = follow(store);
  await until(() => bed.api.watchCount === 1, "the watch");
  writeFileSync(bed.directory.at("token"), "second\n");
  bed.setToken("second");
  await store.readHost();
  addPeer(bed.api, 2);
  await until(() => watch.table.size === 1, "the peer");
  bed.api.dropWatches();
  addPeer(bed.api, 3);
  await until(() => watch.table.size === 2, "another peer");
  assert.equal(bed.api.requests.filter(({ status }) => status === 401).length, 0);
});

test("an expired token is reported with its source; it is never shown", async (t) => {
  const bed = await makeBed(t);
  const secret = "eyJhbGciOiJub25lIn0.secret.signature";
  writeFileSync(bed.directory.at("token"), secret);
  bed.api.setTokens([{ token: secret, user: USER, rules: KUBE_RULES, expiresAtMs: Date.now() - 1 }]);
  const store = await bed.openPod();
  await using _watch = follow(store);
  await assert.rejects(store.readHost(), (error) => {
    assert.match(
      String(error),
      /rejects flanneld \(HTTP 401, Unauthorized to get nodes of node-1\): missing, invalid or expired credentials: the pod's token .*token/,
    );
    return hasCode(error, "UNAUTHENTICATED");
  });
  await until(() => bed.log.lines.length > 0, "a line");
  assert.ok(!bed.log.text.includes("secret"), bed.log.text);
});

test("a token file that becomes invalid is reported once each time, and the last valid token used", async (t) => {
  const bed = await makeBed(t);
  const store = await bed.openPod();
  for (const junk of ["", "two\nlines", "x".repeat(1 << 20), Buffer.from([0xff, 0, 1])]) {
    writeFileSync(bed.directory.at("token"), junk);
    await store.readHost();
    await store.readHost();
  }
  const complaints = bed.log.lines.filter((line) => /Keeping the previous credentials/.test(line));
  assert.equal(complaints.length, 3, bed.log.text); // no token; too long; no token
  writeFileSync(bed.directory.at("token"), "first");
  await store.readHost();
});

test("an invalid file of a pod at startup is reported with its path", async (t) => {
  const bed = await makeBed(t);
  const configError = (pattern: RegExp) => (error: unknown) =>
    hasCode(error, "CONFIG") && pattern.test(String(error));
  writeFileSync(bed.directory.at("token"), "x".repeat(1 << 20));
  await assert.rejects(bed.openPod(), configError(/the pod's token .*\/token is longer than 256 KiB/));
  writeFileSync(bed.directory.at("token"), " ");
  await assert.rejects(bed.openPod(), configError(/\/token contains no token/));
  writeFileSync(bed.directory.at("token"), "first");
  writeFileSync(bed.directory.at("ca.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  await assert.rejects(
    bed.openPod(),
    configError(/certificate authority .*\/ca\.crt contains no valid certificate/),
  );
  await assert.rejects(
    bed.openPod({ serviceAccountDirectory: bed.directory.at("nowhere") }),
    configError(/failed to read the pod's token .*nowhere\/token: ENOENT/),
  );
  const outside = openKubeStore(
    undefined,
    "node-1",
    { serviceAccountDirectory: bed.directory.path },
    { environment: {} },
  );
  await assert.rejects(outside, configError(/not in a pod .*set --kubeconfig-file or --kube-api-url/));
});

test("an authority that does not match is reported; its valid replacement is used", async (t) => {
  const bed = await makeBed(t);
  writeFileSync(bed.directory.at("ca.crt"), readFileSync(bed.certificates.stranger.ca));
  const store = await bed.openPod();
  await assert.rejects(store.readHost(), (error) => {
    assert.match(String(error), /its certificate is not signed by the authority that flanneld was given/);
    return hasCode(error, "UNAUTHENTICATED");
  });
  assert.equal(bed.api.requests.length, 0);
  writeFileSync(bed.directory.at("ca.crt"), readFileSync(bed.certificates.ca));
  await store.readHost();
});

test("an API URL in a pod: the pod's token goes there, over TLS only", async (t) => {
  const bed = await makeBed(t);
  const store = await bed.openPod({ apiUrl: bed.api.url });
  await store.readHost();
  assert.deepEqual(
    bed.api.requests.map(({ user }) => user),
    [USER],
  );
  // It would know the token: an anonymous request shows that none was sent.
  await using plain = await KubeApiServer.start({
    tokens: [{ token: "first", user: USER, rules: KUBE_RULES }],
  });
  const unencrypted = await bed.openPod({ apiUrl: `${plain.url}/` });
  await assert.rejects(unencrypted.readHost(), (error) => hasCode(error, "FORBIDDEN"));
  assert.deepEqual(
    plain.requests.map(({ user }) => user),
    ["system:anonymous"],
  );
});

test("kubeconfig: a token, a token file, a client certificate, in the file or beside it", async (t) => {
  const bed = await makeBed(t);
  const { client, ca } = bed.certificates;
  const base64 = (path: string) => readFileSync(path).toString("base64");
  await (await bed.openAs({ token: "first" })).readHost();
  await (await bed.openAs({ tokenFile: "token", token: "wrong" })).readHost();
  await (await bed.openAs({ token: "first" }, { "certificate-authority-data": base64(ca) })).readHost();
  // The client certificate's user has no rights here: that it is known is enough.
  const withFiles = await bed.openAs({ "client-certificate": client.cert, "client-key": client.key });
  await assert.rejects(withFiles.readHost(), /User "flannel" cannot get resource "nodes"/);
  const withData = await bed.openAs({
    "client-certificate-data": base64(client.cert),
    "client-key-data": base64(client.key),
  });
  await assert.rejects(withData.readHost(), /User "flannel" cannot get resource "nodes"/);
  const unchecked = await bed.openAs(
    { token: "first" },
    { "certificate-authority": bed.certificates.stranger.ca, "insecure-skip-tls-verify": true },
  );
  await unchecked.readHost();
  assert.match(bed.log.text, /switches the check of the server's certificate off/);
  const misnamed = await bed.openAs({ token: "first" }, { "tls-server-name": "kubernetes.default" });
  await assert.rejects(misnamed.readHost(), /made out to another name: .*tls-server-name/);
  await (await bed.openAs({ token: "first" }, { "tls-server-name": "localhost" })).readHost();
});

test("kubeconfig: credentials do not go over a connection that is not encrypted", async (t) => {
  const bed = await makeBed(t);
  // It would know the token: an anonymous request shows that none was sent.
  await using plain = await KubeApiServer.start({
    tokens: [{ token: "first", user: USER, rules: KUBE_RULES }],
  });
  const store = await bed.openAs(
    { token: "first" },
    { server: plain.url, "certificate-authority": undefined },
  );
  await assert.rejects(store.readHost(), (error) => hasCode(error, "FORBIDDEN"));
  assert.deepEqual(
    plain.requests.map(({ user }) => user),
    ["system:anonymous"],
  );
  assert.match(bed.log.text, /W Credentials of .*user u are not sent to http:.*use https:\/\//);
});

test("kubeconfig: an exec plugin is run once, again when its token expires and when it is refused", async (t) => {
  const bed = await makeBed(t);
  const [plugin, runs, token] = ["plugin", "runs", "issued"].map((name) => bed.directory.at(name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(
    plugin,
    `#!/bin/sh
echo "$KUBERNETES_EXEC_INFO $1 $EXTRA" >> ${runs}
printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":%s}' "$(cat ${token})"
`,
  );
  chmodSync(plugin, 0o755);
  const issue = (value: string, expires?: string) =>
    writeFileSync(token, JSON.stringify({ token: value, ...(expires && { expirationTimestamp: expires }) }));
  const runCount = () => readFileSync(runs, "utf8").trim().split("\n").length;
  issue("first", "2999-01-01T00:00:00Z");
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1",
    command: "./plugin",
    args: ["argument"],
    env: [{ name: "EXTRA", value: "extra" }],
    interactiveMode: "IfAvailable",
    provideClusterInfo: true,
  };
  const store = await bed.openAs({ exec });
  await Promise.all([store.readHost(), store.readHost()]);
  await store.readHost();
  assert.equal(runCount(), 1);
  assert.match(
    readFileSync(runs, "utf8"),
    /"spec":\{"interactive":false,"cluster":\{"server":"https:.*\} argument extra/,
  );
  bed.setToken("second");
  issue("second", "2000-01-01T00:00:00Z");
  await store.readHost();
  assert.equal(runCount(), 2);
  await store.readHost();
  assert.equal(runCount(), 3);
  writeFileSync(token, "7");
  await assert.rejects(store.readHost(), (error) => {
    assert.match(
      String(error),
      /user u, exec: failed to get credentials from .*plugin: it printed no ExecCredential with a status/,
    );
    return hasCode(error, "UNAUTHENTICATED");
  });
  writeFileSync(plugin, "#!/bin/sh\necho a secret >&2\nexit 3\n");
  await assert.rejects(store.readHost(), /failed to get credentials from .*: it exited with code 3$/);
});

test("kubeconfig: an exec plugin whose certificate is refused or invalid is run again", async (t) => {
  const bed = await makeBed(t);
  const { client } = bed.certificates;
  const [plugin, runs, issued] = ["plugin", "runs", "issued"].map((name) => bed.directory.at(name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(plugin, `#!/bin/sh\necho >> ${runs}\ncat ${issued}\n`, { mode: 0o755 });
  const issue = (cert: string, key: string) =>
    writeFileSync(
      issued,
      JSON.stringify({
        kind: "ExecCredential",
        status: { clientCertificateData: cert, clientKeyData: key },
      }),
    );
  const runCount = () => readFileSync(runs, "utf8").length;
  const pem = (path: string) => readFileSync(path, "utf8");
  const exec = { apiVersion: "client.authentication.k8s.io/v1", command: plugin };
  issue("s3cret junk", "s3cret junk");
  const store = await bed.openAs({ exec });
  await assert.rejects(store.readHost(), (error) => {
    assert.match(String(error), /plugin: its certificate and key are invalid/);
    assert.doesNotMatch(String(error), /s3cret/);
    return hasCode(error, "UNAUTHENTICATED");
  });
  const { cert, key } = bed.certificates.stranger;
  issue(pem(cert), pem(key));
  await assert.rejects(store.readHost(), (error) => hasCode(error, "UNAUTHENTICATED"));
  issue(pem(client.cert), pem(client.key));
  const before = runCount();
  await assert.rejects(store.readHost(), (error) => hasCode(error, "UNAUTHENTICATED"));
  // Known now; it has no rights here.
  await assert.rejects(store.readHost(), /User "flannel" cannot get resource "nodes"/);
  assert.equal(runCount(), before + 1);
});

/** The ClusterRole's rules without one verb. */
const without = (verb: string, resource: string): KubeRule[] =>
  KUBE_RULES.map((rule) =>
    rule.resources.includes(resource)
      ? { ...rule, verbs: rule.verbs.filter((other) => other !== verb) }
      : rule,
  );
