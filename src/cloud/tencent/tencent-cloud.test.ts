/** Unit tests of Tencent Cloud's client, against a fake of the VPC API and of the metadata service over HTTP. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { FakeTencent } from "../../testing/cloud-tencent.ts";
import {
  cloudTestPorts,
  refusalOf,
  rejects,
  neverAborted as signal,
} from "../../testing/cloud-test-ports.ts";
import type { CloudHost, CloudSettings } from "../cloud.ts";
import { signTc3 } from "./tc3-signature.ts";
import { TencentCloud } from "./tencent-cloud.ts";

const NETWORKS = [parsePrefix("10.5.0.0/16")!];
const DESTINATION = "10.5.72.0/24";
const KEY = { id: "AKID-static", secret: "static-secret" };
const SETTINGS: CloudSettings = { addresses: ["10.0.0.11"], tables: [], accessKey: undefined };

/** A cloud with instance ins-1, and a client there. */
async function start(settings: Partial<CloudSettings> = {}, environment: Record<string, string> = {}) {
  const fake = await FakeTencent.start();
  const instance = await fake.addInstance("ins-1", "10.0.0.11");
  const ports = cloudTestPorts({ ...fake.environment("ins-1"), ...environment });
  const open = (more: Partial<CloudSettings> = {}) =>
    new TencentCloud({ ...SETTINGS, ...settings, ...more }, ports);
  fake.wallClockMs = () => ports.wallClockMs();
  return {
    ...{ fake, instance, ports, open, cloud: open() },
    place: (host: CloudHost) => ({ table: host.tables[0]!, destination: DESTINATION }),
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

test("the signature is that of the reference's example", () => {
  const authorization = signTc3({
    ...{ service: "cvm", host: "cvm.tencentcloudapi.com", timestampS: 1551113065 },
    body: '{"Limit": 1, "Filters": [{"Values": ["\\u672a\\u547d\\u540d"], "Name": "instance-name"}]}',
    ...{ secretId: "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", secretKey: "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE" },
  });
  assert.equal(
    authorization,
    "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, SignedHeaders=content-type;host, " +
      "Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
  );
});

test("a start makes one route in three calls of the API, with the credentials of the CAM role", async () => {
  await using bed = await start();
  const { cloud, fake, instance } = bed;
  const host = await cloud.identify(signal);
  assert.deepEqual(host, { instance: "ins-1", target: "10.0.0.11", tables: ["rtb-n0yejvje"] });
  assert.deepEqual(await cloud.prepare(host, signal), []);
  assert.deepEqual(await cloud.list(host, NETWORKS, signal), []);
  await cloud.create(host, bed.place(host), signal);
  assert.deepEqual(fake.table, [`${DESTINATION} 10.0.0.11`]);
  assert.deepEqual(fake.server.requests, ["DescribeRouteTables", "DescribeRouteTables", "CreateRoutes"]);
  assert.equal(instance.metadata.requests.length, 7);
  const [route] = await cloud.list(host, NETWORKS, signal);
  const { id, ...listed } = route!;
  const place = { table: host.tables[0], destination: DESTINATION };
  assert.deepEqual(listed, { ...place, target: "10.0.0.11", isOwn: true, isBlackhole: false });
  assert.match(id!, /^\d+$/);
});

test("the key of the network config is used before that of the environment, and that before the CAM role", async () => {
  await using bed = await start({}, { ACCESS_KEY_ID: "AKID-env", ACCESS_KEY_SECRET: "env-secret" });
  bed.instance.hasRole = false;
  await rejects(bed.cloud.identify(signal), "CREDENTIALS", /AuthFailure.SecretIdNotFound/);
  bed.fake.keys.set("AKID-env", { secret: "env-secret" });
  await bed.open().identify(signal);
  bed.fake.keys.delete("AKID-env");
  await bed.open({ accessKey: KEY }).identify(signal);
  assert.equal(bed.instance.metadata.requests.filter((label) => label.includes("cam")).length, 0);
});

test("a wrong secret and no credentials at all are explained, without the secret", async () => {
  await using bed = await start();
  const wrong = bed.open({ accessKey: { ...KEY, secret: "other-secret" } });
  const error = await refusalOf(wrong.identify(signal));
  assert.equal(error.code, "CREDENTIALS");
  assert.match(error.message, /AuthFailure.SignatureFailure: .*; check the access key/);
  assert.doesNotMatch(`${error.stack} ${JSON.stringify(error)}`, /other-secret/);
  bed.instance.hasRole = false;
  await rejects(
    bed.cloud.identify(signal),
    "CREDENTIALS",
    /no credentials; set Backend.AccessKeyID .* CAM role/,
  );
});

test("role credentials are renewed before they expire, and after they were refused", async () => {
  await using bed = await start();
  const { fake, instance, ports } = bed;
  const renewals = () => instance.metadata.count("cam/security-credentials/flannel-node");
  const host = await bed.cloud.identify(signal);
  ports.wallClockMs = () => Date.now() + 5.8 * 3600_000;
  await bed.cloud.list(host, NETWORKS, signal);
  assert.equal(renewals(), 1);
  ports.wallClockMs = () => Date.now() + 5.95 * 3600_000;
  await bed.cloud.list(host, NETWORKS, signal);
  assert.equal(renewals(), 2);
  for (const [id, key] of fake.keys) fake.keys.set(id, { ...key, expiresAtMs: 0 });
  await rejects(bed.cloud.list(host, NETWORKS, signal), "CREDENTIALS", /AuthFailure.TokenFailure/);
  await bed.cloud.list(host, NETWORKS, signal);
  assert.equal(renewals(), 3);
});

test("the table is that of the instance's subnet, else the main one; over all pages", async () => {
  await using bed = await start();
  const { cloud, fake, instance } = bed;
  const table = { vpc: "vpc-bo5ggyf8", isMain: false, routes: [] };
  for (let count = 0; count < 110; count++)
    fake.tables.push({ ...table, id: `rtb-${count}`, subnets: [`s-${count}`] });
  fake.tables.push({ ...table, id: "rtb-elsewhere", vpc: "vpc-other", subnets: ["s-other"] });
  instance.subnet = "s-107";
  assert.deepEqual((await cloud.identify(signal)).tables, ["rtb-107"]);
  assert.equal(fake.server.count("DescribeRouteTables"), 2);
  instance.subnet = "s-unknown";
  assert.deepEqual((await cloud.identify(signal)).tables, ["rtb-n0yejvje"]);
  fake.tables.splice(0);
  await rejects(
    cloud.identify(signal),
    "NOT_FOUND",
    /no route table of s-unknown, .* in vpc-bo5ggyf8; create one/,
  );
});

test("two tables of the network config are listed in one call; one that is unknown or of another VPC is named", async () => {
  await using bed = await start();
  const { fake } = bed;
  const table = { isMain: false, subnets: [], routes: [] };
  fake.tables.push({ ...table, id: "rtb-second", vpc: "vpc-bo5ggyf8" });
  const cloud = bed.open({ tables: ["rtb-n0yejvje", "rtb-second"] });
  const host = await cloud.identify(signal);
  for (const id of host.tables) await cloud.create(host, { table: id, destination: DESTINATION }, signal);
  fake.server.requests.length = 0;
  assert.deepEqual(
    (await cloud.list(host, NETWORKS, signal)).map((route) => `${route.table} ${route.isOwn}`),
    ["rtb-n0yejvje true", "rtb-second true"],
  );
  assert.equal(fake.server.requests.length, 1);
  fake.tables.pop();
  await rejects(
    cloud.list(host, NETWORKS, signal),
    "NOT_FOUND",
    /no route table rtb-second .* check Backend.RouteTableID/,
  );
  fake.tables.push({ ...table, id: "rtb-second", vpc: "vpc-other" });
  await rejects(
    cloud.list(host, NETWORKS, signal),
    "CONFLICT",
    /belongs to vpc-other, but this instance is in vpc-bo5ggyf8/,
  );
});

test("foreign routes for the subnet, and own ones that are disabled, are replaced", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  for (const [more, target] of [
    [{ GatewayId: "10.0.0.99" }, "10.0.0.99"],
    [{ GatewayId: "nat-1", GatewayType: "NAT" }, "NAT nat-1"],
    [{ GatewayId: "10.0.0.11", Enabled: false }, "10.0.0.11 (disabled)"],
  ] as const) {
    fake.tables[0]!.routes = [];
    fake.addRoute({ DestinationCidrBlock: DESTINATION, ...more });
    const [previous] = await cloud.list(host, NETWORKS, signal);
    assert.deepEqual([previous!.target, previous!.isOwn], [target, false]);
    await cloud.replace(host, previous!, signal);
    assert.deepEqual(fake.table, [`${DESTINATION} 10.0.0.11`]);
    assert.equal((await cloud.list(host, NETWORKS, signal))[0]!.isOwn, true);
  }
});

test("routes of the system and of CCN, and those outside the network, are not listed", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  fake.addRoute({
    DestinationCidrBlock: DESTINATION,
    GatewayId: "ccn-1",
    GatewayType: "CCN",
    RouteType: "CCN",
  });
  fake.addRoute({ DestinationCidrBlock: "172.16.0.0/24", GatewayId: "10.0.0.11" });
  assert.deepEqual(await cloud.list(host, NETWORKS, signal), []);
  await rejects(
    cloud.create(host, bed.place(host), signal),
    "CONFLICT",
    /EcmpWithCcnRoute: .*; another kind of route/,
  );
});

