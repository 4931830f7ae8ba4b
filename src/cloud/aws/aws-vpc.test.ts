/** Unit tests of the client of AWS, against the lab's EC2: it refuses what EC2 refuses, and checks signatures. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { Ec2Server } from "../../aws-server/ec2-server.ts";
import { Vpc } from "../../aws-server/vpc.ts";
import { systemTimers } from "../../base/timers.ts";
import { CloudError, type CloudErrorCode, type CloudSettings } from "../cloud.ts";
import { createDirectHttp } from "../http.ts";
import { createAwsVpc } from "./aws-vpc.ts";

const NETWORKS = [parsePrefix("10.5.0.0/16")!, parsePrefix("fd00:5::/48")!];
const SIGNAL = new AbortController().signal;
const PLACE = { table: "rtb-0f1a2b3c", destination: "10.5.1.0/24" };

interface BedOptions {
  readonly settings?: Partial<CloudSettings>;
  readonly environment?: Readonly<Record<string, string>>;
  /** How far this host's clock is ahead of EC2's. */
  readonly skewMs?: number;
  readonly files?: Readonly<Record<string, string>>;
}

/** An EC2 with this host's instance (at 127.0.0.1 and 192.0.2.11) and another one. */
async function openBed({ settings = {}, environment = {}, skewMs = 0, files = {} }: BedOptions = {}) {
  const vpc = new Vpc({ cidrs: ["192.0.2.0/24"] });
  const own = vpc.addInstance("00000001", ["127.0.0.1", "192.0.2.11", "2001:db8::11"]);
  const other = vpc.addInstance("00000002", ["192.0.2.12"]);
  const ec2 = await Ec2Server.start({ vpc });
  const log: string[] = [];
  const logger = {
    info: log.push.bind(log),
    warn: log.push.bind(log),
    error: log.push.bind(log),
    debug() {},
  };
  const cloud = createAwsVpc(
    { addresses: ["192.0.2.11"], tables: [], accessKey: undefined, ...settings },
    {
      environment: { AWS_ENDPOINT_URL: ec2.url, AWS_EC2_METADATA_SERVICE_ENDPOINT: ec2.url, ...environment },
      ...{ http: createDirectHttp(), direct: createDirectHttp(), timers: systemTimers, logger },
      wallClockMs: () => Date.now() + skewMs,
      readFile: (path) => files[path],
    },
  );
  return { vpc, own, other, ec2, cloud, log, [Symbol.asyncDispose]: () => ec2[Symbol.asyncDispose]() };
}

