import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatPrefix, parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import {
  formatSubnetEnv,
  listNetworks,
  parseSubnetEnv,
  type SubnetEnv,
  writeSubnetEnv,
} from "./subnet-env.ts";

const prefix = (text: string) => {
  const parsed = parsePrefix(text);
  assert.ok(parsed);
  return parsed;
};

const IPV4: SubnetEnv = {
  network: { ipv4: prefix("10.5.0.0/16"), ipv6: undefined },
  subnets: { ipv4: prefix("10.5.72.0/24"), ipv6: undefined },
  mtuBytes: 1450,
  ipMasq: false,
};
const DUAL: SubnetEnv = {
  network: { ipv4: prefix("10.5.0.0/16"), ipv6: prefix("2001:cafe:42::/56") },
  subnets: { ipv4: prefix("10.5.72.0/24"), ipv6: prefix("2001:cafe:42::/64") },
  mtuBytes: 1450,
  ipMasq: true,
};
const IPV4_TEXT =
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

test("writes the lines in the fixed order", () => {
  assert.equal(formatSubnetEnv(IPV4), IPV4_TEXT);
  assert.equal(
    formatSubnetEnv(DUAL),
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_IPV6_NETWORK=2001:cafe:42::/56\n" +
      "FLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
  );
});

test("writes no IPv4 lines when only IPv6 is enabled", () => {
  const ipv6Only = {
    ...DUAL,
    network: { ...DUAL.network, ipv4: undefined },
    subnets: { ...DUAL.subnets, ipv4: undefined },
  };
  assert.doesNotMatch(formatSubnetEnv(ipv6Only), /FLANNEL_NETWORK|FLANNEL_SUBNET/);
  assert.deepEqual(parseSubnetEnv(formatSubnetEnv(ipv6Only)).missing, []);
});

test("reads back what it wrote", () => {
  for (const env of [IPV4, DUAL]) {
    assert.deepEqual(parseSubnetEnv(formatSubnetEnv(env)), { ...env, missing: [], invalid: [] });
  }
});

test("ignores comments, blank lines, unknown variables, quotes and carriage returns", () => {
  const text = `# made by hand\r\n\n${IPV4_TEXT.replaceAll("\n", "\r\n").replace("10.5.72.1/24", '"10.5.72.1/24"')}FLANNEL_NEW=1\nnonsense\n`;
  assert.deepEqual(parseSubnetEnv(text), { ...IPV4, missing: [], invalid: [] });
});

test("F15 reads an edited file as a shell that sources it", () => {
  const edited = [
    "  # the host's subnet",
    "export FLANNEL_NETWORK='10.5.0.0/16'   # all hosts",
    '  FLANNEL_SUBNET="10.5.9.1/24"',
    "FLANNEL_SUBNET=10.5.72.1/24 # the last one counts",
    "FLANNEL_MTU=1450\t",
    'export\tFLANNEL_IPMASQ="false";',
  ].join("\r\n");
  assert.deepEqual(parseSubnetEnv(edited), { ...IPV4, missing: [], invalid: [] });
  for (const subnet of [
    '"10.5.72.1/24',
    "10.5.72.1/24 x",
    "'10.5.72.1/24\"",
    '"10.5.72.1/24"x',
    "10.5.72.1/24#x",
  ]) {
    const { invalid } = parseSubnetEnv(IPV4_TEXT.replace("10.5.72.1/24", subnet));
    assert.deepEqual(invalid, ["FLANNEL_SUBNET"], subnet);
  }
});

