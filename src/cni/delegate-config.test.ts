/**
 * vectors.json: configs, subnet.env files, and what Go's plugin stored for them to the byte. Captured from its v1.9.1-flannel1 (cni
 * library v1.3.0) with a delegate that succeeds: `CNI_COMMAND=ADD flannel <config`, then `cat <dataDir>/<containerID>`;
 * `subnetFile` and `dataDir` are left out here.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { formatPrefix } from "../address/prefix.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { delegateConfig } from "./delegate-config.ts";
import { formatGoJson } from "./go-json.ts";
import { readSubnetFile } from "./node-network.ts";
import { nodeSystem } from "./node-system.ts";
import { parsePluginConfig } from "./plugin-config.ts";
import vectors from "./vectors.json" with { type: "json" };

const SYSTEM = nodeSystem();
const IPV4 =
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

function writeEnv(t: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), `cni-config-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "subnet.env");
  writeFileSync(path, text);
  return path;
}

const configFor = (t: TestContext, config: object, env = IPV4) =>
  delegateConfig(
    parsePluginConfig(JSON.stringify({ name: "cbr0", ...config })),
    readSubnetFile(SYSTEM, writeEnv(t, env)),
  );

/** Code and message of the error. */
function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof CniError);
    return `${error.cniCode} ${error.message}`;
  }
  return "nothing";
}

for (const { name, config, subnetEnv, stored } of vectors) {
  test(`the delegate's config is Go's to the byte: ${name}`, (t) => {
    const node = readSubnetFile(SYSTEM, writeEnv(t, subnetEnv));
    const made = delegateConfig(parsePluginConfig(JSON.stringify(config)), node);
    assert.equal(formatGoJson(made), stored);
  });
}

test("JSON as Go writes it is the same JSON, sorted", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.deepEqual(JSON.parse(formatGoJson(value)), JSON.parse(JSON.stringify(value)));
      assert.equal(formatGoJson(JSON.parse(formatGoJson(value))), formatGoJson(value));
      assert.doesNotMatch(formatGoJson(value), /[<>&\u2028\u2029]/);
    }),
  );
});

test("given members take precedence over the defaults; the addresses are flanneld's", (t) => {
  const made = configFor(t, {
    delegate: { type: "ptp", mtu: 1200, ipMasq: true },
    ipam: { type: "host-local", ranges: "mine", routes: [{ dst: "0.0.0.0/0", gw: "10.5.72.9" }] },
  });
  assert.deepEqual(made, {
    name: "cbr0",
    type: "ptp",
    mtu: 1200,
    ipMasq: true,
    ipam: {
      type: "host-local",
      ranges: [[{ subnet: "10.5.72.0/24" }]],
      routes: [{ dst: "0.0.0.0/0", gw: "10.5.72.9" }, { dst: "10.5.0.0/16" }],
    },
  });
});

for (const [title, config, fault] of [
  ["no name", { name: "" }, /^7 missing network name/],
  ["a name with a slash", { name: "a/b" }, /^7 invalid characters found in network name "a\/b"/],
  ["a version that is a number", { cniVersion: 1 }, /^6 .*cniVersion must be a string in quotes/],
  ["a subnetFile that is a number", { subnetFile: 1 }, /^7 .*subnetFile must be a string/],
  ["a dataDir that is a list", { dataDir: [] }, /^7 .*dataDir must be a string in quotes, but is a list/],
  [
    "a delegate that is a string",
    { delegate: "bridge" },
    /^7 .*delegate must be an object, but is the string/,
  ],
  ["a delegate with a name", { delegate: { name: "x" } }, /^7 'delegate' .* must not have 'name'/],
  ["a delegate with ipam", { delegate: { ipam: {} } }, /^7 .*'ipam'.*put 'ipam' beside 'delegate'/],
  ["a delegate of type null", { delegate: { type: null } }, /^7 .*must have \(string\) 'type' field.*null/],
  ["ipam that is a list", { ipam: [] }, /^7 .*ipam must be an object/],
  ["runtimeConfig that is true", { runtimeConfig: true }, /^7 .*runtimeConfig must be an object/],
  ["routes that are a string", { ipam: { routes: "x" } }, /^7 ipam\.routes must be a list/],
  ["a route to nowhere", { ipam: { routes: [{ dst: "10.0.0.1" }] } }, /^7 ipam\.routes .*"10\.0\.0\.1"/],
  ["a route that is null", { ipam: { routes: [null] } }, /^7 ipam\.routes .*one is null/],
] as const) {
  test(`refuses ${title}`, (t) => {
    assert.match(
      refusal(() => configFor(t, config)),
      fault,
    );
  });
}

