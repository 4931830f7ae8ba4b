import assert from "node:assert/strict";
import { test } from "node:test";
import { describeHint } from "./config-hint.ts";

const KEY = "/coreos.com/network/config";
const OPTIONS = {
  endpoints: ["http://10.0.0.1:2379", "http://10.0.0.2:2379"],
  prefix: "/coreos.com/network",
  ...{ caFile: undefined, certFile: undefined, keyFile: undefined, username: undefined, password: undefined },
};

const commandIn = (hint: string): string => hint.slice(hint.indexOf("ETCDCTL_API=3 etcdctl --"));

test("the hint names both ways, and the command with the config as it is stored", () => {
  const hint = describeHint(KEY, '{"Network": "10.8.0.0/16"}', OPTIONS, false);
  assert.match(
    hint,
    /^etcd's v3 API has no network config, but its v2 API has one at \/coreos\.com\/network\/config /,
  );
  assert.match(hint, /start flanneld with --datastore=etcd2, on all hosts/);
  assert.equal(
    commandIn(hint),
    "ETCDCTL_API=3 etcdctl --endpoints=http://10.0.0.1:2379,http://10.0.0.2:2379 " +
      `put /coreos.com/network/config '{"Network": "10.8.0.0/16"}'`,
  );
});

test("the command has what TLS and users need, quoted for the shell, and no password", () => {
  const tls = { caFile: "/etc/my etcd/ca.pem", certFile: "/etc/c.pem", keyFile: "/etc/k.pem" };
  const options = { ...OPTIONS, ...tls, username: "flannel", password: "secret" };
  const command = commandIn(describeHint("/it's/config", '{"Network":"10.8.0.0/16"}', options, false));
  assert.equal(
    command.replace(/^.*?2379 /, ""),
    "--cacert='/etc/my etcd/ca.pem' --cert=/etc/c.pem --key=/etc/k.pem --user=flannel " +
      `put '/it'\\''s/config' '{"Network":"10.8.0.0/16"}'`,
  );
});

test("a config of several lines becomes one; one with a secret, no JSON or a long one is not repeated", () => {
  const pretty = '{\r\n  "Network": "10.8.0.0/16",\n  "Backend": {\n    "Type": "vxlan" } }\n';
  assert.match(
    describeHint(KEY, pretty, OPTIONS, false),
    /put \/coreos\.com\/network\/config '\{ "Network": "10\.8\.0\.0\/16", "Backend": \{ "Type": "vxlan" \} \}'$/,
  );
  for (const [text, hasSecret] of [
    ['{"Network":"10.8.0.0/16","Backend":{"Type":"ipsec","PSK":"secret"}}', true],
    ["{", false],
    [`{"Network":"10.8.0.0/16","x":"${"y".repeat(2_000)}"}`, false],
    ['{"Network":"10.8.0.0/16\u009b31m"}', false],
  ] as const) {
    const hint = describeHint(KEY, text, OPTIONS, hasSecret);
    assert.ok(!hint.includes(text), hint);
    assert.match(
      hint,
      /put \/coreos\.com\/network\/config < FILE \(FILE: what ETCDCTL_API=2 etcdctl get \/coreos\.com\/network\/config prints\)$/,
    );
  }
});
