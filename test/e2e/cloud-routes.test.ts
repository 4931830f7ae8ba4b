/**
 * flanneld with the backends gce, ali-vpc and tencent-vpc, against fakes of the clouds' APIs and metadata services over HTTP.
 *
 *     h1 192.168.7.1 (flanneld) ── on its loopback relays to etcd, to the API and to the metadata service of this process
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { FakeAli } from "../../src/testing/cloud-ali.ts";
import { FakeGce } from "../../src/testing/cloud-gce.ts";
import type { FakeServer } from "../../src/testing/cloud-http.ts";
import { FakeTencent } from "../../src/testing/cloud-tencent.ts";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { askHealth, type Flanneld, readSubnetFile, startFlanneld } from "../support/flanneld.ts";
import { makeKubeBed } from "../support/kube.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";

const CONFIG_KEY = "/coreos.com/network/config";
/** Secrets of the fakes begin like this. */
const SECRETS = /static-secret|role-secret|role-token|ya29\./;

/** One cloud, as this test needs it. */
interface CloudBed extends AsyncDisposable {
  readonly server: FakeServer;
  readonly metadata: FakeServer;
  readonly denied: Set<string>;
  table(): readonly string[];
  clear(): unknown;
  /** Another's route to this destination. */
  addForeign(destination: string): unknown;
  /** What the process has in its environment, where API and metadata service are at these URLs. */
  environment(api: string, metadata: string): Record<string, string>;
}

/** What differs between the clouds. */
interface Story {
  readonly open: (address: string) => Promise<CloudBed>;
  /** Members of `Backend`. */
  readonly members: object;
  /** The permission to create a route, and the label of that call. */
  readonly permission: string;
  readonly denied: string;
  readonly create: string;
  /** Calls of API and metadata service from the start until ready, at most. */
  readonly requests: number;
}

const STORIES: Readonly<Record<string, Story>> = {
  gce: {
    ...{ open: openGce, members: {}, permission: "compute.routes.create", create: "POST routes" },
    ...{ denied: "compute.routes.create", requests: 8 },
  },
  "ali-vpc": {
    ...{ open: openAli, members: {}, permission: "vpc:CreateRouteEntry", create: "CreateRouteEntry" },
    ...{ denied: "CreateRouteEntry", requests: 8 },
  },
  "tencent-vpc": {
    ...{ open: openTencent, permission: "vpc:CreateRoutes", create: "CreateRoutes", denied: "CreateRoutes" },
    members: { AccessKeyID: "AKID-static", AccessKeySecret: "static-secret" },
    requests: 8,
  },
};

for (const [type, story] of Object.entries(STORIES)) {
  test(`${type}: the route is there when flanneld is ready, missing rights are named, secrets are nowhere; repair and cleanup`, async (t) => {
    await using etcd = await startEtcd();
    const [host] = await makeHosts(t, etcd, 1);
    await using cloud = await story.open(host!.address);
    const Backend = { Type: type, ...story.members };
    await etcd.ctl("put", CONFIG_KEY, JSON.stringify({ Network: "10.5.0.0/16", Backend }));
    const env = cloud.environment(await relay(t, cloud.server, host!), await relay(t, cloud.metadata, host!));
    const args = ["--healthz-port=18080"];

    cloud.denied.add(story.denied);
    const refused = startFlanneld(t, host!, { args, env });
    await refused.logged(new RegExp(`${story.permission}.*(?:policy|service account)`));
    const health = await askHealth(host!, 18080, "/readyz");
    assert.equal(health?.status, 503);
    assert.match(health.body, new RegExp(story.permission));
    checkSecrets(refused);
    assert.equal((await refused.stop()).code, 0);

    cloud.denied.clear();
    cloud.server.requests.length = 0;
    cloud.metadata.requests.length = 0;
    const flanneld = startFlanneld(t, host!, { args, env });
    await flanneld.logged(/flanneld is ready/);
    const { subnet, mtuBytes } = readSubnetFile(host!);
    const destination = subnet.replace(".1/", ".0/");
    assert.equal(cloud.table().length, 1);
    assert.ok(cloud.table()[0]!.startsWith(`${destination} `), cloud.table().join());
    assert.equal(mtuBytes, 1500);
    const requests = [...cloud.server.requests, ...cloud.metadata.requests];
    assert.ok(requests.length <= story.requests, requests.join(", "));
    const lease = await etcd.ctl("get", "--prefix", "/coreos.com/network/subnets", "--print-value-only");
    assert.equal(lease.trim(), '{"PublicIP":"192.168.7.1","PublicIPv6":null}');
    checkSecrets(flanneld);

    assert.equal((await flanneld.stop()).code, 0);
    assert.equal(cloud.table().length, 1);
    const again = startFlanneld(t, host!, { args: [...args, "--cloud-resync=1"], env });
    await again.logged(/flanneld is ready/);
    assert.equal(cloud.server.count(story.create), 1);
    assert.equal(readSubnetFile(host!).subnet, subnet);

    const own = cloud.table();
    cloud.clear();
    await again.logged(/Repaired drift .*cloud-route .*\(missing\)/, { deadlineMs: 20_000 });
    assert.deepEqual(cloud.table(), own);
    cloud.clear();
    cloud.addForeign(destination);
    await again.logged(/Replaced foreign route /, { deadlineMs: 20_000 });
    assert.deepEqual(cloud.table(), own);
    assert.equal((await again.stop()).code, 0);

    const words = ["cleanup", `--cloud=${type}`, `--subnet-file=${host!.subnetFile}`];
    const key = { ACCESS_KEY_ID: "AKID-static", ACCESS_KEY_SECRET: "static-secret" };
    const cleanup = await flannelctl(host!, words, type === "tencent-vpc" ? { ...env, ...key } : env);
    assert.equal(cleanup.code, 0, cleanup.err);
    assert.match(cleanup.out, new RegExp(`cloud-route ${destination}`));
    assert.deepEqual(cloud.table(), []);
  });
}

