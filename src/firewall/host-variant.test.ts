import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseIptablesVariant } from "./host-variant.ts";

const EMPTY = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n";
const RULES = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n";
const HINT = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n";
const CANARY = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n";

/** Tools by name; the others are not installed. */
function variantOf(saved: Readonly<Record<string, string | { readonly fails: string }>>) {
  return chooseIptablesVariant({
    async run(command) {
      const said = saved[command];
      if (said === undefined) throw Object.assign(new Error(command), { code: "ENOENT" });
      if (typeof said === "string") return { code: 0, stdout: said, stderr: "" };
      return { code: 1, stdout: "", stderr: said.fails };
    },
  });
}

test("kubelet's hint decides, whatever other rules there are", async () => {
  assert.equal(
    await variantOf({ "iptables-nft-save": EMPTY, "iptables-legacy-save": HINT + EMPTY }),
    "legacy",
  );
  assert.equal(
    await variantOf({ "iptables-nft-save": RULES + RULES, "ip6tables-legacy-save": CANARY }),
    "legacy",
  );
  assert.equal(await variantOf({ "iptables-nft-save": HINT, "iptables-legacy-save": RULES + RULES }), "nft");
});

test("without a hint the variant with more rules is the host's", async () => {
  assert.equal(await variantOf({ "iptables-nft-save": EMPTY, "iptables-legacy-save": RULES }), "legacy");
  assert.equal(await variantOf({ "iptables-nft-save": RULES, "iptables-legacy-save": RULES }), "nft");
  assert.equal(await variantOf({ "iptables-nft-save": EMPTY, "iptables-legacy-save": EMPTY }), "nft");
});

test("a variant that the kernel or the image lacks has no rules", async () => {
  assert.equal(await variantOf({ "ip6tables-legacy-save": RULES }), "legacy");
  assert.equal(
    await variantOf({ "iptables-legacy-save": { fails: "can't initialize iptables table" } }),
    "nft",
  );
  assert.equal(await variantOf({}), "nft");
});
