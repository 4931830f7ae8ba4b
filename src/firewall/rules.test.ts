import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { firewallRules, NO_RULES, ruleText, sameRules, withoutRandomFully } from "./rules.ts";

const INTENT = {
  ipv4: { network: parsePrefix("10.5.0.0/16")!, subnet: parsePrefix("10.5.1.0/24")! },
  ipv6: { network: parsePrefix("fd05::/32")!, subnet: parsePrefix("fd05:0:1::/64")! },
  ipMasq: true,
  forwardRules: true,
  randomFully: true,
};

test("the rules in their order", () => {
  const { ipv4 } = firewallRules(INTENT);
  assert.deepEqual(ipv4.masquerade.map(ruleText), [
    "marked 0x4000 return",
    "from 10.5.1.0/24 to 10.5.0.0/16 return",
    "from 10.5.0.0/16 to 10.5.1.0/24 return",
    "from outside 10.5.0.0/16 to 10.5.1.0/24 return",
    "from 10.5.0.0/16 to outside 224.0.0.0/4 masquerade-random",
    "from outside 10.5.0.0/16 to 10.5.0.0/16 masquerade-random",
  ]);
  assert.deepEqual(ipv4.forward.map(ruleText), ["from 10.5.0.0/16 accept", "to 10.5.0.0/16 accept"]);
});

test("IPv6 has its own multicast; plain masquerade on demand", () => {
  const { ipv6 } = firewallRules({ ...INTENT, randomFully: false });
  assert.equal(ruleText(ipv6.masquerade[4]!), "from fd05::/32 to outside ff00::/8 masquerade");
  const downgraded = withoutRandomFully(firewallRules(INTENT).ipv6);
  assert.ok(sameRules(ipv6.masquerade, downgraded.masquerade));
});

test("disabled sets have no rules", () => {
  assert.deepEqual(firewallRules({ ...INTENT, ipMasq: false, forwardRules: false }), NO_RULES);
  assert.deepEqual(firewallRules({ ...INTENT, ipv4: undefined, ipv6: undefined }), NO_RULES);
});

test("rules are the same only in the same number, order and meaning", () => {
  const { masquerade } = firewallRules(INTENT).ipv4;
  assert.ok(sameRules(masquerade, [...masquerade]));
  assert.ok(!sameRules(masquerade, masquerade.slice(1)));
  assert.ok(!sameRules(masquerade, masquerade.toReversed()));
  assert.ok(!sameRules(masquerade, masquerade.with(2, undefined as never)));
});
