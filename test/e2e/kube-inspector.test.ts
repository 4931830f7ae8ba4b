/** The nodes of a cluster as an operator sees them, on the test API server with no more rights than flanneld has. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { formatPrefix } from "../../src/address/prefix.ts";
import { hasCode } from "../../src/base/error.ts";
import { KubeApiServer, type KubeRule } from "../../src/kube-server/kube-api-server.ts";
import { makeNode, makePod } from "../../src/kube-server/objects/node-object.ts";
import {
  createKubeLeaseInspector,
  type KubeInspectorOptions,
} from "../../src/lease/kube/kube-lease-inspector.ts";
import { KUBE_RULES } from "../../src/lease/kube/rbac.ts";
import type { LeaseRecord, RecordUpdate } from "../../src/lease/lease-admin.ts";
import {
  addPeer,
  annotated,
  annotationsOfHost,
  keepLog,
  macOf,
  NETWORK,
  PREFIX,
  TEST_TIMINGS,
  temporaryDirectory,
} from "../support/kube-store.ts";
import { until } from "../support/until.ts";

const READ_NODES = KUBE_RULES.filter(({ verbs }) => verbs.includes("list"));

async function makeBed(t: TestContext, rules: readonly KubeRule[] = KUBE_RULES) {
  const api = await KubeApiServer.start({ bookmarkIntervalMs: 100 });
  t.after(() => api[Symbol.asyncDispose]());
  const directory = temporaryDirectory();
  t.after(() => directory[Symbol.dispose]());
  // Nobody has a name without TLS: what was asked for is compared with the rules afterwards.
  t.after(() => {
    const allowed = (verb: string, resource: string) =>
      rules.some((rule) => rule.verbs.includes(verb) && rule.resources.includes(resource));
    assert.deepEqual(
      api.requests.filter(({ verb, resource }) => !allowed(verb, resource)),
      [],
    );
  });
  const log = keepLog();
  return {
    api,
    directory,
    log,
    async open(options: Partial<KubeInspectorOptions> = {}) {
      const inspector = await createKubeLeaseInspector(
        {
          apiUrl: api.url,
          annotationPrefix: PREFIX,
          netConfigPath: directory.at("net-conf.json"),
          timings: TEST_TIMINGS,
          ...options,
        },
        { logger: log, environment: {} },
      );
      t.after(() => inspector[Symbol.asyncDispose]());
      return inspector;
    },
  };
}

const show = ({ key, subnets, attributes, problem }: LeaseRecord) => ({
  key,
  subnets: [subnets?.ipv4, subnets?.ipv6].flatMap((subnet) => (subnet ? [formatPrefix(subnet)] : [])),
  data: attributes?.backendData,
  problem,
});

test("leases without a NODE_NAME, and why the other nodes have none", async (t) => {
  const { api, open } = await makeBed(t, READ_NODES);
  addPeer(api, 1);
  addPeer(api, 2, ["10.5.2.0/24", "fc00:0:0:2::/64"]);
  api.nodes.create(makeNode("none"));
  api.nodes.create(makeNode("plain", { podCIDRs: ["10.5.9.0/24"] }));
  addPeer(api, 3);
  api.nodes.patch("node-3", annotated({ "public-ip": "what\x1b[2J" }));
  addPeer(api, 4);
  api.nodes.patch("node-4", annotated({ "backend-data": "{" }));
  addPeer(api, 5, ["10.5.5.0"]);
  const inspector = await open();
  assert.equal(inspector.keysAreNodes, true);
  const records = [...(await inspector.listRecords())].sort((a, b) => (a.key < b.key ? -1 : 1));
  const data = (host: number) => ({ VNI: 1, VtepMAC: macOf(host) });
  assert.deepEqual(records.map(show), [
    { key: "node-1", subnets: ["10.5.1.0/24"], data: data(1), problem: undefined },
    { key: "node-2", subnets: ["10.5.2.0/24", "fc00:0:0:2::/64"], data: data(2), problem: undefined },
    {
      ...{ key: "node-3", subnets: ["10.5.3.0/24"], data: undefined },
      problem: String.raw`annotation public-ip is not an IPv4 address: "what\u001b[2J"`,
    },
    {
      ...{ key: "node-4", subnets: ["10.5.4.0/24"], data: undefined },
      problem: "annotation backend-data is not JSON",
    },
    {
      ...{ key: "node-5", subnets: [], data: undefined },
      problem: 'its podCIDR "10.5.5.0" is not a subnet like 10.244.1.0/24',
    },
    { key: "none", subnets: [], data: undefined, problem: "it has no podCIDR" },
    {
      ...{ key: "plain", subnets: ["10.5.9.0/24"], data: undefined },
      problem: "flanneld has not run there (no annotation flannel.alpha.coreos.com/kube-subnet-manager)",
    },
  ]);
  assert.ok(records.every(({ lifeId }) => lifeId === undefined));
  assert.equal((await inspector.readExpiries(records)).size, 0);
  assert.equal(api.watchCount, 0);
  const blue = await open({ annotationPrefix: "flannel.example/blue" });
  assert.match((await blue.listRecords())[0]!.problem!, /no annotation flannel\.example\/blue-kube-subnet/);
});

test("thousands of nodes come in pages", async (t) => {
  const { api, open } = await makeBed(t, READ_NODES);
  for (let host = 1; host <= 1_200; host++) addPeer(api, host);
  const records = await (await open()).listRecords();
  assert.equal(new Set(records.map(({ key }) => key)).size, 1_200);
  assert.equal(api.requests.length, 3);
});

test("a watch reports changes of leases and no heartbeats, also over a gap", async (t) => {
  const { api, open } = await makeBed(t, READ_NODES);
  addPeer(api, 1);
  addPeer(api, 2);
  const inspector = await open();
  const stop = new AbortController();
  t.after(() => stop.abort());
  const updates: RecordUpdate[] = [];
  const watching = (async () => {
    for await (const update of inspector.watchRecords(stop.signal)) updates.push(update);
  })();
  await until(() => updates.length === 1 && api.watchCount === 1, "the snapshot");
  const [first] = updates;
  assert.ok(first?.type === "snapshot");
  const revisions = new Map(first.records.map(({ key, revision }) => [key, revision]));
  const heartbeat = (name: string) =>
    api.nodes.patch(name, { metadata: { labels: { beat: String(Math.random()) } } });
  heartbeat("node-1");
  api.nodes.patch("node-2", annotated({ "public-ip": "192.168.9.9" }));
  await until(() => updates.length === 2, "the change");
  const put = updates[1]!;
  assert.ok(put.type === "put" && put.record.key === "node-2");
  assert.ok(put.record.revision > revisions.get("node-2")!);
  api.nodes.patch("node-2", annotated({ "kube-subnet-manager": null }));
  await until(() => updates.length === 3, "the lease that is gone");
  const lost = updates[2]!;
  assert.ok(lost.type === "put" && /flanneld has not run there/.test(lost.record.problem ?? ""));
  api.nodes.delete("node-2");
  await until(() => updates.length === 4, "the node that is gone");
  assert.deepEqual(updates[3], { type: "delete", key: "node-2" });

  heartbeat("node-1");
  api.compact();
  api.dropWatches("expired");
  await until(() => updates.length === 5, "another snapshot");
  const again = updates[4]!;
  assert.ok(again.type === "snapshot");
  assert.deepEqual(
    again.records.map(({ key, revision }) => [key, revision]),
    [["node-1", revisions.get("node-1")]],
    "what is the same has the same revision",
  );
  stop.abort();
  await watching;
});

test("the assignment of this host: subnets, addresses, previously published data; nothing is patched", async (t) => {
  const { api, open } = await makeBed(t);
  const annotations = annotated({
    ...annotationsOfHost(1),
    "node-public-ip": "192.168.0.77",
    "public-ip-overwrite": "203.0.113.7",
  }).metadata.annotations as Record<string, string>;
  api.nodes.create(makeNode("node-1", { podCIDRs: ["10.5.1.0/24", "fc00:0:0:1::/64"], annotations }));
  const before = JSON.stringify(api.nodes.get("node-1"));
  const read = async (options: Partial<KubeInspectorOptions>, network = NETWORK) =>
    (await open(options)).readAssignedHost!(network);
  const assigned = await read({ nodeName: "node-1" });
  assert.equal(assigned.key, "node-1");
  assert.equal(formatPrefix(assigned.subnets.ipv4!), "10.5.1.0/24");
  assert.equal(assigned.subnets.ipv6, undefined, "the network has no IPv6");
  assert.equal(assigned.record.publicIp?.value, 0xc0a8004dn);
  assert.equal(assigned.record.publishedIp?.value, 0xcb007107n);
  assert.deepEqual(assigned.record.attributes?.backendData, { VNI: 1, VtepMAC: macOf(1) });
  assert.equal(JSON.stringify(api.nodes.get("node-1")), before);

  api.pods.create(makePod("flannel-x", { namespace: "kube-flannel", nodeName: "node-1" }));
  const asPod = await read({ podName: "flannel-x", podNamespace: "kube-flannel" });
  assert.equal(asPod.key, "node-1");
  await assert.rejects(read({}), /ConfigError: the node of this host is unknown: set NODE_NAME/);
  await assert.rejects(read({ nodeName: "node-7" }), /node node-7 does not exist/);
  api.nodes.create(makeNode("node-2"));
  await assert.rejects(read({ nodeName: "node-2" }), /node node-2 has no podCIDR yet: is kube-controller-/);
});

test("the network config is a file; if it is missing, the error names its place", async (t) => {
  const { directory, open } = await makeBed(t);
  const inspector = await open();
  assert.match(inspector.configPlace, /net-conf\.json \(--net-config-path; .*ConfigMap kube-flannel-cfg\)$/);
  await assert.rejects(
    inspector.readNetworkConfig(),
    (error) => hasCode(error, "NOT_FOUND") && /kubectl -n kube-flannel get configmap/.test(String(error)),
  );
  writeFileSync(directory.at("net-conf.json"), "{}");
  assert.deepEqual(await inspector.readNetworkConfig(), { text: "{}" });
});

test("an API server that is away fails a listing; a closed inspector watches no more", async (t) => {
  const { api, open } = await makeBed(t);
  addPeer(api, 1);
  const away = await open({ apiUrl: "http://127.0.0.1:1" });
  await assert.rejects(away.listRecords(), (error) => hasCode(error, "UNAVAILABLE"));
  const inspector = await open();
  const updates: RecordUpdate[] = [];
  const watching = (async () => {
    const never = new AbortController().signal;
    for await (const update of inspector.watchRecords(never)) updates.push(update);
  })();
  await until(() => updates.length === 1, "the snapshot");
  await inspector[Symbol.asyncDispose]();
  await watching;
});
