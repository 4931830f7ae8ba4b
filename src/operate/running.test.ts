import assert from "node:assert/strict";
import { test } from "node:test";
import { findFlanneld } from "./running.ts";

const find = (...args: string[]) => findFlanneld([{ pid: 7, args }])?.pid;

test("a flanneld is recognized by its arguments, this one or Go's, started in any way", () => {
  for (const args of [
    ["/usr/local/bin/flanneld", "-etcd-endpoints=http://192.168.64.1:2379"],
    [
      "/opt/flannel/node",
      "--max-semi-space-size=2",
      "--no-warnings",
      "/opt/flannel/dist/flanneld.cjs",
      "--ip-masq",
    ],
    ["/opt/node_modules/.bin/node26", "src/cmd/flanneld.ts"],
    // as process.title leaves it
    ["flanneld --etcd-password=*** --ip-masq=true"],
  ]) {
    assert.equal(find(...args), 7, args.join(" "));
  }
});

test("other processes with flanneld in their arguments are not flanneld", () => {
  for (const args of [
    [],
    ["vim", "flanneld.ts"],
    ["journalctl", "-u", "flanneld"],
    ["/usr/bin/node", "flannelctl.cjs", "lab", "exec", "h1", "--", "flanneld"],
    ["/usr/bin/flanneld-watcher"],
    ["sh -c flanneld"],
  ]) {
    assert.equal(find(...args), undefined, args.join(" "));
  }
});