async function refused(work: Promise<unknown>, code: CloudErrorCode, message: RegExp): Promise<CloudError> {
  const error = await work.then(
    () => assert.fail("was not refused"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CloudError, String(error));
  assert.match(error.message, message);
  assert.equal(error.code, code, error.message);
  return error;
}

test("a host finds its interface and the main table, disables the check, and has its route, with five calls", async () => {
  await using bed = await openBed();
  const { cloud, own, ec2, vpc, log } = bed;
  const host = await cloud.identify(SIGNAL);
  assert.deepEqual(host, { instance: "i-00000001", target: "eni-00000001", tables: ["rtb-0f1a2b3c"] });
  assert.deepEqual(await cloud.prepare(host, SIGNAL), []);
  assert.equal(own.sourceDestCheck, false);
  assert.deepEqual(await cloud.list(host, NETWORKS, SIGNAL), []);
  await cloud.create(host, PLACE, SIGNAL);
  assert.deepEqual(ec2.calls, [
    ...["DescribeInstances", "DescribeRouteTables", "DescribeRouteTables", "ModifyNetworkInterfaceAttribute"],
    "CreateRoute",
  ]);
  assert.deepEqual([...vpc.table("rtb-0f1a2b3c").routes], [["10.5.1.0/24", "eni-00000001"]]);
  assert.deepEqual(log, ["Disabled the source/destination check of eni-00000001"]);
  const [route] = await cloud.list(host, NETWORKS, SIGNAL);
  assert.deepEqual(route, { ...PLACE, target: "eni-00000001", isOwn: true, isBlackhole: false });
  await refused(cloud.create(host, PLACE, SIGNAL), "EXISTS", /RouteAlreadyExists/);
  await cloud.delete(host, route!, SIGNAL);
  await refused(cloud.delete(host, route!, SIGNAL), "NOT_FOUND", /InvalidRoute\.NotFound/);
});

test("routes of other hosts, blackholes and those outside of the network are distinguished, in both families", async () => {
  await using bed = await openBed();
  const { cloud, vpc } = bed;
  const { routes } = vpc.table("rtb-0f1a2b3c");
  routes.set("0.0.0.0/0", "igw-1");
  routes.set("10.5.2.0/24", "eni-00000002");
  routes.set("10.5.9.0/24", "eni-00000009");
  routes.set("fd00:5:0:1::/64", "eni-00000001");
  const host = await cloud.identify(SIGNAL);
  const found = await cloud.list(host, NETWORKS, SIGNAL);
  assert.deepEqual(
    found.map(({ destination, isOwn, isBlackhole }) => [destination, isOwn, isBlackhole]),
    [
      ["10.5.2.0/24", false, false],
      ["10.5.9.0/24", false, true],
      ["fd00:5:0:1::/64", true, false],
    ],
  );
  await cloud.create(host, { ...PLACE, destination: "fd00:5:0:2::/64" }, SIGNAL);
  assert.equal(routes.get("fd00:5:0:2::/64"), "eni-00000001");
});

test("a foreign route is replaced; without ec2:ReplaceRoute deleted and created, as Go flannel did", async () => {
  await using bed = await openBed();
  const { cloud, vpc, ec2 } = bed;
  const { routes } = vpc.table("rtb-0f1a2b3c");
  for (const denied of ["", "ec2:ReplaceRoute"]) {
    ec2.denied.add(denied);
    routes.set("10.5.1.0/24", "eni-00000002");
    const host = await cloud.identify(SIGNAL);
    const [foreign] = await cloud.list(host, NETWORKS, SIGNAL);
    await cloud.replace(host, foreign!, SIGNAL);
    assert.equal(routes.get("10.5.1.0/24"), "eni-00000001");
  }
  assert.deepEqual(ec2.calls.slice(-3), ["ReplaceRoute", "DeleteRoute", "CreateRoute"]);
});

test("the table of the interface's subnet comes before the main one, and is followed when it changes", async () => {
  await using bed = await openBed();
  const { cloud, vpc } = bed;
  const first = vpc.addTable("rtb-00000001", { subnets: [vpc.subnetId] });
  const host = await cloud.identify(SIGNAL);
  assert.deepEqual(host.tables, ["rtb-00000001"]);
  await cloud.list(host, NETWORKS, SIGNAL);
  first.subnets.clear();
  vpc.addTable("rtb-00000002", { subnets: [vpc.subnetId] });
  await refused(
    cloud.list(host, NETWORKS, SIGNAL),
    "CONFLICT",
    /subnet-0f1a2b3c has the route table rtb-00000002 now, instead of rtb-00000001/,
  );
});

test("two tables that claim the subnet, and none, are explained", async () => {
  await using bed = await openBed();
  const { cloud, vpc } = bed;
  for (const id of ["rtb-00000001", "rtb-00000002"]) vpc.addTable(id, { subnets: [vpc.subnetId] });
  await refused(
    cloud.identify(SIGNAL),
    "CONFLICT",
    /several route tables \(rtb-00000001, rtb-00000002\) are associated .* Backend\.RouteTableID/,
  );
  vpc.tables.clear();
  await refused(cloud.identify(SIGNAL), "NOT_FOUND", /no route table is associated with subnet-0f1a2b3c/);
});

test("tables of the config: all of them, missing ones, and those of another VPC", async () => {
  await using bed = await openBed({ settings: { tables: ["rtb-00000001", "rtb-00000002"] } });
  const { cloud, vpc } = bed;
  const host = await cloud.identify(SIGNAL);
  assert.deepEqual(host.tables, ["rtb-00000001", "rtb-00000002"]);
  vpc.addTable("rtb-00000001");
  await refused(
    cloud.list(host, NETWORKS, SIGNAL),
    "NOT_FOUND",
    /The routeTable ID 'rtb-00000002' does not exist/,
  );
  vpc.addTable("rtb-00000002", { vpcId: "vpc-99" }).routes.set("10.5.3.0/24", "eni-00000001");
  await refused(
    cloud.list(host, NETWORKS, SIGNAL),
    "CONFLICT",
    /rtb-00000002 belongs to vpc-99, and this host's interface eni-00000001 to vpc-0f1a2b3c/,
  );
  await refused(
    cloud.create(host, { ...PLACE, table: "rtb-00000002" }, SIGNAL),
    "REFUSED",
    /belong to different networks/,
  );
});

test("a large VPC's tables come in pages", async () => {
  const tables = Array.from({ length: 150 }, (_, index) => `rtb-${index + 1000}`);
  await using bed = await openBed({ settings: { tables } });
  const { cloud, vpc } = bed;
  for (const id of tables) vpc.addTable(id).routes.set("10.5.2.0/24", "eni-00000002");
  assert.equal((await cloud.list(await cloud.identify(SIGNAL), NETWORKS, SIGNAL)).length, 150);
});

test("no interface of the instance has the host's address", async () => {
  await using bed = await openBed({ settings: { addresses: ["172.17.0.1"] } });
  await refused(
    bed.cloud.identify(SIGNAL),
    "NOT_FOUND",
    /no network interface of instance i-00000001 has 172\.17\.0\.1 \(eni-00000001 has .*192\.0\.2\.11.*--iface/,
  );
});

for (const action of ["DescribeInstances", "DescribeRouteTables", "CreateRoute", "DeleteRoute"]) {
  test(`a missing ec2:${action} is named`, async () => {
    await using bed = await openBed();
    const { cloud, ec2 } = bed;
    ec2.denied.add(`ec2:${action}`);
    const work = async () => {
      const host = await cloud.identify(SIGNAL);
      await cloud.create(host, PLACE, SIGNAL);
      await cloud.delete(host, { ...PLACE, target: "", isOwn: true, isBlackhole: false }, SIGNAL);
    };
    const error = await refused(
      work(),
      "PERMISSION",
      new RegExp(`the permission ec2:${action} is missing; allow it in the IAM policy`),
    );
    assert.equal(error.permission, `ec2:${action}`);
    assert.doesNotMatch(error.message, /Encoded|xxxx/);
  });
}

test("without ec2:ModifyNetworkInterfaceAttribute there is a warning with the command", async () => {
  await using bed = await openBed();
  const { cloud, ec2, own } = bed;
  ec2.denied.add("ec2:ModifyNetworkInterfaceAttribute");
  const host = await cloud.identify(SIGNAL);
  const [warning] = await cloud.prepare(host, SIGNAL);
  assert.match(warning!, /the permission ec2:ModifyNetworkInterfaceAttribute is missing/);
  assert.match(
    warning!,
    /aws ec2 modify-network-interface-attribute --network-interface-id eni-00000001 --no-source-dest-check$/,
  );
  own.sourceDestCheck = false;
  assert.deepEqual(await cloud.prepare(await cloud.identify(SIGNAL), SIGNAL), []);
});

test("the limit of a table, the limit of calls, and a Network in the VPC's own range", async () => {
  await using bed = await openBed();
  const { cloud, ec2, vpc } = bed;
  const host = await cloud.identify(SIGNAL);
  vpc.routesPerTable = 0;
  await refused(cloud.create(host, PLACE, SIGNAL), "LIMIT_REACHED", /full; ask AWS for a higher quota/);
  await refused(
    cloud.create(host, { ...PLACE, destination: "192.0.2.128/25" }, SIGNAL),
    "REFUSED",
    /choose a Network for flannel outside of the VPC's address ranges/,
  );
  ec2.callsPerSecond = 0;
  await refused(cloud.create(host, PLACE, SIGNAL), "RATE_LIMITED", /RequestLimitExceeded/);
  ec2.answers.set("CreateRoute", {
    ...{ status: 503, headers: { "retry-after": "7" } },
    body: "<Response><Errors><Error><Code>Unavailable</Code><Message>overload</Message></Error></Errors></Response>",
  });
  const error = await refused(cloud.create(host, PLACE, SIGNAL), "UNAVAILABLE", /Unavailable: overload/);
  assert.equal(error.retryAfterMs, 7_000);
});

test("HTML, an empty answer, another API's XML and a body without end are not understood", async () => {
  await using bed = await openBed();
  const { cloud, ec2 } = bed;
  const answer = (body: string, status = 200) => ec2.answers.set("DescribeInstances", { status, body });
  answer("<!doctype html><html><body>Sign in</body></html>");
  await refused(cloud.identify(SIGNAL), "NOT_UNDERSTOOD", /answered an HTML page with status 200; a proxy/);
  answer("");
  await refused(cloud.identify(SIGNAL), "NOT_UNDERSTOOD", /answered nothing/);
  answer("<a><b></a>");
  await refused(cloud.identify(SIGNAL), "NOT_UNDERSTOOD", /answered no XML/);
  answer("<ListBucketsResponse/>");
  await refused(cloud.identify(SIGNAL), "NOT_UNDERSTOOD", /answered no XML with status 200/);
  answer("<html>502 Bad Gateway</html>", 502);
  await refused(cloud.identify(SIGNAL), "UNAVAILABLE", /an HTML page with status 502/);
  answer("<DescribeInstancesResponse/>");
  await refused(cloud.identify(SIGNAL), "NOT_FOUND", /EC2 knows no instance i-00000001 in eu-central-1/);
  answer(`<!DOCTYPE x [<!ENTITY a "${"a".repeat(100)}">]><x>&a;</x>`);
  await refused(cloud.identify(SIGNAL), "NOT_UNDERSTOOD", /answered no XML/);
});

for (const skewMs of [-3_600_000, 3_600_000]) {
  test(`a clock that is an hour ${skewMs < 0 ? "behind" : "ahead"} is named as the cause`, async () => {
    await using bed = await openBed({ skewMs });
    await refused(
      bed.cloud.identify(SIGNAL),
      "CLOCK_SKEW",
      new RegExp(`this host's clock is 60 min ${skewMs < 0 ? "behind" : "ahead of"} EC2's.*synchronize it`),
    );
  });
}

test("temporary credentials are refreshed before they expire, and again when the API calls them expired", async () => {
  await using bed = await openBed();
  const { cloud, ec2 } = bed;
  ec2.credentials.lifetimeMs = 1_000;
  const issue = ec2.credentials.issue.bind(ec2.credentials);
  let issued = 0;
  ec2.credentials.issue = () => {
    issued++;
    return issue();
  };
  await cloud.identify(SIGNAL);
  assert.equal(issued, 1, "a minute passes before the next attempt, however short they live");
  ec2.answers.set("DescribeInstances", {
    status: 400,
    body: "<Response><Errors><Error><Code>RequestExpired</Code><Message>Request has expired.</Message></Error></Errors></Response>",
  });
  await refused(
    cloud.identify(SIGNAL),
    "CREDENTIALS",
    /does not accept this host's credentials: .*RequestExpired/,
  );
  ec2.answers.clear();
  await cloud.identify(SIGNAL);
  assert.equal(issued, 2);
});

test("credentials of the environment come first; wrong ones are refused without being shown", async () => {
  const environment = { AWS_ACCESS_KEY_ID: "AKIAEXAMPLE", AWS_SECRET_ACCESS_KEY: "topsecret" };
  await using bed = await openBed({ environment });
  const error = await refused(bed.cloud.identify(SIGNAL), "CREDENTIALS", /AuthFailure/);
  assert.doesNotMatch(error.message, /topsecret|AKIAEXAMPLE/);
});

test("a role for a service account: the token of the file is exchanged at STS", async () => {
  const environment = { AWS_WEB_IDENTITY_TOKEN_FILE: "/token", AWS_ROLE_ARN: "arn:aws:iam::1:role/flannel" };
  await using bed = await openBed({ environment, files: { "/token": "header.payload.signature\n" } });
  const { cloud, ec2 } = bed;
  const error = await refused(
    cloud.identify(SIGNAL),
    "CREDENTIALS",
    /STS refused to assume arn:aws:iam::1:role\/flannel with the web identity of \/token: InvalidIdentityToken.*trust policy/,
  );
  assert.doesNotMatch(error.message, /payload/);
  ec2.identities.add("header.payload.signature");
  ec2.hasRole = false;
  assert.equal((await cloud.identify(SIGNAL)).instance, "i-00000001");
});

test("credentials of a container endpoint, and endpoints that would see the token in clear text", async () => {
  await using other = await openBed();
  const environment = {
    AWS_CONTAINER_CREDENTIALS_FULL_URI: `${other.ec2.url}/latest/container`,
    AWS_CONTAINER_AUTHORIZATION_TOKEN: "secret",
  };
  await using bed = await openBed({ environment });
  other.ec2.answers.set("container", { status: 200, body: JSON.stringify(bed.ec2.credentials.issue()) });
  assert.equal((await bed.cloud.identify(SIGNAL)).instance, "i-00000001");
  const elsewhere = { ...environment, AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://198.51.100.7/" };
  await using refusing = await openBed({ environment: elsewhere });
  await refused(refusing.cloud.identify(SIGNAL), "CREDENTIALS", /neither https nor on one of the hosts/);
});

test("no credentials at all", async () => {
  await using bed = await openBed();
  bed.ec2.hasRole = false;
  await refused(
    bed.cloud.identify(SIGNAL),
    "CREDENTIALS",
    /this instance has no role; attach an instance profile/,
  );
});

test("the metadata service: version 1 only, off, and out of reach of a container", async () => {
  await using bed = await openBed({ environment: { AWS_REGION: "eu-central-1" } });
  const { ec2 } = bed;
  const identify = async () => {
    await using fresh = await openBed({
      environment: {
        AWS_EC2_METADATA_SERVICE_ENDPOINT: ec2.url,
        AWS_ENDPOINT_URL: ec2.url,
        AWS_REGION: "eu-central-1",
      },
    });
    return await fresh.cloud.identify(SIGNAL);
  };
  ec2.metadata = "v1";
  assert.equal((await identify()).instance, "i-00000001");
  ec2.metadata = "off";
  await refused(
    identify(),
    "UNAVAILABLE",
    /switched off for this instance: aws ec2 modify-instance-metadata-options/,
  );
  ec2.metadata = "v2 out of reach";
  await refused(
    identify(),
    "UNAVAILABLE",
    /requires a token \(IMDSv2\), and gives none; in a container .*--http-put-response-hop-limit 2/,
  );
});

test("no metadata service", async () => {
  await using bed = await openBed({
    environment: { AWS_EC2_METADATA_SERVICE_ENDPOINT: "http://127.0.0.1:1" },
  });
  await refused(
    bed.cloud.identify(SIGNAL),
    "UNAVAILABLE",
    /the metadata service of EC2 does not answer.*ECONNREFUSED/,
  );
  await using disabled = await openBed({ environment: { AWS_EC2_METADATA_DISABLED: "true" } });
  await refused(disabled.cloud.identify(SIGNAL), "UNAVAILABLE", /AWS_EC2_METADATA_DISABLED/);
});

test("an endpoint that is no URL", async () => {
  await using bed = await openBed({ environment: { AWS_ENDPOINT_URL_EC2: "ec2.example" } });
  await refused(
    bed.cloud.identify(SIGNAL),
    "REFUSED",
    /AWS_ENDPOINT_URL_EC2 or AWS_ENDPOINT_URL is not an http/,
  );
});
