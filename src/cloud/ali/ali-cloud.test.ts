/** Unit tests of Alibaba Cloud's client, against a fake of the VPC API and of the metadata service over HTTP. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { FakeAli } from "../../testing/cloud-ali.ts";
import {
  cloudTestPorts,
  refusalOf,
  rejects,
  neverAborted as signal,
} from "../../testing/cloud-test-ports.ts";
import type { CloudHost, CloudSettings } from "../cloud.ts";
import { AliCloud } from "./ali-cloud.ts";
import { signRpc } from "./rpc-signature.ts";

const NETWORKS = [parsePrefix("10.5.0.0/16")!];
const DESTINATION = "10.5.72.0/24";
const KEY = { id: "LTAI-static", secret: "static-secret" };
const SETTINGS: CloudSettings = { addresses: ["192.168.0.11"], tables: [], accessKey: undefined };

/** A cloud with instance i-1, and a client there. */
async function start(settings: Partial<CloudSettings> = {}, environment: Record<string, string> = {}) {
  const fake = await FakeAli.start();
  const instance = await fake.addInstance("i-1", "192.168.0.11");
  const open = (more: Partial<CloudSettings> = {}) =>
    new AliCloud({ ...SETTINGS, ...settings, ...more }, ports);
  const ports = cloudTestPorts({ ...fake.environment("i-1"), ...environment });
  fake.wallClockMs = () => ports.wallClockMs();
  return {
    ...{ fake, instance, ports, open, cloud: open() },
    place: (host: CloudHost) => ({ table: host.tables[0]!, destination: DESTINATION }),
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

test("the signature is that of the reference's example", () => {
  const parameters = {
    ...{ Timestamp: "2016-02-23T12:46:24Z", Format: "XML", AccessKeyId: "testid", Action: "DescribeRegions" },
    ...{ SignatureMethod: "HMAC-SHA1", SignatureNonce: "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf" },
    ...{ Version: "2014-05-26", SignatureVersion: "1.0" },
  };
  assert.equal(signRpc("GET", parameters, "testsecret"), "OLeaidS1JvxuMvnyHOwuJ+uX5qY=");
});

test("a start makes one route in eight requests, four of them to the API, with the credentials of the RAM role", async () => {
  await using bed = await start();
  const { cloud, fake, instance } = bed;
  const host = await cloud.identify(signal);
  assert.deepEqual(host, { instance: "i-1", target: "i-1", tables: ["vtb-bp145q7glnuzdv"] });
  assert.deepEqual(await cloud.prepare(host, signal), []);
  assert.deepEqual(await cloud.list(host, NETWORKS, signal), []);
  await cloud.create(host, bed.place(host), signal);
  assert.deepEqual(fake.table, [`${DESTINATION} i-1`]);
  assert.deepEqual(fake.server.requests, [
    ...["DescribeVSwitchAttributes", "DescribeRouteEntryList", "CreateRouteEntry", "DescribeRouteEntryList"],
  ]);
  assert.equal(instance.metadata.requests.length, 4);
  const listed = await cloud.list(host, NETWORKS, signal);
  const place = { table: host.tables[0], destination: DESTINATION };
  assert.deepEqual(listed, [{ ...place, target: "i-1", isOwn: true, isBlackhole: false }]);
});

test("the key of the network config is used before that of the environment, and that before the RAM role", async () => {
  const inEnvironment = { ACCESS_KEY_ID: "LTAI-env", ACCESS_KEY_SECRET: "env-secret" };
  await using bed = await start({}, inEnvironment);
  bed.instance.hasRole = false;
  await rejects(bed.cloud.identify(signal), "CREDENTIALS", /InvalidAccessKeyId.NotFound/);
  bed.fake.keys.set("LTAI-env", { secret: "env-secret" });
  await bed.open().identify(signal);
  bed.fake.keys.delete("LTAI-env");
  await bed.open({ accessKey: KEY }).identify(signal);
  assert.equal(bed.instance.metadata.requests.filter((label) => label.includes("ram")).length, 0);
});

test("half a key, a wrong secret and no credentials at all are explained", async () => {
  await using half = await start();
  assert.throws(
    () => new AliCloud(SETTINGS, cloudTestPorts({ ACCESS_KEY_ID: "LTAI-static" })),
    /ACCESS_KEY_ID is set, but ACCESS_KEY_SECRET is not; set both or none/,
  );
  const wrong = half.open({ accessKey: { ...KEY, secret: "other-secret" } });
  const error = await refusalOf(wrong.identify(signal));
  assert.equal(error.code, "CREDENTIALS");
  assert.match(error.message, /SignatureDoesNotMatch: .*; check the access key/);
  assert.doesNotMatch(`${error.stack} ${JSON.stringify(error)}`, /other-secret/);
  half.instance.hasRole = false;
  await rejects(
    half.cloud.identify(signal),
    "CREDENTIALS",
    /no credentials; set Backend.AccessKeyID .* RAM role/,
  );
});

test("role credentials are renewed before they expire, and after they were refused", async () => {
  await using bed = await start();
  const { fake, instance, ports } = bed;
  const renewals = () => instance.metadata.count("GET meta-data/ram/security-credentials/flannel-node");
  const host = await bed.cloud.identify(signal);
  ports.wallClockMs = () => Date.now() + 5.8 * 3600_000;
  await bed.cloud.list(host, NETWORKS, signal);
  assert.equal(renewals(), 1);
  ports.wallClockMs = () => Date.now() + 5.95 * 3600_000;
  await bed.cloud.list(host, NETWORKS, signal);
  assert.equal(renewals(), 2);
  for (const id of fake.keys.keys()) fake.keys.set(id, { secret: "changed" });
  await rejects(bed.cloud.list(host, NETWORKS, signal), "CREDENTIALS", /SignatureDoesNotMatch/);
  await bed.cloud.list(host, NETWORKS, signal);
  assert.equal(renewals(), 3);
});

test("a refused signature says so without what was signed, and keys may end with a newline", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  for (const [id, key] of bed.fake.keys) bed.fake.keys.set(id, { ...key, secret: "changed" });
  const error = await refusalOf(bed.cloud.list(host, NETWORKS, signal));
  assert.match(
    error.message,
    /SignatureDoesNotMatch: Specified signature is not matched with our calculation; check/,
  );
  assert.doesNotMatch(error.message, /role-token|server string/);
  await using other = await start(
    {},
    { ACCESS_KEY_ID: "LTAI-static\n", ACCESS_KEY_SECRET: "static-secret\n" },
  );
  await other.cloud.identify(signal);
});

test("an endpoint without encryption is refused, except on loopback", async () => {
  await using bed = await start({ accessKey: KEY }, { ALIBABA_CLOUD_VPC_ENDPOINT: "http://vpc.example" });
  await rejects(
    bed.cloud.identify(signal),
    "REFUSED",
    /ALIBABA_CLOUD_VPC_ENDPOINT must be an https:\/\/ URL/,
  );
});

test("metadata in hardened mode is read with a token", async () => {
  await using bed = await start();
  bed.instance.isHardened = true;
  await bed.cloud.identify(signal);
  assert.equal(bed.instance.metadata.count("PUT api/token"), 1);
});

test("a foreign route for the subnet is replaced once the previous one is gone", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  fake.addEntry(DESTINATION, "i-9");
  fake.pendingListings = 2;
  const [previous] = await cloud.list(host, NETWORKS, signal);
  assert.deepEqual([previous!.target, previous!.isOwn], ["i-9", false]);
  await cloud.replace(host, previous!, signal);
  assert.deepEqual(fake.table, [`${DESTINATION} i-1`]);
});

