import assert from "node:assert/strict";
import { describe, it, test } from "node:test";
import { formatPrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { readMember } from "./json-members.ts";
import { checkNetworkConfig, parseNetworkConfig } from "./network-config.ts";
import type { FamilyConfig } from "./network-family.ts";

const show = (family: FamilyConfig | undefined) =>
  family === undefined
    ? undefined
    : [
        formatPrefix(family.network),
        family.subnetLength,
        formatPrefix(family.subnetMin),
        formatPrefix(family.subnetMax),
      ].join(" ");

const ipv4 = (config: object) => show(parseNetworkConfig(JSON.stringify(config)).ipv4);
const ipv6 = (config: object) =>
  show(parseNetworkConfig(JSON.stringify({ EnableIPv4: false, EnableIPv6: true, ...config })).ipv6);

describe("network config", () => {
  it("defaults everything but the network", () => {
    const config = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
    assert.equal(show(config.ipv4), "10.5.0.0/16 24 10.5.1.0/24 10.5.255.0/24");
    assert.equal(config.ipv6, undefined);
    assert.equal(config.enableNftables, false);
    assert.deepEqual(config.backend, { type: "vxlan", members: {} });
    assert.deepEqual(config.notes, []);
  });

  it("splits a small network in four", () => {
    assert.equal(ipv4({ Network: "10.5.0.0/22" }), "10.5.0.0/22 24 10.5.1.0/24 10.5.3.0/24");
    assert.equal(ipv4({ Network: "10.5.0.0/23" }), "10.5.0.0/23 25 10.5.0.128/25 10.5.1.128/25");
    assert.equal(ipv4({ Network: "10.5.0.0/28" }), "10.5.0.0/28 30 10.5.0.4/30 10.5.0.12/30");
    assert.equal(ipv6({ IPv6Network: "fc00::/48" }), "fc00::/48 64 fc00:0:0:1::/64 fc00:0:0:ffff::/64");
    assert.equal(ipv6({ IPv6Network: "fc00::/63" }), "fc00::/63 65 fc00::8000:0:0:0/65 fc00:0:0:1:8000::/65");
    assert.equal(ipv6({ IPv6Network: "fc00::/124" }), "fc00::/124 126 fc00::4/126 fc00::c/126");
  });

  it("masks host bits off the network, takes length and bounds", () => {
    assert.equal(
      ipv4({ Network: "10.5.7.9/16", SubnetLen: 26, SubnetMin: "10.5.2.0", SubnetMax: "10.5.3.192" }),
      "10.5.0.0/16 26 10.5.2.0/26 10.5.3.192/26",
    );
    assert.equal(
      ipv4({ Network: "10.5.0.0/16", SubnetLen: 0, SubnetMin: null }),
      "10.5.0.0/16 24 10.5.1.0/24 10.5.255.0/24",
    );
  });

  it("reads keys in any case, also inside Backend, and ignores unknown ones", () => {
    const config = parseNetworkConfig(
      '{"network":"10.5.0.0/16","SUBNETLEN":25,"enablenftables":true,"Extra":[1],"backend":{"type":"VXLAN","vni":7,"Port":4789}}',
    );
    assert.equal(config.ipv4?.subnetLength, 25);
    assert.equal(config.enableNftables, true);
    assert.equal(config.backend.type, "vxlan");
    assert.equal(readMember(config.backend.members, "VNI"), 7);
    assert.equal(readMember(config.backend.members, "port"), 4789);
    assert.equal(readMember(config.backend.members, "GBP"), undefined);
  });

  it("takes the last of several spellings, as Go does", () => {
    assert.equal(ipv4({ Network: "10.5.0.0/16", network: "10.6.0.0/16" })?.slice(0, 11), "10.6.0.0/16");
  });

  it("takes both families", () => {
    const config = parseNetworkConfig(
      '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}',
    );
    assert.notEqual(config.ipv4, undefined);
    assert.notEqual(config.ipv6, undefined);
  });

  it("W12 a config without Backend or without its Type runs vxlan and says so", () => {
    for (const backend of ["", ',"Backend":null', ',"Backend":{}', ',"Backend":{"Type":""}']) {
      const config = parseNetworkConfig(`{"Network":"10.5.0.0/16"${backend}}`);
      assert.equal(config.backend.type, "vxlan");
      assert.match(config.notes.join(), /no Backend.*vxlan/);
    }
  });

  const bad: readonly [name: string, json: string, message: RegExp][] = [
    ["empty text", "", /not valid JSON/],
    ["broken text", '{"Network":"10.5.0.0/16",', /not valid JSON/],
    ["a list", "[]", /must be a JSON object.*a list/],
    ["null", "null", /must be a JSON object.*null/],
    ["no network", "{}", /Network is required.*"10\.5\.0\.0\/16"/],
    ["a number as network", '{"Network":10}', /Network must be a string.*number 10/],
    ["an address as network", '{"Network":"10.5.0.0"}', /CIDR/],
    ["an IPv6 network as Network", '{"Network":"fc00::/48"}', /not an IPv4 network/],
    [
      "an IPv4 network as IPv6Network",
      '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"10.6.0.0/16"}',
      /not an IPv6/,
    ],
    [
      "IPv6 without network",
      '{"Network":"10.5.0.0/16","EnableIPv6":true}',
      /IPv6Network is required because EnableIPv6/,
    ],
    ["no family", '{"EnableIPv4":false}', /enable at least one/],
    ["text as boolean", '{"EnableIPv4":"false","Network":"10.5.0.0/16"}', /EnableIPv4 must be true or false/],
    ["number as EnableNFTables", '{"EnableNFTables":1,"Network":"10.5.0.0/16"}', /EnableNFTables must be/],
    ["network too small", '{"Network":"10.5.0.0/29"}', /too small; use a \/28/],
    [
      "IPv6 network too small",
      '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/125"}',
      /too small; use a \/124/,
    ],
    [
      "SubnetLen too long",
      '{"Network":"10.5.0.0/16","SubnetLen":31}',
      /SubnetLen 31 is too long; use at most 30/,
    ],
    [
      "IPv6SubnetLen too long",
      '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48","IPv6SubnetLen":127}',
      /at most 126/,
    ],
    [
      "SubnetLen too short",
      '{"Network":"10.5.0.0/16","SubnetLen":17}',
      /fewer than four subnets.*at least 18/,
    ],
    [
      "SubnetLen as text",
      '{"Network":"10.5.0.0/16","SubnetLen":"24"}',
      /SubnetLen must be a whole number.*string "24"/,
    ],
    ["SubnetLen with a fraction", '{"Network":"10.5.0.0/16","SubnetLen":24.5}', /whole number/],
    [
      "SubnetMin elsewhere",
      '{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0"}',
      /SubnetMin 10\.6\.0\.0 is not inside/,
    ],
    [
      "SubnetMax elsewhere",
      '{"Network":"10.5.0.0/16","SubnetMax":"10.6.0.0"}',
      /SubnetMax 10\.6\.0\.0 is not inside/,
    ],
    [
      "SubnetMin askew",
      '{"Network":"10.5.0.0/16","SubnetMin":"10.5.3.7"}',
      /SubnetMin 10\.5\.3\.7.*10\.5\.3\.0/,
    ],
    ["SubnetMax askew", '{"Network":"10.5.0.0/16","SubnetMax":"10.5.3.7"}', /SubnetMax/],
    [
      "SubnetMin not an address",
      '{"Network":"10.5.0.0/16","SubnetMin":"10.5.3.0/24"}',
      /SubnetMin.*not an IPv4 address/,
    ],
    [
      "SubnetMin above SubnetMax",
      '{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.3.0"}',
      /lies above/,
    ],
    ["Backend as text", '{"Network":"10.5.0.0/16","Backend":"vxlan"}', /Backend must be an object/],
    [
      "Backend.Type as number",
      '{"Network":"10.5.0.0/16","Backend":{"Type":1}}',
      /Backend.Type must be a string/,
    ],
  ];
  for (const [name, json, message] of bad) {
    it(`refuses ${name}`, () => {
      assert.throws(
        () => parseNetworkConfig(json),
        (error) =>
          error instanceof ConfigError && message.test(error.message) && !error.message.includes("\n"),
      );
    });
  }

  it("does not quote broken JSON, which may hold a secret", () => {
    assert.throws(
      () => parseNetworkConfig('{"Backend":{"PSK":"geheim"} oops'),
      (error) => error instanceof ConfigError && !error.message.includes("geheim"),
    );
  });
});

test("a check names every fault at once, and the first is what parsing throws", () => {
  const json = JSON.stringify({
    Network: "10.5.0.0/16",
    SubnetMin: "10.6.0.0",
    SubnetMax: "10.5.0.1",
    EnableIPv6: true,
    EnableNFTables: "yes",
    Backend: "vxlan",
  });
  const { config, faults } = checkNetworkConfig(json);
  assert.equal(config, undefined);
  const keys = ["SubnetMin", "SubnetMax", "IPv6Network", "EnableNFTables", "Backend"];
  assert.equal(faults.length, keys.length);
  for (const [index, key] of keys.entries()) {
    assert.match(faults[index]!.message, new RegExp(`^network config: ${key} `));
  }
  assert.throws(() => parseNetworkConfig(json), faults[0]);
});

describe("F15 the network config as Go reads it", () => {
  it('takes SubnetMin and SubnetMax of "0.0.0.0", "::", "" and null for not set', () => {
    for (const unset of ["0.0.0.0", "", null]) {
      const bounds = { SubnetMin: unset, SubnetMax: unset };
      assert.equal(ipv4({ Network: "10.5.0.0/16", ...bounds }), "10.5.0.0/16 24 10.5.1.0/24 10.5.255.0/24");
    }
    for (const unset of ["::", "0:0:0:0:0:0:0:0", "", null]) {
      const bounds = { IPv6SubnetMin: unset, IPv6SubnetMax: unset };
      assert.equal(
        ipv6({ IPv6Network: "fc00::/48", ...bounds }),
        "fc00::/48 64 fc00:0:0:1::/64 fc00:0:0:ffff::/64",
      );
    }
    assert.throws(
      () => ipv4({ Network: "10.5.0.0/16", SubnetMin: "::" }),
      /SubnetMin "::" is not an IPv4 address/,
    );
    assert.throws(() => ipv4({ Network: "10.5.0.0/16", SubnetMin: 0 }), /SubnetMin must be a string/);
  });

  it("refuses a network of all addresses", () => {
    for (const text of ["0.0.0.0/0", "10.0.0.0/0"]) {
      assert.throws(
        () => ipv4({ Network: text }),
        /Network "\d.*\/0" is every address there is; write the range/,
      );
    }
    assert.throws(() => ipv6({ IPv6Network: "::/0" }), /IPv6Network "::\/0" is every address there is/);
  });

  it("lets the last of several spellings win, also where the first key is repeated", () => {
    const memberOf = (backend: string, name: string) =>
      readMember(parseNetworkConfig(`{"Network":"10.5.0.0/16","Backend":${backend}}`).backend.members, name);
    assert.equal(memberOf('{"VNI":1,"vni":2,"VNI":3}', "VNI"), 3);
    assert.equal(memberOf('{"VNI":3,"vni":2}', "VNI"), 2);
    assert.equal(
      memberOf('{"x":[{"a":"}]\\""},[]],"VNI":1,"vni":{},"VNI":-1.5e1,"\\u0056ni":null}', "vni"),
      -15,
    );
    const config = parseNetworkConfig(
      '{"Network":"10.5.0.0/16","NETWORK":"10.7.0.0/16","Network":"10.6.0.0/16","__proto__":1}',
    );
    assert.equal(show(config.ipv4), "10.6.0.0/16 24 10.6.1.0/24 10.6.255.0/24");
  });

  it("refuses numbers in quotes, comments, single quotes, trailing commas and text after the object", () => {
    const refused = (json: string, message: RegExp) => assert.throws(() => parseNetworkConfig(json), message);
    refused(
      '{"Network":"10.5.0.0/16","SubnetLen":"24"}',
      /SubnetLen must be a whole number like 24, but is the string/,
    );
    refused('{"Network":"10.5.0.0/16","SubnetLen":24.5}', /SubnetLen must be a whole number/);
    refused('{"Network":"10.5.0.0/16","SubnetLen":-24}', /SubnetLen must be a whole number/);
    refused(
      '{"Network":"10.5.0.0/16","EnableIPv6":"true"}',
      /EnableIPv6 must be true or false \(without quotes\)/,
    );
    for (const json of [
      '{"Network":"10.5.0.0/16",}',
      '{"Network":"10.5.0.0/16"} x',
      '{"Network":"10.5.0.0/16"}}',
      '{"Network":"10.5.0.0/16"} // comment',
      '{"Network":"10.5.0.0/16" /* comment */}',
      "{'Network':'10.5.0.0/16'}",
      "",
    ]) {
      refused(json, /is not valid JSON/);
    }
  });

  it("accepts a byte order mark and whole numbers with a point or an exponent", () => {
    for (const length of ["24.0", "2.4e1", "240e-1"]) {
      const config = parseNetworkConfig(`\uFEFF{"Network":"10.5.0.0/16","SubnetLen":${length}}\n`);
      assert.equal(config.ipv4?.subnetLength, 24);
    }
  });
});