/** Neither in the log nor in what ps shows of the process. */
function checkSecrets(flanneld: Flanneld): void {
  assert.doesNotMatch(flanneld.log(), SECRETS);
  assert.doesNotMatch(readFileSync(`/proc/${flanneld.pid}/cmdline`, "latin1"), SECRETS);
}

/** The URL of a server of this process, inside of the host. */
async function relay(t: TestContext, { port }: FakeServer, host: TestHost): Promise<string> {
  const proxy = await startTcpProxy(port, { netns: host.path });
  t.after(() => proxy[Symbol.asyncDispose]());
  return `http://127.0.0.1:${proxy.port}`;
}

async function openGce(address: string): Promise<CloudBed> {
  const fake = await FakeGce.start();
  const { metadata } = await fake.addInstance("node-1", address);
  return {
    ...{ server: fake.server, metadata, denied: fake.denied, table: () => fake.table },
    clear: () => fake.routes.clear(),
    addForeign: (destRange) => fake.addRoute({ name: "by-hand", destRange, nextHopIp: "192.168.7.9" }),
    environment: (api, at) => ({
      GCE_METADATA_HOST: new URL(at).host,
      CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${api}/compute/v1/`,
    }),
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

async function openAli(address: string): Promise<CloudBed> {
  const fake = await FakeAli.start();
  const { metadata } = await fake.addInstance("i-1", address);
  return {
    ...{ server: fake.server, metadata, denied: fake.denied, table: () => fake.table },
    clear: () => fake.entries.splice(0),
    addForeign: (destination) => fake.addEntry(destination, "i-9"),
    environment: (api, at) => ({ ALIBABA_CLOUD_VPC_ENDPOINT: api, ALIBABA_CLOUD_METADATA_URL: at }),
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

async function openTencent(address: string): Promise<CloudBed> {
  const fake = await FakeTencent.start();
  const { metadata } = await fake.addInstance("ins-1", address);
  return {
    ...{ server: fake.server, metadata, denied: fake.denied, table: () => fake.table },
    clear: () => fake.tables[0]!.routes.splice(0),
    addForeign: (DestinationCidrBlock) => fake.addRoute({ DestinationCidrBlock, GatewayId: "192.168.7.9" }),
    environment: (api, at) => ({ TENCENTCLOUD_VPC_ENDPOINT: api, TENCENTCLOUD_METADATA_URL: at }),
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

test("gce in Kubernetes: subnets of the nodes, a route for each, and annotations without a type", async (t) => {
  const config = { Network: "10.244.0.0/16", Backend: { Type: "gce" } };
  const bed = await makeKubeBed(t, 2, { config });
  await using fake = await FakeGce.start();
  for (const host of bed.hosts) {
    const { metadata } = await fake.addInstance(host.nodeName, host.address);
    const env = {
      NODE_NAME: host.nodeName,
      GCE_METADATA_HOST: new URL(await relay(t, metadata, host)).host,
      CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${await relay(t, fake.server, host)}/compute/v1/`,
    };
    await bed.ready(host, { env });
  }
  assert.deepEqual(fake.table, ["10.244.1.0/24 node-1", "10.244.2.0/24 node-2"]);
  assert.deepEqual(bed.annotations(bed.hosts[0]!), {
    "backend-data": "null",
    "backend-type": "",
    "kube-subnet-manager": "true",
    "public-ip": "192.168.7.1",
  });
});
