import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "../base/error.ts";
import { parseConfigFile } from "./config-file.ts";
import { parseNetworkConfig } from "./network-config.ts";

const declare = async (text: string) => (await parseConfigFile(text, "f.yaml")).network;

test("range, and length, minimum, maximum and reserved subnets become a network config", async () => {
  const network = await declare(`Network: 10.5.0.0/16
Subnet:
  length: 25
  minimum: 10.5.1.0
  maximum: 10.5.200.0
  reserved:
    10.5.3.0/25: 192.168.64.3
Backend:
  Type: vxlan
  VNI: 7
EnableNFTables: true
`);
  assert.deepEqual(JSON.parse(network!.text), {
    Network: "10.5.0.0/16",
    SubnetLen: 25,
    SubnetMin: "10.5.1.0",
    SubnetMax: "10.5.200.0",
    Backend: { Type: "vxlan", VNI: 7 },
    EnableNFTables: true,
  });
  assert.deepEqual(network!.reserved, [
    { subnet: "10.5.3.0/25", publicIp: "192.168.64.3", source: "f.yaml:7" },
  ]);
  assert.deepEqual(network!.stated.SubnetMin, { value: "10.5.1.0", source: "f.yaml:4" });
});

test("what is left out is a default, and is not stated; a range enables its family", async () => {
  const plain = await declare("Network: 10.5.0.0/16");
  assert.deepEqual(JSON.parse(plain!.text), { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } });
  assert.deepEqual(Object.keys(plain!.stated), ["Network"]);
  const both = await declare(
    'Network: {range: [10.5.0.0/16, "fd00:5::/48"]}\nSubnet: {ipv6: {length: 80}}\nBackend: host-gw',
  );
  const config = parseNetworkConfig(both!.text);
  assert.deepEqual([config.ipv4?.subnetLength, config.ipv6?.subnetLength], [24, 80]);
  assert.equal(config.backend.type, "host-gw");
  const ipv6 = parseNetworkConfig((await declare("Network: fd00:5::/48"))!.text);
  assert.deepEqual([ipv6.ipv4, ipv6.ipv6?.subnetLength], [undefined, 64]);
  assert.equal(await declare("v: 1"), undefined);
});

test("faults name the line and the place in the file, in the words of the file", async () => {
  const cases: readonly (readonly [text: string, fault: RegExp])[] = [
    ["Network: 10.5.0.0", /^f\.yaml:1: Network: must be a range like 10\.5\.0\.0\/16/],
    ["Network:", /^f\.yaml:1: Network: must be a range/],
    ["Network: [10.5.0.0/16, 10.6.0.0/16]", /^f\.yaml:1: Network: has two IPv4 ranges$/],
    [
      "Network: {ranges: 10.5.0.0/16}",
      /^f\.yaml:1: Network: has no member called "ranges" \(did you mean range\?\)$/,
    ],
    ["Network: 10.5.0.0/29", /^f\.yaml:1: Network: Network 10\.5\.0\.0\/29 is too small/],
    ["Subnet: {length: 24}", /^f\.yaml:1: Network: is missing/],
    [
      "Network: 10.5.0.0/16\nSubnet: 24",
      /^f\.yaml:2: Subnet: has members: length, minimum, maximum, reserved, ipv6$/,
    ],
    [
      "Network: 10.5.0.0/16\nSubnet:\n  lenght: 24",
      /^f\.yaml:3: Subnet: has no member called "lenght" \(did you mean length\?\)$/,
    ],
    [
      "Network: 10.5.0.0/16\nSubnet:\n  length: 31",
      /^f\.yaml:3: Subnet\.length: SubnetLen 31 is too long; use at most 30$/,
    ],
    [
      'Network: 10.5.0.0/16\nSubnet:\n  length: "24"',
      /^f\.yaml:3: Subnet\.length: SubnetLen must be a whole number/,
    ],
    [
      "Network: 10.5.0.0/16\nSubnet:\n  minimum: 10.6.0.0",
      /^f\.yaml:3: Subnet\.minimum: SubnetMin 10\.6\.0\.0 is not inside/,
    ],
    ["Network: 10.5.0.0/16\nSubnet:\n  maximum:", /^f\.yaml:3: Subnet\.maximum: has no value/],
    [
      "Network: 10.5.0.0/16\nSubnet: {reserved: [10.5.3.0/24]}",
      /^f\.yaml:2: Subnet\.reserved: names the host of each subnet/,
    ],
    [
      "Network: 10.5.0.0/16\nSubnet:\n  reserved:\n    10.5.3.0: h3",
      /^f\.yaml:4: Subnet\.reserved: must be a subnet and its host's public IP/,
    ],
    ["Network: 10.5.0.0/16\nBackend: [vxlan]", /^f\.yaml:2: Backend: must be a type like vxlan/],
    [
      "Network: 10.5.0.0/16\nEnableNFTables: 1",
      /^f\.yaml:2: EnableNFTables: EnableNFTables must be true or false/,
    ],
  ];
  for (const [text, fault] of cases) {
    await assert.rejects(declare(text), (error) => {
      assert.ok(error instanceof ConfigError, String(error));
      assert.match(error.message, fault);
      assert.equal(error.message.split("\n").length, 1, error.message);
      return true;
    });
  }
});
