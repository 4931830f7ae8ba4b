/**
 * The story of a host in each cloud, through provider and reconciler, against the fakes over HTTP: the route is made, repaired,
 * cleaned up, refused and throttled.
 */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeAli } from "../testing/cloud-ali.ts";
import { FakeGce } from "../testing/cloud-gce.ts";
import type { FakeReply, FakeServer } from "../testing/cloud-http.ts";
import { startCloudRouteHost, until } from "../testing/cloud-route-host.ts";
import { FakeTencent } from "../testing/cloud-tencent.ts";
import { cloudTestPorts } from "../testing/cloud-test-ports.ts";
import { AliCloud } from "./ali/ali-cloud.ts";
import { GceCloud, routeName } from "./gce/gce-cloud.ts";
import { TencentCloud } from "./tencent/tencent-cloud.ts";

const DESTINATION = "10.5.1.0/24";

/** A fake cloud with hosts, in words that all of them have. */
interface Bed extends AsyncDisposable {
  readonly server: FakeServer;
  /** "10.5.1.0/24 <host>", sorted. */
  table(): readonly string[];
  /** A route behind the API's back; `to` is the number of a host that need not exist. */
  add(destination: string, to: number): void;
  clear(): unknown;
  setLimit(routes: number): void;
  /** Starts host `number`, whose subnet is 10.5.<number>.0/24. */
  start(t: TestContext, number: number): Promise<ReturnType<typeof startCloudRouteHost>>;
}

interface Story {
  readonly open: () => Promise<Bed>;
  /** The label of a listing, and that of a creation. */
  readonly labels: readonly [list: string, create: string];
  readonly throttled: FakeReply;
  /** Calls of the API at a start, at most. */
  readonly calls: number;
  /** What a reached limit says. */
  readonly limit: RegExp;
}

const retryAfter = { "retry-after": "30" };

const STORIES: Readonly<Record<string, Story>> = {
  gce: {
    open: openGce,
    labels: ["GET routes", "POST routes"],
    throttled: { status: 429, body: { error: { message: "Rate Limit Exceeded" } }, headers: retryAfter },
    ...{ calls: 4, limit: /Quota 'STATIC_ROUTES_PER_NETWORK' exceeded.*vxlan backend/ },
  },
  "ali-vpc": {
    open: openAli,
    labels: ["DescribeRouteEntryList", "CreateRouteEntry"],
    throttled: {
      status: 400,
      body: { Code: "Throttling", Message: "Request was denied" },
      headers: retryAfter,
    },
    ...{ calls: 4, limit: /QuotaExceeded: .*vxlan backend/ },
  },
  "tencent-vpc": {
    open: openTencent,
    labels: ["DescribeRouteTables", "CreateRoutes"],
    throttled: {
      body: { Response: { Error: { Code: "RequestLimitExceeded", Message: "Too many requests" } } },
      headers: retryAfter,
    },
    ...{ calls: 3, limit: /LimitExceeded: .*vxlan backend/ },
  },
};

for (const [type, { open, labels, throttled, calls, limit }] of Object.entries(STORIES)) {
  const [list, create] = labels;

  test(`${type}: a start makes the route in ${calls} calls; deleted by hand, it is back at the next listing`, async (t) => {
    await using bed = await open();
    const host = await bed.start(t, 1);
    await until("the route", () => host.isConverged() && bed.table().length === 1);
    assert.equal(bed.server.requests.length, calls);
    bed.clear();
    await until("the repair", () => bed.table().length === 1 && host.isConverged());
    assert.equal(bed.server.count(create), 2);
    assert.ok(
      host.log.every((line) => !line.startsWith("E")),
      host.log.join("\n"),
    );
  });

  test(`${type}: a foreign route for the subnet is replaced, and said`, async (t) => {
    await using bed = await open();
    bed.add(DESTINATION, 9);
    const host = await bed.start(t, 1);
    const own = bed.table()[0]!.replace(/9$/, "1");
    await until("the replacement", () => host.isConverged() && bed.table()[0] === own);
    assert.equal(bed.table().length, 1);
    assert.equal(
      host.log.filter((line) => line.startsWith("W Replaced foreign route 10.5.1.0/24 to ")).length,
      1,
    );
  });

  test(`${type}: earlier routes to this host are deleted, those to other hosts and outside the network stay`, async (t) => {
    await using bed = await open();
    await bed.start(t, 2);
    await until("the other host's route", () => bed.table().length === 1);
    bed.add("10.5.77.0/24", 1);
    bed.add("172.16.0.0/24", 1);
    const host = await bed.start(t, 1);
    const isRemoved = () => !bed.table().some((line) => line.startsWith("10.5.77.0/24"));
    await until("the removal", () => host.isConverged() && isRemoved() && bed.table().length === 3);
    assert.match(host.log.join("\n"), /^I Deleted route 10\.5\.77\.0\/24/m);
  });

  test(`${type}: a reached limit is reported with the remedy, and the route is made once there is room`, async (t) => {
    await using bed = await open();
    bed.setLimit(0);
    const host = await bed.start(t, 1);
    await until("the report", () => limit.test(host.problems()));
    bed.setLimit(10);
    await until("the route", () => bed.table().length === 1 && host.isConverged());
  });

  test(`${type}: a throttled host waits as long as the server says, and succeeds`, async (t) => {
    await using bed = await open();
    bed.server.faults.push({ label: list, times: 1, reply: throttled });
    const before = performance.now();
    const host = await bed.start(t, 1);
    await until("the route", () => bed.table().length === 1 && host.isConverged());
    // 30 s, on a clock that is 50 times as fast.
    assert.ok(performance.now() - before >= 600, `${performance.now() - before} ms`);
    assert.equal(bed.server.count(create), 1);
  });

  test(`${type}: twelve hosts that start at once all get their routes`, async (t) => {
    await using bed = await open();
    const numbers = Array.from({ length: 12 }, (_, index) => index + 1);
    const hosts = await Promise.all(numbers.map((number) => bed.start(t, number)));
    await until("all routes", () => bed.table().length === 12 && hosts.every((host) => host.isConverged()));
  });
}

