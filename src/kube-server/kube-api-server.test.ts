/** The API server over HTTP: reads, writes, injected faults, rejected requests. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { call, mergePatch, open, strategicPatch } from "../../test/support/kube-client.ts";
import { KubeApiServer } from "./kube-api-server.ts";
import { makeNamespace, makeNetworkPolicy, makeNode, makePod } from "./objects/node-object.ts";

async function start(historyLength = 1_000) {
  const api = await KubeApiServer.start({ historyLength });
  return { api, nodes: `${api.url}/api/v1/nodes` };
}

test("all pages of a list are of the same version", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  for (const name of ["a", "b", "c", "d", "e"]) api.nodes.create(makeNode(name));
  const first = (await call(`${nodes}?limit=2`)).body;
  assert.equal(first.kind, "NodeList");
  assert.equal(first.items[0].kind, undefined, "elements have no type of their own");
  assert.equal(first.metadata.remainingItemCount, 3);
  api.nodes.delete("c");
  api.nodes.create(makeNode("bb"));
  const second = (await call(`${nodes}?limit=2&continue=${first.metadata.continue}`)).body;
  const third = (await call(`${nodes}?limit=2&continue=${second.metadata.continue}`)).body;
  const names = [first, second, third].flatMap(({ items }) =>
    items.map(({ metadata }: { metadata: { name: string } }) => metadata.name),
  );
  assert.deepEqual(names, ["a", "b", "c", "d", "e"]);
  assert.equal(third.metadata.continue, undefined);
  assert.equal(third.metadata.resourceVersion, first.metadata.resourceVersion);

  api.compact();
  const expired = await call(`${nodes}?limit=2&continue=${first.metadata.continue}`);
  assert.equal(expired.status, 410);
  assert.equal(expired.body.reason, "Expired");
  const rest = (await call(`${nodes}?continue=${expired.body.metadata.continue}`)).body;
  assert.deepEqual(
    rest.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name),
    ["bb", "d", "e"],
  );
  assert.equal((await call(`${nodes}?limit=2&continue=junk`)).status, 400);
});

test("versions of lists: any, not older than, exact, future", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  const { resourceVersion: then } = api.nodes.create(makeNode("a")).metadata;
  api.nodes.create(makeNode("b"));
  const count = async (query: string) => (await call(`${nodes}?${query}`)).body.items.length;
  assert.equal(await count("resourceVersion=0&limit=1"), 2);
  assert.equal(await count(`resourceVersion=${then}`), 2);
  assert.equal(await count(`resourceVersion=${then}&resourceVersionMatch=NotOlderThan`), 2);
  assert.equal(await count(`resourceVersion=${then}&resourceVersionMatch=Exact`), 1);
  const future = await call(`${nodes}?resourceVersion=${Number(api.nodes.resourceVersion) + 1}`);
  assert.equal(future.status, 504);
  assert.match(future.body.message, /^Too large resource version/);
  assert.equal((await call(`${nodes}?resourceVersionMatch=Exact`)).status, 422);
});

test("pods by namespace, in all namespaces, and by node", async () => {
  const { api } = await start();
  await using _ = api;
  api.pods.create(makePod("p", { namespace: "x", nodeName: "n1" }));
  api.pods.create(makePod("p", { namespace: "y", nodeName: "n2" }));
  const v1 = `${api.url}/api/v1`;
  const count = async (path: string) => (await call(`${v1}${path}`)).body.items.length;
  assert.equal(await count("/pods"), 2);
  assert.equal(await count("/namespaces/x/pods"), 1);
  assert.equal(await count("/pods?fieldSelector=spec.nodeName%3Dn2"), 1);
  assert.equal((await call(`${v1}/namespaces/x/pods/p`)).body.spec.nodeName, "n1");
  assert.equal((await call(`${v1}/namespaces/z/pods/p`)).body.message, 'pods "p" not found');
});

test("a patch of the status changes status and metadata; a patch of the node all but the status", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  api.nodes.create(makeNode("n1", { podCIDRs: ["10.5.1.0/24"] }));
  const patch = strategicPatch({
    metadata: { annotations: { "flannel.alpha.coreos.com/backend-type": "vxlan" } },
    spec: { unschedulable: true },
    status: { conditions: [{ type: "NetworkUnavailable", status: "False", reason: "FlannelIsUp" }] },
  });
  const networkOf = (node: typeof answer) =>
    node.status.conditions.find(({ type }: { type: string }) => type === "NetworkUnavailable").status;

  let answer = (await call(`${nodes}/n1/status`, patch)).body;
  assert.equal(answer.metadata.annotations["flannel.alpha.coreos.com/backend-type"], "vxlan");
  assert.equal(answer.spec.unschedulable, undefined);
  assert.equal(networkOf(answer), "False");
  assert.equal(answer.status.conditions.length, 5);
  const [entry] = answer.metadata.managedFields;
  assert.deepEqual([entry.manager, entry.subresource], ["tester", "status"]);

  const { resourceVersion } = answer.metadata;
  answer = (await call(`${nodes}/n1/status`, patch)).body;
  assert.equal(answer.metadata.resourceVersion, resourceVersion, "a patch without effect is no change");

  const undo = strategicPatch({
    spec: { unschedulable: true },
    status: { conditions: [{ type: "NetworkUnavailable", status: "True" }] },
  });
  answer = (await call(`${nodes}/n1`, undo)).body;
  assert.equal(answer.spec.unschedulable, true);
  assert.equal(networkOf(answer), "False");
});

test("a resourceVersion in a patch or update is a precondition", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  const old = api.nodes.create(makeNode("n1"));
  const { resourceVersion } = old.metadata;
  const now = api.nodes.patch("n1", { metadata: { annotations: { a: "b" } } });
  for (const request of [
    mergePatch({ metadata: { resourceVersion, annotations: { a: "c" } } }),
    strategicPatch({ metadata: { resourceVersion, annotations: { a: "c" } } }),
    { method: "PUT", body: old },
  ]) {
    const { status, body } = await call(`${nodes}/n1`, request);
    assert.equal(status, 409);
    assert.equal(
      body.message,
      'Operation cannot be fulfilled on nodes "n1": the object has been modified; please apply your changes to the latest version and try again',
    );
  }
  const { resourceVersion: current } = now.metadata;
  const good = mergePatch({ metadata: { resourceVersion: current, annotations: { a: "c" } } });
  assert.equal((await call(`${nodes}/n1`, good)).status, 200);
});

test("create, update, delete, and their errors", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  const created = await call(nodes, { method: "POST", body: makeNode("n1") });
  assert.equal(created.status, 201);
  assert.equal((await call(nodes, { method: "POST", body: makeNode("n1") })).body.reason, "AlreadyExists");
  const changed = { ...created.body, spec: { unschedulable: true }, status: {} };
  const updated = await call(`${nodes}/n1`, { method: "PUT", body: changed });
  assert.equal(updated.body.spec.unschedulable, true);
  assert.equal(updated.body.status.conditions.length, 5);
  const dry = await call(`${nodes}/n1?dryRun=All`, { method: "DELETE" });
  assert.equal(dry.status, 200);
  const wrong = { preconditions: { uid: "other" } };
  assert.equal((await call(`${nodes}/n1`, { method: "DELETE", body: wrong })).status, 409);
  const deleted = await call(`${nodes}/n1`, { method: "DELETE" });
  assert.equal(deleted.body.status, "Success");
  assert.equal((await call(`${nodes}/n1`, { method: "DELETE" })).status, 404);
  assert.equal((await call(nodes, { method: "POST", body: {} })).status, 400);
  assert.equal((await call(nodes, { method: "POST", body: "{" })).status, 400);
  api.namespaces.create(makeNamespace("x"));
  const pod = await call(`${api.url}/api/v1/namespaces/x/pods`, {
    method: "POST",
    body: { apiVersion: "v1", kind: "Pod", metadata: { generateName: "p-" } },
  });
  assert.match(pod.body.metadata.name, /^p-.{5}$/);
});

test("an object with finalizers is deleted when the last finalizer is removed", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  api.nodes.create({ ...makeNode("n1"), metadata: { name: "n1", finalizers: ["example.com/f"] } });
  await call(`${nodes}/n1`, { method: "DELETE" });
  assert.equal(typeof api.nodes.get("n1")?.metadata.deletionTimestamp, "string");
  assert.equal((await call(`${nodes}/n1`, mergePatch({ metadata: { finalizers: null } }))).status, 200);
  assert.equal(api.nodes.get("n1"), undefined);
});

test("an invalid node is rejected with the field and the reason", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  api.nodes.create(makeNode("n1", { podCIDRs: ["10.5.1.0/24"] }));
  api.nodes.create(makeNode("n2"));
  const refusal = async (name: string, patch: unknown) => {
    const { status, body } = await call(`${nodes}/${name}`, mergePatch(patch));
    assert.equal(status, 422, JSON.stringify(body));
    return body.message as string;
  };
  const cidr = (...podCIDRs: string[]) => ({ spec: { podCIDR: podCIDRs[0], podCIDRs } });
  assert.match(await refusal("n1", cidr("10.5.2.0/24")), /node updates may not change podCIDR/);
  assert.match(await refusal("n2", cidr("10.5.2.0/33")), /must be a valid CIDR value/);
  assert.match(await refusal("n2", cidr("10.5.2.0/24", "10.5.3.0/24")), /no more than one CIDR for each IP/);
  const annotations = (key: string, value: unknown) => ({ metadata: { annotations: { [key]: value } } });
  assert.match(await refusal("n1", annotations("a/b/c", "")), /a qualified name must consist/);
  assert.match(await refusal("n1", annotations("a", 1)), /cannot unmarshal number into Go struct field/);
  assert.match(
    await refusal("n1", annotations("a", "x".repeat(300_000))),
    /may not be more than 262144 bytes/,
  );
  assert.match(await refusal("n1", { metadata: { labels: { a: "b c" } } }), /a valid label must/);
  assert.equal((await call(`${nodes}/n1`, mergePatch({ metadata: { name: "x" } }))).status, 400);
  assert.deepEqual((await call(`${nodes}/n2`, mergePatch({ spec: { podCIDR: "10.5.2.0/24" } }))).body.spec, {
    podCIDR: "10.5.2.0/24",
    podCIDRs: ["10.5.2.0/24"],
  });
});

test("unknown resources, methods and media types are rejected", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  api.nodes.create(makeNode("n1"));
  const statusOf = async (path: string, method = "GET") => (await call(api.url + path, { method })).status;
  assert.equal(await statusOf("/api/v1/secrets"), 404);
  assert.equal(await statusOf("/apis/apps/v1/daemonsets"), 404);
  assert.equal(await statusOf("/api/v1/nodes/n1/proxy"), 404);
  assert.equal(await statusOf("/nothing"), 404);
  assert.equal(await statusOf("/api/v1/nodes", "DELETE"), 405);
  assert.equal(await statusOf("/api/v1/pods", "POST"), 405);
  assert.equal(await statusOf("/api/v1/nodes/n1", "OPTIONS"), 405);
  const json = { method: "PATCH", body: "[]", headers: { "content-type": "application/json-patch+json" } };
  const refused = await call(`${nodes}/n1`, json);
  assert.equal(refused.status, 415);
  assert.match(refused.body.message, /accepted media types include: application\/merge-patch\+json/);
  const big = await call(`${nodes}/n1`, mergePatch(JSON.stringify({ a: "x".repeat(3 * 1024 * 1024) })));
  assert.equal(big.status, 413);
});

test("faults: statuses, resets, silence, partial responses; a given number of times, until reset", async () => {
  const { api, nodes } = await start();
  await using _ = api;
  api.nodes.create(makeNode("n1"));
  api.inject({ verb: "list", times: 2, answer: { status: 429, headers: { "retry-after": "1" } } });
  assert.equal((await call(`${nodes}/n1`)).status, 200);
  const busy = await call(nodes);
  assert.deepEqual([busy.status, busy.headers["retry-after"], busy.body.kind], [429, "1", "Status"]);
  assert.equal((await call(nodes)).status, 429);
  assert.equal((await call(nodes)).status, 200);

  api.inject({
    resource: "nodes/status",
    answer: { status: 500, headers: { "content-type": "text/plain" }, body: "oops" },
  });
  assert.equal((await call(nodes)).status, 200);
  assert.equal((await call(`${nodes}/n1/status`)).body, "oops");

  api.inject({ answer: "reset" });
  await assert.rejects(call(nodes), { code: "ECONNRESET" });
  api.inject({ answer: "truncate" });
  await assert.rejects(call(nodes), { code: "ECONNRESET" });

  const silence = api.inject({ times: Infinity, answer: "hang" });
  const waiting = open(nodes);
  waiting.catch(() => {});
  const other = await Promise.race([
    waiting.then(() => "answered"),
    call(`${api.url}/version`).then(() => "silent"),
  ]);
  assert.equal(other, "silent");
  silence[Symbol.dispose]();
  assert.equal((await call(nodes)).status, 200);
});

test("a namespace has its name as a label, and its deletion deletes what it contains", async () => {
  const { api } = await start();
  await using _ = api;
  const namespaces = `${api.url}/api/v1/namespaces`;
  const created = await call(namespaces, {
    method: "POST",
    body: { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels: { team: "a" } } },
  });
  assert.deepEqual(created.body.metadata.labels, { team: "a", "kubernetes.io/metadata.name": "shop" });
  assert.equal(created.body.status.phase, "Active");
  const names = (await call(namespaces)).body.items.map(
    (item: { metadata: { name: string } }) => item.metadata.name,
  );
  assert.deepEqual(names, ["default", "kube-node-lease", "kube-public", "kube-system", "shop"]);
  api.pods.create(makePod("p", { namespace: "shop" }));
  api.networkPolicies.create(makeNetworkPolicy("n", { podSelector: {} }, "shop"));
  assert.equal((await call(`${namespaces}/shop`, { method: "DELETE" })).status, 200);
  assert.deepEqual([api.pods.list(), api.networkPolicies.list()], [[], []]);
  const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "q" } };
  const late = await call(`${namespaces}/shop/pods`, { method: "POST", body: pod });
  assert.equal(late.status, 404);
  assert.equal(late.body.message, 'namespaces "shop" not found');
  const status = await call(`${namespaces}/default/status`, mergePatch({ status: { phase: "Terminating" } }));
  assert.equal(status.body.status.phase, "Terminating");
});

test("network policies are of their own API group, and are validated", async () => {
  const { api } = await start();
  await using _ = api;
  const group = `${api.url}/apis/networking.k8s.io/v1`;
  const policies = `${group}/namespaces/default/networkpolicies`;
  const create = (spec: unknown) =>
    call(policies, {
      method: "POST",
      body: { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name: "n" }, spec },
    });
  assert.equal((await create({ podSelector: {}, policyTypes: ["Ingress"] })).status, 201);
  const list = (await call(`${group}/networkpolicies`)).body;
  assert.deepEqual(
    [list.kind, list.apiVersion, list.items.length],
    ["NetworkPolicyList", "networking.k8s.io/v1", 1],
  );
  const missing = await call(`${policies}/m`);
  assert.equal(missing.body.message, 'networkpolicies.networking.k8s.io "m" not found');
  assert.equal((await call(`${policies}/n/status`)).status, 404, "it has no status");
  assert.equal((await call(`${api.url}/api/v1/networkpolicies`)).status, 404, "not in the core group");
  assert.equal((await call(`${policies}/n`, { method: "DELETE" })).body.status, "Success");
  for (const [spec, field] of [
    [{ policyTypes: ["Sideways"] }, "spec.policyTypes[0]"],
    [{ ingress: [{ from: [{}] }] }, "spec.ingress[0].from[0]"],
    [{ ingress: [{ ports: [{ port: 0 }] }] }, "spec.ingress[0].ports[0].port"],
    [{ ingress: [{ ports: [{ port: 80, endPort: 79 }] }] }, "spec.ingress[0].ports[0].endPort"],
    [{ ingress: [{ ports: [{ port: "web", endPort: 79 }] }] }, "spec.ingress[0].ports[0].endPort"],
    [{ egress: [{ ports: [{ protocol: "ICMP" }] }] }, "spec.egress[0].ports[0].protocol"],
    [{ egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0" } }] }] }, "spec.egress[0].to[0].ipBlock.cidr"],
    [
      { egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/9"] } }] }] },
      "spec.egress[0].to[0].ipBlock.except[0]",
    ],
    [
      { podSelector: { matchExpressions: [{ key: "a", operator: "In" }] } },
      "spec.podSelector.matchExpressions[0].values",
    ],
  ] as const) {
    const refused = await create({ podSelector: {}, ...spec });
    assert.equal(refused.status, 422, field);
    assert.equal(refused.body.details.causes[0].field, field);
  }
});

test("rules of a ClusterRole name the API group", async () => {
  const rules = [
    { apiGroups: ["networking.k8s.io"], resources: ["networkpolicies", "pods"], verbs: ["list"] },
  ];
  await using api = await KubeApiServer.start({ tokens: [{ token: "t", user: "u", rules }] });
  const get = (path: string) => call(`${api.url}${path}`, { headers: { authorization: "Bearer t" } });
  assert.equal((await get("/apis/networking.k8s.io/v1/networkpolicies")).status, 200);
  assert.equal((await get("/api/v1/pods")).status, 403);
});