test("a route with several next hops is foreign, and replaced by its id", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  bed.fake.addEntry(DESTINATION, "i-1", "i-9");
  const [previous] = await bed.cloud.list(host, NETWORKS, signal);
  assert.equal(previous!.isOwn, false);
  await bed.cloud.replace(host, previous!, signal);
  assert.deepEqual(bed.fake.table, [`${DESTINATION} i-1`]);
});

test("only custom routes within the network are listed, over all pages", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  fake.pageSize = 7;
  const host = await cloud.identify(signal);
  for (let third = 0; third < 20; third++) fake.addEntry(`10.5.${third}.0/24`, "i-1");
  fake.addEntry("0.0.0.0/0", "i-1");
  fake.addEntry("172.16.0.0/24", "i-1");
  fake.entries.push({ ...fake.addEntry("10.5.99.0/24", "i-1"), type: "System" });
  fake.entries.splice(fake.entries.length - 2, 1);
  fake.server.requests.length = 0;
  assert.equal((await cloud.list(host, NETWORKS, signal)).length, 20);
  assert.equal(fake.server.count("DescribeRouteEntryList"), 4);
});

test("a route is deleted, and one that is not there is NOT_FOUND", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  bed.fake.addEntry(DESTINATION, "i-1");
  bed.fake.pendingListings = 0;
  const [route] = await bed.cloud.list(host, NETWORKS, signal);
  await bed.cloud.delete(host, route!, signal);
  assert.deepEqual(await bed.cloud.list(host, NETWORKS, signal), []);
  await rejects(bed.cloud.delete(host, route!, signal), "NOT_FOUND", /InvalidRouteEntry.NotFound/);
});

test("every missing permission is named", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  fake.addEntry("10.5.1.0/24", "i-1");
  const [route] = await cloud.list(host, NETWORKS, signal);
  const attempts: Readonly<Record<string, () => Promise<unknown>>> = {
    DescribeVSwitchAttributes: () => cloud.identify(signal),
    DescribeRouteEntryList: () => cloud.list(host, NETWORKS, signal),
    CreateRouteEntry: () => cloud.create(host, bed.place(host), signal),
    DeleteRouteEntry: () => cloud.delete(host, route!, signal),
  };
  for (const [action, attempt] of Object.entries(attempts)) {
    fake.denied.add(action);
    const error = await refusalOf(attempt());
    fake.denied.clear();
    assert.deepEqual([error.code, error.permission], ["PERMISSION", `vpc:${action}`]);
    assert.match(error.message, new RegExp(`allow the action vpc:${action} in a RAM policy$`));
  }
});