test("F15 FLANNEL_IPMASQ in the spellings of strconv.ParseBool: like Go's plugin, only true is true", () => {
  const ipMasq = (value: string) => {
    const { ipMasq, invalid } = parseSubnetEnv(IPV4_TEXT.replace("IPMASQ=false", `IPMASQ=${value}`));
    return invalid.length > 0 ? "invalid" : ipMasq;
  };
  assert.deepEqual(["true", '"true"'].map(ipMasq), [true, true]);
  for (const value of ["TRUE", "True", "1", "t", "T", "false", "FALSE", "0", "f"])
    assert.equal(ipMasq(value), false, value);
  for (const value of ["", "yes", "tru", "tRUE", "fal"]) assert.equal(ipMasq(value), "invalid", value);
});

test("reads several networks, each once; the first is the network", () => {
  const text = `FLANNEL_IPV6_NETWORK=fc00::/48\n${IPV4_TEXT.replace("10.5.0.0/16", "10.5.0.0/16,10.6.0.0/16,10.5.0.0/16")}`;
  assert.deepEqual(listNetworks(text).map(formatPrefix), ["10.5.0.0/16", "10.6.0.0/16", "fc00::/48"]);
  assert.deepEqual(parseSubnetEnv(text).network.ipv4, IPV4.network.ipv4);
  assert.deepEqual(parseSubnetEnv("FLANNEL_NETWORK=10.5.0.0/16,junk").invalid, ["FLANNEL_NETWORK"]);
  assert.deepEqual(listNetworks("FLANNEL_NETWORK=10.5.0.0/16,junk"), []);
});

test("names the missing lines of an incomplete file", () => {
  assert.deepEqual(parseSubnetEnv("").missing, [
    "FLANNEL_NETWORK",
    "FLANNEL_SUBNET",
    "FLANNEL_MTU",
    "FLANNEL_IPMASQ",
  ]);
  const half = parseSubnetEnv("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.7");
  assert.deepEqual(half.missing, ["FLANNEL_MTU", "FLANNEL_IPMASQ"]);
  assert.deepEqual(half.invalid, ["FLANNEL_SUBNET"]);
  assert.equal(half.subnets.ipv4, undefined);
  assert.equal(half.network.ipv4 && formatPrefix(half.network.ipv4), "10.5.0.0/16");
});

test("refuses values of the wrong family or type, and never throws", () => {
  const parsed = parseSubnetEnv("FLANNEL_SUBNET=fc00::1/64\nFLANNEL_MTU=-1\nFLANNEL_IPMASQ=yes\n");
  assert.deepEqual(parsed.invalid, ["FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"]);
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => void parseSubnetEnv(`FLANNEL_SUBNET=${text}`)),
  );
});

test("passes text, path and mode to the writer, and explains a failure", async () => {
  const calls: unknown[][] = [];
  await writeSubnetEnv("/run/flannel/subnet.env", IPV4, async (...call) => void calls.push(call));
  assert.deepEqual(calls, [["/run/flannel/subnet.env", IPV4_TEXT, 0o644]]);
  const readOnly = async () => {
    throw new Error("EROFS: read-only file system");
  };
  await assert.rejects(
    writeSubnetEnv("/x/subnet.env", IPV4, readOnly),
    (error) => error instanceof ConfigError && /\/x\/subnet\.env.*EROFS.*--subnet-file/.test(error.message),
  );
});

test("F15 an incomplete family is no error if the other family is complete", () => {
  for (const half of ["FLANNEL_IPV6_NETWORK=fc00::/48\n", "FLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\n"]) {
    const parsed = parseSubnetEnv(half + IPV4_TEXT);
    assert.deepEqual([parsed.missing, parsed.invalid], [[], []]);
    assert.deepEqual(parsed.subnets.ipv4, IPV4.subnets.ipv4);
  }
  const alone = parseSubnetEnv("FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n");
  assert.deepEqual(alone.missing, ["FLANNEL_IPV6_SUBNET"]);
});

test("F15 a byte order mark and export, as editors and shells add them", () => {
  assert.deepEqual(parseSubnetEnv(`\uFEFF${IPV4_TEXT.replace(/^F/gm, "export F")}`), {
    ...IPV4,
    missing: [],
    invalid: [],
  });
});