test("every missing permission is named", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  fake.addRoute({ DestinationCidrBlock: "10.5.1.0/24", GatewayId: "10.0.0.11" });
  const [route] = await cloud.list(host, NETWORKS, signal);
  const attempts: Readonly<Record<string, () => Promise<unknown>>> = {
    DescribeRouteTables: () => cloud.list(host, NETWORKS, signal),
    CreateRoutes: () => cloud.create(host, bed.place(host), signal),
    DeleteRoutes: () => cloud.delete(host, route!, signal),
  };
  for (const [action, attempt] of Object.entries(attempts)) {
    fake.denied.add(action);
    const error = await refusalOf(attempt());
    fake.denied.clear();
    assert.deepEqual([error.code, error.permission], ["PERMISSION", `vpc:${action}`]);
    assert.match(error.message, new RegExp(`allow the action vpc:${action} in a CAM policy$`));
  }
  await cloud.delete(host, route!, signal);
  await rejects(cloud.delete(host, route!, signal), "NOT_FOUND", /ResourceNotFound/);
});

test("the limit and a duplicate are told apart", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  bed.fake.limit = 0;
  await rejects(
    bed.cloud.create(host, bed.place(host), signal),
    "LIMIT_REACHED",
    /LimitExceeded: .* vxlan backend/,
  );
  bed.fake.addRoute({ DestinationCidrBlock: DESTINATION, GatewayId: "10.0.0.99" });
  await rejects(bed.cloud.create(host, bed.place(host), signal), "EXISTS", /InvalidParameterValue.Duplicate/);
});

