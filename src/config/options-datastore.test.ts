import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "../base/error.ts";
import { parseFlags } from "./flags.ts";
import { readEtcdDatastore } from "./options-datastore.ts";
import { FlagReader } from "./options-reader.ts";
import { DATASTORE_FLAGS, ENVIRONMENT_PREFIX, FLANNELD_FLAGS } from "./options-table.ts";

function read(args: readonly string[], variables: Record<string, string> = {}) {
  const environment = { variables, prefix: ENVIRONMENT_PREFIX };
  const result = parseFlags(DATASTORE_FLAGS, { args, environment });
  if (result.type !== "ok") assert.fail(JSON.stringify(result));
  return readEtcdDatastore(new FlagReader(result.flags));
}

const fault = (args: readonly string[], variables?: Record<string, string>): string => {
  try {
    read(args, variables);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  return assert.fail(`no error for ${args.join(" ")}`);
};

test("flanneld and flannelctl have the same datastore flags", () => {
  for (const [name, spec] of Object.entries(DATASTORE_FLAGS)) {
    assert.equal(FLANNELD_FLAGS[name as keyof typeof DATASTORE_FLAGS], spec);
  }
});

test("etcd2 takes the same connection flags as etcd3", () => {
  const options = read(["--datastore=etcd2", "--etcd-endpoints=http://h:4001", "--etcd-prefix=/p/"]);
  assert.equal(options.kind, "etcd2");
  assert.deepEqual(options.etcd.endpoints, ["http://h:4001"]);
  assert.equal(options.etcd.prefix, "/p");
});

test("the embedded store is reached at the address it listens on", () => {
  const options = read(["--datastore=embedded"]);
  assert.ok(options.kind === "embedded");
  assert.deepEqual(options.etcd.endpoints, ["http://127.0.0.1:2379"]);
  assert.equal(options.etcd.prefix, "/coreos.com/network");
  assert.equal(options.dataDirectory, "/var/lib/flannel/store");
  assert.equal(options.initialConfig, undefined);
  const urls = (listen: string) =>
    read(["--datastore=embedded", `--embedded-listen=${listen}`]).etcd.endpoints[0];
  assert.equal(urls("192.0.2.1:2380,127.0.0.1:1"), "http://192.0.2.1:2380");
  assert.equal(urls("0.0.0.0:2379"), "http://127.0.0.1:2379");
  assert.equal(urls("[::]:2379"), "http://[::1]:2379");
  assert.equal(urls("[fd00::1]:2379"), "http://[fd00::1]:2379");
});

test("--network becomes a config", () => {
  const options = read(["--datastore=embedded", "--network=10.5.1.1/16"]);
  assert.ok(options.kind === "embedded");
  assert.equal(options.initialConfig, '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
});

test("invalid combinations are reported by flag", () => {
  const cases: readonly (readonly [args: string, message: RegExp])[] = [
    ["--datastore=", /^--datastore: is empty/],
    ["--datastore=mysql", /^--datastore: "mysql" is no datastore: use etcd3, etcd2 or embedded$/],
    ["--network=10.5.0.0/16", /^--network: .*the datastore is etcd3.*flannelctl config set/],
    ["--datastore=etcd2 --embedded-data-dir=/d", /^--embedded-data-dir: .*the datastore is etcd2/],
    ["--datastore=embedded --etcd-endpoints=http://h:1", /^--etcd-endpoints: .*has one of its own/],
    ["--datastore=embedded --embedded-listen=localhost:1", /^--embedded-listen: "localhost:1" is no address/],
    ["--datastore=embedded --embedded-listen=127.0.0.1", /^--embedded-listen: .*127\.0\.0\.1:2379/],
    ["--datastore=embedded --embedded-listen=127.0.0.1:0", /^--embedded-listen/],
    ["--datastore=embedded --embedded-listen=[127.0.0.1:2379", /^--embedded-listen/],
    ["--datastore=embedded --embedded-listen=", /^--embedded-listen: is empty/],
    ["--datastore=embedded --network=10.5.0.0", /^--network: "10.5.0.0" is not an IPv4 network/],
    ["--datastore=embedded --network=fc00::/48", /^--network: .*IPv4/],
    ["--datastore=embedded --network=10.5.0.0/30", /^--network: .*too small/],
    ["--datastore=embedded --embedded-data-dir=", /^--embedded-data-dir: is empty/],
  ];
  for (const [args, message] of cases) assert.match(fault(args.split(" ")), message);
  const variable = fault(["--datastore=embedded"], { FLANNELD_ETCD_PASSWORD: "hunter2" });
  assert.match(variable, /^FLANNELD_ETCD_PASSWORD: /);
  assert.doesNotMatch(variable, /hunter2/);
});