test("refuses what is not a JSON object", () => {
  for (const [text, fault] of [
    ["", /^6 .*standard input is empty/],
    ["{", /^6 cannot read the network config on standard input/],
    ["[]", /^6 .*must be a JSON object, but is a list/],
    ["null", /^6 .*but is null/],
  ] as const) {
    assert.match(
      refusal(() => parsePluginConfig(text)),
      fault,
    );
  }
});

test("subnet.env: reports what is missing, invalid or unreadable", (t) => {
  for (const [env, fault] of [
    [IPV4.replace(/FLANNEL_IPMASQ.*\n/, ""), /^11 \S*subnet\.env is missing FLANNEL_IPMASQ:/],
    [
      "",
      /^11 \S* is missing FLANNEL_NETWORK, FLANNEL_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ: flanneld writes the whole file/,
    ],
    [
      `${IPV4.replace(/FLANNEL_[NS].*\n/g, "")}FLANNEL_IPV6_NETWORK=fc00::/48\n`,
      /^11 \S* is missing FLANNEL_IPV6_SUBNET/,
    ],
    [IPV4.replace("1450", "big"), /^11 .*invalid values for FLANNEL_MTU/],
    [IPV4.replace("10.5.72.1/24", "10.5.72.1"), /^11 .*invalid values for FLANNEL_SUBNET/],
  ] as const) {
    assert.match(
      refusal(() => readSubnetFile(SYSTEM, writeEnv(t, env))),
      fault,
    );
  }
  assert.match(
    refusal(() => readSubnetFile(SYSTEM, "/proc/self")),
    /^5 cannot read subnet\.env: EISDIR/,
  );
});

test("F15 half a pair of IPv6 values: used as Go's plugin uses it, and reported", (t) => {
  for (const [line, subnets, networks] of [
    ["FLANNEL_IPV6_NETWORK=fc00:5::/48", ["10.5.72.0/24"], ["10.5.0.0/16", "fc00:5::/48"]],
    ["FLANNEL_IPV6_SUBNET=fc00:5:0:72::1/64", ["10.5.72.0/24", "fc00:5:0:72::/64"], ["10.5.0.0/16"]],
  ] as const) {
    const lines: string[] = [];
    const node = readSubnetFile(SYSTEM, writeEnv(t, `${IPV4}${line}\n`), (text) => lines.push(text));
    assert.deepEqual(node.subnets.map(formatPrefix), subnets);
    assert.deepEqual(node.networks.map(formatPrefix), networks);
    assert.equal(lines.length, 1);
    assert.match(lines[0]!, /has (?:a network but no subnet|a subnet but no network) for IPv6: /);
  }
  const crossed = IPV4.replace("FLANNEL_SUBNET=10.5.72.1/24", "FLANNEL_IPV6_SUBNET=fc00:5:0:72::1/64");
  assert.deepEqual(readSubnetFile(SYSTEM, writeEnv(t, crossed)).subnets.map(formatPrefix), [
    "fc00:5:0:72::/64",
  ]);
  const neither = IPV4.replace(/FLANNEL_SUBNET.*\n/, "");
  assert.match(
    refusal(() => readSubnetFile(SYSTEM, writeEnv(t, neither))),
    /^11 .* is missing FLANNEL_SUBNET:/,
  );
});

test("F24 a subnetFile that is a FIFO, a device, a directory or huge is refused at once", (t) => {
  const path = writeEnv(t, "");
  truncateSync(path, 2 ** 32);
  assert.match(
    refusal(() => readSubnetFile(SYSTEM, path)),
    /^5 cannot read subnet\.env: EFBIG.*must name the regular file/,
  );
  rmSync(path);
  execFileSync("mkfifo", [path]);
  assert.match(
    refusal(() => readSubnetFile(SYSTEM, path)),
    /^5 cannot read subnet\.env: is a FIFO/,
  );
  assert.match(
    refusal(() => readSubnetFile(SYSTEM, "/dev/zero")),
    /^5 cannot read subnet\.env: is a device/,
  );
});

test('W40 a subnet.env that flanneld has not written yet: the cause, and the code for "try again later"', () => {
  const fault = refusal(() => readSubnetFile(SYSTEM, "/nonexistent/subnet.env"));
  assert.match(fault, /^11 flanneld has not written \/nonexistent\/subnet\.env yet: is flanneld running/);
  assert.equal(CNI_CODE.tryAgainLater, 11);
});
