import assert from "node:assert/strict";
import { test } from "node:test";
import { concernsUs, type RulesetChange } from "./concern.ts";

const change = (text: string): RulesetChange => {
  const [object, family, table, chain] = text.split(" ") as [
    RulesetChange["object"],
    string,
    string,
    string?,
  ];
  return { object, family, table, chain };
};

test("what can concern our rules, and what cannot", () => {
  for (const text of [
    "table ip flannel-ipv4",
    "chain ip flannel-ipv4 postrtg",
    "rule ip6 flannel-ipv6 forward",
    "other ip flannel-ipv4",
    "table ip filter",
    "chain ip filter FORWARD",
    "rule ip6 filter FORWARD",
    "rule ip nat POSTROUTING",
    "rule ip nat FLANNEL-POSTRTG",
  ]) {
    assert.equal(concernsUs(change(text)), true, text);
  }
  for (const text of [
    "table inet filter",
    "rule inet firewalld filter_FORWARD",
    "rule ip nat KUBE-SERVICES",
    "rule ip nat PREROUTING",
    "rule ip nat FORWARD",
    "rule ip filter DOCKER-USER",
    "other ip nat",
    "rule ip mangle FORWARD",
    "table ip6 flannel-ipv4",
  ]) {
    assert.equal(concernsUs(change(text)), false, text);
  }
});
