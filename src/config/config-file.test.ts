import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ConfigError } from "../base/error.ts";
import { parseConfigFile, readConfigFile } from "./config-file.ts";
import { parseFlags } from "./flags.ts";
import { CONFIG_FILE_FLAG } from "./options-program-table.ts";
import { FLANNELD_FLAGS } from "./options-table.ts";

const PATH = "/etc/flannel/flanneld.yaml";

const valuesOf = async (text: string) => {
  const file = await parseConfigFile(text, PATH);
  const result = parseFlags(FLANNELD_FLAGS, { args: [], file: file.values });
  assert.equal(result.type, "ok", JSON.stringify(result));
  return (result as Extract<typeof result, { type: "ok" }>).flags;
};

/** The lines of the error, without the path. */
async function faultsOf(text: string, mode?: number): Promise<string[]> {
  try {
    await parseConfigFile(text, PATH, mode);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message.split("\n").map((line) => {
      assert.ok(line.startsWith(`${PATH}:`), line);
      return line.slice(PATH.length + 1);
    });
  }
  assert.fail(`no fault: ${text}`);
}

test("every kind of flag, with the line that it comes from", async () => {
  const { values, sources } = await valuesOf(`# comment
etcd-endpoints:
  - http://h1:2379
  - http://h2:2379
etcd-prefix: /site/net

iface: [eth0, 192.168.64.1]
ip-masq: true
healthz-port: 8081
probe-interval: 0.5
etcd-password: 0123
log_dir: /var/log/flannel
`);
  assert.deepEqual(values["etcd-endpoints"], ["http://h1:2379", "http://h2:2379"]);
  assert.deepEqual(values.iface, ["eth0", "192.168.64.1"]);
  assert.deepEqual(
    [values["etcd-prefix"], values["ip-masq"], values["healthz-port"], values["probe-interval"]],
    ["/site/net", true, 8081, "0.5"],
  );
  assert.equal(values["etcd-password"], "0123", "text as it is written, not the number 123");
  assert.equal(sources["etcd-endpoints"], `${PATH}:2`);
  assert.equal(sources["healthz-port"], `${PATH}:9`);
});

test("one value in place of a list, a comma-separated list, an empty file, a byte order mark", async () => {
  assert.deepEqual((await valuesOf("iface: eth0")).values.iface, ["eth0"]);
  assert.deepEqual((await valuesOf("etcd-endpoints: http://a:1, http://b:1")).values["etcd-endpoints"], [
    "http://a:1",
    "http://b:1",
  ]);
  for (const text of ["", "# nothing\n", "---\n", "\n\n"])
    assert.deepEqual((await valuesOf(text)).sources, {});
  assert.equal((await valuesOf("\uFEFFv: 3")).values.v, 3);
});

test("faults: each in one line with its line number and the remedy, all at once", async () => {
  const cases: readonly (readonly [text: string, ...faults: RegExp[]])[] = [
    ["ifcae: eth0", /^1: no setting is called "ifcae" \(did you mean iface\?\)$/],
    ["\nnetworks: x", /^2: no setting is called "networks" \(did you mean network\?\)$/],
    ["frobnicate: 1", /^1: no setting is called "frobnicate"; flanneld --help lists all$/],
    ["ip-masq: yes", /^1: ip-masq: must be true or false, without quotes$/],
    ['ip-masq: "true"', /^1: ip-masq: must be true or false, without quotes$/],
    ["v: high", /^1: v: must be a whole number, without quotes$/],
    ["healthz-port: 80.5", /^1: healthz-port: must be a whole number/],
    ["public-ip: true", /^1: public-ip: must be text; put it in quotes$/],
    ["public-ip: [192.168.64.1]", /^1: public-ip: takes one value, not a list$/],
    ["public-ip: {a: b}", /^1: public-ip: takes no members$/],
    ["iface: [eth0, {a: b}]", /^1: iface: every item must be text/],
    ["iface:", /^1: iface: has no value: write one, or leave the line out$/],
    ["v: 1\niface: a\nv: 2", /^3: v: occurs twice \(first in line 1\)$/],
    ["version: true", /^1: version: is for the command line only$/],
    ["print-config: true", /^1: print-config: is for the command line only$/],
    ["config-file: /x", /^1: config-file: is for the command line only$/],
    ["- iface", /^1: has no settings; write e\.g\. etcd-endpoints: /],
    ["just text", /^1: has no settings/],
    ["iface:\n\t- eth0", /^2: a tab indents this line: YAML allows spaces only$/],
    ['iface: "eth0', /^1: is not valid YAML \(Missing closing "quote\): check indentation/],
    ["v: 1\n---\nv: 2", /^[12]: a second document begins/],
    ["iface: &a eth0\npublic-ip: *a", /^2: an alias \(\*\) is not supported/],
    ["network: 10.5.0.0/16\nNetwork: 10.5.0.0/16", /^1: network: is the flag --network, beside Network:/],
    ["ip-masq: no\nv: x\nifcae: eth0", /^1: ip-masq/, /^2: v: must be/, /^3: no setting is called "ifcae"/],
  ];
  for (const [text, ...patterns] of cases) {
    const faults = await faultsOf(text);
    assert.equal(faults.length, patterns.length, `${text}: ${faults.join(" | ")}`);
    for (const [index, pattern] of patterns.entries()) assert.match(faults[index]!, pattern);
  }
});

test("a secret that every user can read is refused, and a file that every user can change; no secret is quoted", async () => {
  const remedy = /every user of this host can read this secret: chmod 600 \/etc/;
  for (const text of [
    "etcd-username: u\netcd-password: hunter2",
    "\netcd-endpoints: http://u:hunter2@h1:2379",
    "Network: 10.5.0.0/16\nBackend: {Type: wireguard, PSK: hunter2}",
    "Network: 10.5.0.0/16\nBackend: {Type: ali-vpc, AccessKeyID: LTAI, AccessKeySecret: hunter2}",
  ]) {
    const [fault, ...others] = await faultsOf(text, 0o644);
    assert.match(fault!, /^2: /);
    assert.match(fault!, remedy);
    assert.deepEqual(others, []);
    assert.ok(!fault!.includes("hunter2"));
    await parseConfigFile(text, PATH, 0o640);
  }
  await parseConfigFile("etcd-endpoints: http://h1:2379", PATH, 0o644);
  assert.match((await faultsOf("v: 1", 0o666))[0]!, /can change this file: chmod o-w/);
  for (const text of [
    "etcd-password: {hunter2",
    "etcd-password: [hunter2]",
    "hunter2",
    "etcd-password: hunter2: x",
  ]) {
    assert.ok(!(await faultsOf(text)).join().includes("hunter2"), text);
  }
});

test("the file: named and missing, default and missing, off, no file", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "config-file-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const read = (...args: string[]) => {
    const result = parseFlags(CONFIG_FILE_FLAG, { args });
    return readConfigFile((result as Extract<typeof result, { type: "ok" }>).flags);
  };
  const path = join(directory, "f.yaml");
  await assert.rejects(
    read(`--config-file=${path}`),
    /--config-file: failed to read .*ENOENT.*; --config-file=off/,
  );
  await assert.rejects(read(`--config-file=${directory}`), /--config-file: failed to read .*EISDIR/);
  assert.equal(await read("--config-file=off"), undefined);
  writeFileSync(path, "v: 1\n");
  chmodSync(path, 0o600);
  assert.deepEqual((await read(`--config-file=${path}`))?.values, [
    { name: "v", texts: ["1"], source: `${path}:1` },
  ]);
});