test("throttling is RATE_LIMITED with the server's wait", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  const body = { Response: { Error: { Code: "RequestLimitExceeded", Message: "Too many requests" } } };
  bed.fake.server.faults.push({
    label: "Describe",
    times: 1,
    reply: { body, headers: { "retry-after": "2" } },
  });
  const error = await refusalOf(bed.cloud.list(host, NETWORKS, signal));
  assert.deepEqual([error.code, error.retryAfterMs], ["RATE_LIMITED", 2_000]);
});

test("a clock that is wrong is named, with how much", async () => {
  await using bed = await start({ accessKey: KEY });
  bed.fake.wallClockMs = () => Date.now() - 7 * 60_000;
  await rejects(
    bed.cloud.identify(signal),
    "CLOCK_SKEW",
    /SignatureExpire: .*; this host's clock is 7 min fast; /,
  );
});

test("HTML, silence and server errors in place of the API and of the metadata service", async () => {
  await using bed = await start({ accessKey: KEY });
  const { cloud, fake, instance } = bed;
  const host = await cloud.identify(signal);
  const list = () => cloud.list(host, NETWORKS, signal);
  const fault = (reply: (typeof fake.server.faults)[number]["reply"]) =>
    fake.server.faults.push({ label: "Describe", times: 1, reply });
  fault({ body: "<!DOCTYPE html>" });
  await rejects(list(), "NOT_UNDERSTOOD", /an HTML page/);
  fault({ status: 503, body: {} });
  await rejects(list(), "UNAVAILABLE", /DescribeRouteTables was refused: 503/);
  fault({ body: { Response: {} } });
  await rejects(list(), "NOT_UNDERSTOOD", /no TotalCount/);
  fault({ body: { other: 1 } });
  await rejects(list(), "NOT_UNDERSTOOD", /no JSON/);
  fault("lost");
  await rejects(list(), "UNAVAILABLE", /is unavailable/);
  instance.metadata.faults.push({ label: "region", times: 1, reply: { body: "<html>" } });
  await rejects(cloud.identify(signal), "NOT_UNDERSTOOD", /no name for placement\/region/);
  instance.metadata.faults.push({ label: "vpc-id", times: 1, reply: { status: 404, body: "" } });
  await rejects(cloud.identify(signal), "NOT_FOUND", /is this host a CVM instance in a VPC/);
  const nowhere = new TencentCloud(
    SETTINGS,
    cloudTestPorts({ TENCENTCLOUD_METADATA_URL: "http://127.0.0.1:1" }),
  );
  await rejects(nowhere.identify(signal), "UNAVAILABLE", /is this host a CVM instance/);
});
