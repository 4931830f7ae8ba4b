/** Whatever an API or a metadata service answers, the clients of gce, ali-vpc and tencent-vpc succeed or throw CloudError. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePrefix } from "../address/prefix.ts";
import { neverAborted as signal } from "../testing/cloud-test-ports.ts";
import { AliCloud } from "./ali/ali-cloud.ts";
import { type Cloud, CloudError, type CloudHost } from "./cloud.ts";
import type { CloudPorts } from "./cloud-ports.ts";
import { GceCloud } from "./gce/gce-cloud.ts";
import type { HttpAnswer } from "./http.ts";
import { TencentCloud } from "./tencent/tencent-cloud.ts";

const RUNS = { numRuns: 150 };
const NETWORKS = [parsePrefix("10.5.0.0/16")!];
const SETTINGS = { addresses: ["10.0.0.1"], tables: [], accessKey: { id: "id", secret: "secret" } };
/** Members that the clients read, so that random objects go deep. */
const NAMES = [
  ...[
    "items",
    "name",
    "selfLink",
    "network",
    "networkIP",
    "networkInterfaces",
    "destRange",
    "priority",
    "tags",
  ],
  ...[
    "warnings",
    "code",
    "nextHopInstance",
    "nextPageToken",
    "status",
    "error",
    "errors",
    "reason",
    "message",
  ],
  ...[
    "access_token",
    "expires_in",
    "RouteEntrys",
    "RouteEntry",
    "NextHops",
    "NextHop",
    "NextHopId",
    "NextToken",
  ],
  ...[
    "RouteTable",
    "RouteTableId",
    "DestinationCidrBlock",
    "Status",
    "Type",
    "Code",
    "Message",
    "instance-id",
  ],
  ...[
    "region-id",
    "Response",
    "RouteTableSet",
    "RouteSet",
    "RouteId",
    "RouteType",
    "TotalCount",
    "Error",
    "VpcId",
  ],
];
const TEXTS = [
  ...[
    "10.5.1.0/24",
    "10.5.1.0/240",
    "projects/p/zones/z/instances/i",
    "projects/p/global/networks/n",
    "Custom",
  ],
  ...[
    "Available",
    "USER",
    "DONE",
    "RUNNING",
    "i-1",
    "cn-x",
    "vsw-1",
    "rtb-1",
    "Throttling",
    "10.0.0.1",
    "\n\0",
    "",
  ],
];

const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 6, withCrossShrink: true },
    fc.constantFrom(...TEXTS),
    fc.constantFrom(null, true, 0, 1, -1, 1e30),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie("value"), { maxKeys: 8 }),
  ),
})).value;

const answers = fc.array(
  fc.record({
    status: fc.constantFrom(200, 200, 200, 200, 204, 400, 401, 403, 404, 409, 429, 500),
    body: fc.oneof(
      { weight: 5, arbitrary: json.map((value) => JSON.stringify(value)) },
      { weight: 2, arbitrary: fc.constantFrom(...TEXTS) },
      fc.string(),
    ),
    headers: fc.constantFrom({}, { "metadata-flavor": "Google" }, { "retry-after": "x", date: "never" }),
  }),
  { minLength: 1, maxLength: 12 },
);

/** Ports that give these answers in turn, then the last one for ever; time passes with each answer. */
function portsOf(list: readonly HttpAnswer[]): CloudPorts {
  let next = 0;
  let nowMs = 0;
  const send = async (): Promise<HttpAnswer> => {
    nowMs += 20_000;
    return list[Math.min(next++, list.length - 1)]!;
  };
  return {
    ...{ http: send, direct: send, environment: {}, wallClockMs: () => nowMs },
    timers: {
      nowMs: () => nowMs,
      after(delayMs, callback) {
        nowMs += delayMs;
        setImmediate(callback);
        return () => {};
      },
    },
  };
}

async function attempt(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof CloudError, `${error}`);
    assert.doesNotMatch(error.message, /[\n\0]/);
  }
}

const CLOUDS: Readonly<Record<string, (ports: CloudPorts) => Cloud>> = {
  gce: (ports) => new GceCloud(SETTINGS, ports),
  "ali-vpc": (ports) => new AliCloud(SETTINGS, ports),
  "ali-vpc with a role": (ports) => new AliCloud({ ...SETTINGS, accessKey: undefined }, ports),
  "tencent-vpc": (ports) => new TencentCloud(SETTINGS, ports),
};

const GOOD: Readonly<Record<string, readonly string[]>> = {
  "ali-vpc": ['{"instance-id":"i-1","region-id":"cn-x"}', "vsw-1", '{"RouteTable":{"RouteTableId":"vtb-1"}}'],
  "tencent-vpc": [
    ...["i-1", "cn-x", "00:11", "vpc-1", "subnet-1"],
    '{"Response":{"TotalCount":1,"RouteTableSet":[{"RouteTableId":"rtb-1","VpcId":"vpc-1","Main":true}]}}',
  ],
};

for (const [name, open] of Object.entries(CLOUDS)) {
  test(`${name}: any answer gives a result or a CloudError`, async () => {
    await fc.assert(
      fc.asyncProperty(answers, async (random) => {
        const known = (GOOD[name] ?? []).map((body) => ({ status: 200, body, headers: {} }));
        const cloud = open(portsOf([...known, ...random]));
        let host: CloudHost = { instance: "i", target: "i-1", tables: ["projects/p/global/networks/n"] };
        await attempt(async () => {
          host = await cloud.identify(signal);
        });
        if (known.length === 0 && !name.startsWith("gce")) return;
        await attempt(() => cloud.prepare(host, signal));
        const route = { table: host.tables[0]!, destination: "10.5.1.0/24", target: "x", id: "7" };
        await attempt(async () => {
          for (const { destination } of await cloud.list(host, NETWORKS, signal))
            assert.ok(parsePrefix(destination));
        });
        await attempt(() => cloud.create(host, route, signal));
        await attempt(() => cloud.delete(host, { ...route, isOwn: false, isBlackhole: false }, signal));
        await attempt(() => cloud.replace(host, { ...route, isOwn: false, isBlackhole: false }, signal));
      }),
      RUNS,
    );
  });
}
