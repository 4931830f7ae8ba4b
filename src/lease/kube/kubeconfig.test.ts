/** Valid kubeconfigs, and the errors for invalid ones. Credentials are tested against a server. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { hasCode } from "../../base/error.ts";
import { silentLogger } from "../../base/logger.ts";
import { openAccess } from "./api-access.ts";

const directory = mkdtempSync(join(tmpdir(), `flannel-kubeconfig-${process.pid}-`));
after(() => rmSync(directory, { recursive: true }));
const kubeconfigFile = join(directory, "config");

const YAML = `
apiVersion: v1
kind: Config
current-context: here
clusters:
  - name: c
    cluster: {server: "https://10.0.0.1:6443/"}
  - name: other
    cluster: {server: "http://10.0.0.2/k8s/clusters/c-1"}
  - name: none
    cluster: {}
contexts:
  - {name: here, context: {cluster: c, user: u}}
  - {name: there, context: {cluster: other, user: nobody}}
users:
  - name: u
    user: {token: s3cret}
  - name: nobody
    user: {}
`;

const OPTIONS = {
  kubeconfigFile,
  annotationPrefix: "",
  netConfigPath: "",
  setNodeNetworkUnavailable: true,
  serviceAccountDirectory: "/nonexistent",
};

function open(text: string, apiUrl?: string) {
  writeFileSync(kubeconfigFile, text);
  return openAccess({ ...OPTIONS, apiUrl }, {}, silentLogger);
}

test("the current context names the cluster and the user", async () => {
  const access = await open(YAML);
  assert.equal(access.url, "https://10.0.0.1:6443");
  assert.equal(await access.authorize(), "Bearer s3cret");
  const there = await open(YAML.replace("current-context: here", "current-context: there"));
  assert.equal(there.url, "http://10.0.0.2/k8s/clusters/c-1");
  assert.equal(await there.authorize(), undefined);
});

test("--kube-api-url replaces the server", async () => {
  const access = await open(YAML, "https://[fd00::1]:8443");
  assert.equal(access.url, "https://[fd00::1]:8443");
  assert.equal(await access.authorize(), "Bearer s3cret");
});

test("a user's password is sent", async () => {
  const access = await open(YAML.replace("{token: s3cret}", '{username: flannel, password: "p:w"}'));
  assert.equal(await access.authorize(), `Basic ${Buffer.from("flannel:p:w").toString("base64")}`);
});

test("a foreign YAML tag is no error, and no warning shows its value", async () => {
  const warnings: string[] = [];
  const keep = (warning: Error) => void warnings.push(warning.message);
  process.on("warning", keep);
  try {
    await open(YAML.replace("token: s3cret", "token: !vault s3cret"));
    await new Promise(setImmediate); // warnings are emitted a little later
  } finally {
    process.off("warning", keep);
  }
  assert.deepEqual(warnings, []);
});

test("every error names the file, the place in it, and the remedy, and no secret", async () => {
  const faults: readonly [text: string, pattern: RegExp][] = [
    ["{", /config is not valid YAML \(line 1\)$/],
    ["", /is not a kubeconfig: it contains nothing/],
    ["- a", /is not a kubeconfig: it contains no mapping/],
    [
      YAML.replace("current-context: here", ""),
      /has no current-context: choose one of "here", "there" with kubectl config use-context/,
    ],
    ["kind: Config", /has no current-context: choose one of its contexts \(it has none\)/],
    [YAML.replace("current-context: here", "current-context: gone"), /contexts has no context named "gone"/],
    [YAML.replace("cluster: c,", "cluster: x,"), /clusters has no cluster named "x"/],
    [YAML.replace("user: u}", "user: x}"), /users has no user named "x"/],
    [
      YAML.replace("cluster: c,", "cluster: none,"),
      /cluster none names no server; add it, or set --kube-api-url/,
    ],
    [
      YAML.replace("https://10.0.0.1:6443/", "10.0.0.1:6443"),
      /cluster c: "10\.0\.0\.1:6443" is not the URL of an API server/,
    ],
    [
      YAML.replace("https://10.0.0.1:6443/", "https://root:s3cret@10.0.0.1"),
      /cluster c: the URL is not the URL of an API server/,
    ],
    [YAML.replace('6443/"}', '6443/", proxy-url: "http://p"}'), /wants a proxy/],
    [
      YAML.replace('6443/"}', '6443/", certificate-authority: "none.crt"}'),
      /certificate-authority .*none\.crt: ENOENT/,
    ],
    [
      YAML.replace('6443/"}', '6443/", certificate-authority-data: "AAAA"}'),
      /certificate-authority-data contains no valid certificate/,
    ],
    [YAML.replace("token: s3cret", "token: [s3cret]"), /user u: token must be a string, but is a list/],
    [YAML.replace("token: s3cret", 'token: "s3cret s3cret"'), /user u, token contains no token/],
    [YAML.replace("token: s3cret", "token: 123456"), /user u: token must be a string, but is the number/],
    [YAML.replace("token: s3cret", "tokenFile: none"), /user u: token file .*\/none: ENOENT/],
    [
      YAML.replace("token: s3cret", "client-certificate-data: AAAA"),
      /client-certificate and client-key go together/,
    ],
    [
      YAML.replace("token: s3cret", "auth-provider: {name: gcp}"),
      /auth-provider, which Kubernetes gave up in 1\.26: use an exec plugin/,
    ],
    [YAML.replace("token: s3cret", "as: admin"), /wants to act as another user \(as\)/],
    [YAML.replace("token: s3cret", "exec: {command: 7}"), /user u, exec: command is missing/],
    [
      YAML.replace("token: s3cret", "exec: {command: x, apiVersion: client.authentication.k8s.io/v1alpha1}"),
      /apiVersion must be .*\/v1 or .*\/v1beta1: get a newer version of x/,
    ],
    [
      YAML.replace(
        "token: s3cret",
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always}",
      ),
      /interactiveMode: Always/,
    ],
    [
      YAML.replace(
        "token: s3cret",
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, args: [7]}",
      ),
      /args is not a list of strings/,
    ],
    [
      YAML.replace(
        "token: s3cret",
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, env: {a: b}}",
      ),
      /env is not a list/,
    ],
    [`users: 7\n${YAML.slice(0, YAML.indexOf("users:"))}`, /users is not a list of mappings/],
  ];
  for (const [text, pattern] of faults) {
    await assert.rejects(open(text), (error) => {
      assert.match(String(error), pattern);
      assert.match(String(error), /--kubeconfig-file .*\/config/);
      assert.ok(!/s3cret|123456/.test(String(error)), String(error));
      return hasCode(error, "CONFIG");
    });
  }
  rmSync(kubeconfigFile);
  await assert.rejects(
    openAccess(OPTIONS, {}, silentLogger),
    /--kubeconfig-file .*\/config: cannot be read: ENOENT/,
  );
});