test("the quota, a duplicate, a change under way and a foreign table are told apart", async () => {
  await using bed = await start();
  const { cloud, fake } = bed;
  const host = await cloud.identify(signal);
  const create = () => cloud.create(host, bed.place(host), signal);
  fake.quota = 0;
  await rejects(create(), "LIMIT_REACHED", /QuotaExceeded: .*; delete routes .* vxlan/);
  fake.quota = 200;
  const entry = fake.addEntry(DESTINATION, "i-9");
  await rejects(create(), "EXISTS", /InvalidCIDRBlock.Duplicate/);
  entry.pending = 1;
  await rejects(create(), "CONFLICT", /IncorrectRouteEntryStatus/);
  const elsewhere = bed.open({ tables: ["vtb-other"] });
  const there = await elsewhere.identify(signal);
  assert.deepEqual(there.tables, ["vtb-other"]);
  await rejects(
    elsewhere.list(there, NETWORKS, signal),
    "NOT_FOUND",
    /check Backend.RouteTableID and its region/,
  );
  fake.instances.delete("i-1");
  fake.entries = [];
  await rejects(create(), "NOT_FOUND", /must belong to the VPC of this instance/);
});

test("a change that never ends is given up", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  bed.fake.pendingListings = Number.POSITIVE_INFINITY;
  const endless = rejects(
    bed.cloud.create(host, bed.place(host), signal),
    "UNAVAILABLE",
    /not available after 60 s/,
  );
  while (bed.fake.entries.length === 0) await new Promise(setImmediate);
  bed.ports.timers.skipMs += 60_000;
  await endless;
});

test("throttling is RATE_LIMITED with the server's wait", async () => {
  await using bed = await start();
  const host = await bed.cloud.identify(signal);
  const body = { Code: "Throttling.User", Message: "Request was denied due to user flow control." };
  bed.fake.server.faults.push({
    label: "List",
    times: 1,
    reply: { status: 400, body, headers: { "retry-after": "3" } },
  });
  const error = await refusalOf(bed.cloud.list(host, NETWORKS, signal));
  assert.deepEqual([error.code, error.retryAfterMs], ["RATE_LIMITED", 3_000]);
});

test("a clock that is wrong is named, with how much", async () => {
  await using bed = await start({ accessKey: KEY });
  bed.fake.wallClockMs = () => Date.now() + 20 * 60_000;
  await rejects(
    bed.cloud.identify(signal),
    "CLOCK_SKEW",
    /InvalidTimeStamp.Expired: .*; this host's clock is 20 min slow; synchronize it/,
  );
});

test("HTML, silence and server errors in place of the API and of the metadata service", async () => {
  await using bed = await start({ accessKey: KEY });
  const { cloud, fake, instance } = bed;
  const host = await cloud.identify(signal);
  const list = () => cloud.list(host, NETWORKS, signal);
  fake.server.faults.push({ label: "List", times: 1, reply: { body: "<!DOCTYPE html>" } });
  await rejects(list(), "NOT_UNDERSTOOD", /an HTML page/);
  fake.server.faults.push({ label: "List", times: 1, reply: { status: 503, body: {} } });
  await rejects(list(), "UNAVAILABLE", /DescribeRouteEntryList was refused: 503/);
  fake.server.faults.push({ label: "List", times: 1, reply: "lost" });
  await rejects(list(), "UNAVAILABLE", /is unavailable/);
  instance.metadata.faults.push({ label: "document", times: 1, reply: { body: "<html>" } });
  await rejects(cloud.identify(signal), "NOT_UNDERSTOOD", /an HTML page/);
  const region = { "instance-id": "i-1", "region-id": "evil.example/?" };
  instance.metadata.faults.push({ label: "document", times: 1, reply: { body: region } });
  await rejects(cloud.identify(signal), "NOT_UNDERSTOOD", /named no instance of a VPC/);
  instance.metadata.faults.push({ label: "vswitch", times: 1, reply: { status: 404, body: "" } });
  await rejects(cloud.identify(signal), "NOT_FOUND", /status 404 for meta-data\/vswitch-id/);
  const nowhere = new AliCloud(
    SETTINGS,
    cloudTestPorts({ ALIBABA_CLOUD_METADATA_URL: "http://127.0.0.1:1" }),
  );
  await rejects(nowhere.identify(signal), "UNAVAILABLE", /is this host an ECS instance/);
});

test("a primary interface without the host's address is a warning", async () => {
  await using bed = await start({ addresses: ["192.168.7.7"] });
  const [warning] = await bed.cloud.prepare(await bed.cloud.identify(signal), signal);
  assert.match(
    warning!,
    /instance i-1 \(192.168.0.11\), which has none of the addresses 192.168.7.7; .*--iface$/,
  );
});