test("gce: routes of instances that are deleted or stopped are removed, and said", async (t) => {
  await using bed = await openGce();
  bed.add("10.5.50.0/24", 50);
  const host = await bed.start(t, 1);
  await until("the removal", () => host.isConverged() && bed.table().length === 1);
  assert.match(
    host.log.join("\n"),
    /Deleted route 10\.5\.50\.0\/24 to .*host-50, whose target no longer exists/,
  );
});

async function openGce(): Promise<Bed> {
  const fake = await FakeGce.start();
  const nameOf = (number: number) => `host-${number}`;
  return {
    server: fake.server,
    table: () => fake.table,
    add(destRange, to) {
      const nextHopInstance = fake.instancePath(nameOf(to));
      fake.addRoute({ name: routeName(destRange), destRange, nextHopInstance });
    },
    clear: () => fake.routes.clear(),
    setLimit(routes) {
      fake.routeQuota = routes;
    },
    async start(t, number) {
      const { ip } = await fake.addInstance(nameOf(number), `192.0.2.${number}`);
      const ports = cloudTestPorts(fake.environment(nameOf(number)));
      fake.nowMs = ports.timers.nowMs;
      const open = (settings: { readonly addresses: readonly string[] }) => new GceCloud(settings, ports);
      const own = { type: "gce", address: ip, destination: `10.5.${number}.0/24` };
      return startCloudRouteHost(t, { ...own, open, timers: ports.timers });
    },
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

async function openAli(): Promise<Bed> {
  const fake = await FakeAli.start();
  return {
    server: fake.server,
    table: () => fake.table,
    add: (destination, to) => void fake.addEntry(destination, `i-${to}`),
    clear: () => fake.entries.splice(0),
    setLimit(routes) {
      fake.quota = routes;
    },
    async start(t, number) {
      const { ip, id } = await fake.addInstance(`i-${number}`, `192.0.2.${number}`);
      const ports = cloudTestPorts(fake.environment(id));
      const own = { type: "ali-vpc", address: ip, destination: `10.5.${number}.0/24` };
      const open = (settings: ConstructorParameters<typeof AliCloud>[0]) => new AliCloud(settings, ports);
      return startCloudRouteHost(t, { ...own, open, timers: ports.timers });
    },
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

async function openTencent(): Promise<Bed> {
  const fake = await FakeTencent.start();
  return {
    server: fake.server,
    table: () => fake.table,
    add: (DestinationCidrBlock, to) => fake.addRoute({ DestinationCidrBlock, GatewayId: `192.0.2.${to}` }),
    clear: () => fake.tables[0]!.routes.splice(0),
    setLimit(routes) {
      fake.limit = routes;
    },
    async start(t, number) {
      const { ip, id } = await fake.addInstance(`ins-${number}`, `192.0.2.${number}`);
      const ports = cloudTestPorts(fake.environment(id));
      const accessKey = { id: "AKID-static", secret: "static-secret" };
      const own = { type: "tencent-vpc", address: ip, destination: `10.5.${number}.0/24`, accessKey };
      const open = (settings: ConstructorParameters<typeof TencentCloud>[0]) =>
        new TencentCloud(settings, ports);
      return startCloudRouteHost(t, { ...own, open, timers: ports.timers });
    },
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}
