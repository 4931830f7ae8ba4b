/** Access control over HTTP and HTTPS: tokens, client certificates, error messages. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { makeCertificates } from "../../../test/support/certificates.ts";
import { call, mergePatch, strategicPatch } from "../../../test/support/kube-client.ts";
import { KubeApiServer, type KubeToken } from "../kube-api-server.ts";
import { makeNode } from "../objects/node-object.ts";

const USER = "system:serviceaccount:kube-flannel:flannel";
const FLANNEL: KubeToken = {
  token: "secret",
  user: USER,
  rules: [
    { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
    { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
    { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
  ],
};
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

test("a token may do what its rules allow; the error names the missing rule", async () => {
  await using api = await KubeApiServer.start({ tokens: [FLANNEL] });
  api.nodes.create(makeNode("n1"));
  const nodes = `${api.url}/api/v1/nodes`;
  const headers = bearer("secret");
  assert.equal((await call(nodes, { headers })).status, 200);
  const annotate = strategicPatch({ metadata: { annotations: { a: "b" } } });
  const withToken = { ...annotate, headers: { ...annotate.headers, ...headers } };
  assert.equal((await call(`${nodes}/n1/status`, withToken)).status, 200);

  const refused = await call(`${nodes}/n1`, withToken);
  assert.equal(refused.status, 403);
  assert.deepEqual(refused.body, {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: `nodes "n1" is forbidden: User "${USER}" cannot patch resource "nodes" in API group "" at the cluster scope`,
    reason: "Forbidden",
    details: { name: "n1", kind: "nodes" },
    code: 403,
  });
  const pods = await call(`${api.url}/api/v1/namespaces/kube-flannel/pods`, { headers });
  assert.equal(
    pods.body.message,
    `pods is forbidden: User "${USER}" cannot list resource "pods" in API group "" in the namespace "kube-flannel"`,
  );
  assert.deepEqual(
    api.requests.map(({ verb, resource, name, user, status }) => [verb, resource, name, user, status]),
    [
      ["list", "nodes", undefined, USER, 200],
      ["patch", "nodes/status", "n1", USER, 200],
      ["patch", "nodes", "n1", USER, 403],
      ["list", "pods", undefined, USER, 403],
    ],
  );
});

test("unknown, expired and replaced tokens get 401; no token is anonymous", async () => {
  await using api = await KubeApiServer.start({
    tokens: [FLANNEL, { ...FLANNEL, token: "expired", expiresAtMs: Date.now() - 1 }],
  });
  const nodes = `${api.url}/api/v1/nodes`;
  const statusOf = async (headers: Record<string, string>) => (await call(nodes, { headers })).status;
  assert.equal(await statusOf(bearer("secret")), 200);
  assert.equal(await statusOf(bearer("expired")), 401);
  assert.equal(await statusOf({ authorization: "Basic c2VjcmV0" }), 401);
  const { body } = await call(nodes, { headers: bearer("other") });
  assert.deepEqual([body.message, body.reason, body.code], ["Unauthorized", "Unauthorized", 401]);
  api.setTokens([{ ...FLANNEL, token: "new" }]);
  assert.equal(await statusOf(bearer("secret")), 401);
  assert.equal(await statusOf(bearer("new")), 200);
  const anonymous = await call(nodes);
  assert.equal(anonymous.status, 403);
  assert.match(anonymous.body.message, /^nodes is forbidden: User "system:anonymous" cannot list/);
});

test("version and health are public; discovery requires authentication", async () => {
  await using api = await KubeApiServer.start({ tokens: [FLANNEL] });
  assert.equal((await call(`${api.url}/version`)).body.major, "1");
  assert.equal((await call(`${api.url}/readyz`)).body, "ok");
  const refused = await call(`${api.url}/api`);
  assert.equal(refused.status, 403);
  assert.equal(refused.body.message, 'forbidden: User "system:anonymous" cannot get path "/api"');
  assert.equal((await call(`${api.url}/api/v1`, { headers: bearer("secret") })).status, 200);
});

test("client certificates: those of the client CA are accepted, others get 401", async () => {
  using certificates = makeCertificates();
  const read = (path: string) => readFileSync(path, "utf8");
  const tls = {
    cert: read(certificates.server.cert),
    key: read(certificates.server.key),
    clientCa: read(certificates.ca),
  };
  const ca = tls.clientCa;
  const asClient = ({ cert, key }: { cert: string; key: string }) => ({
    tls: { ca, cert: read(cert), key: read(key) },
  });
  {
    await using api = await KubeApiServer.start({ tls });
    const nodes = `${api.url}/api/v1/nodes`;
    assert.equal((await call(nodes, asClient(certificates.client))).status, 200);
    assert.equal(api.requests.at(-1)?.user, "flannel");
    assert.equal((await call(nodes, asClient(certificates.stranger))).status, 401);
    assert.equal((await call(nodes, { tls: { ca } })).status, 403);
  }
  {
    await using api = await KubeApiServer.start({ tls, tokens: [{ ...FLANNEL, user: "flannel" }] });
    api.nodes.create(makeNode("n1"));
    const one = `${api.url}/api/v1/nodes/n1`;
    assert.equal((await call(one, asClient(certificates.client))).status, 200);
    const patch = { ...mergePatch({}), ...asClient(certificates.client) };
    assert.equal((await call(one, patch)).status, 403, "the rules of the user whose name it bears");
    assert.equal((await call(one, { tls: { ca }, headers: bearer("secret") })).status, 200);
  }
});
