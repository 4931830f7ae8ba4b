import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { parseNftListing } from "./nft-listing.ts";
import { planNft } from "./nft-plan.ts";
import { firewallRules, NO_RULES } from "./rules.ts";

const WANTED = firewallRules({
  ipv4: { network: parsePrefix("10.5.0.0/16")!, subnet: parsePrefix("10.5.1.0/24")! },
  ipv6: undefined,
  ipMasq: true,
  forwardRules: true,
  randomFully: true,
});

const EMPTY = parseNftListing("");

// what nft 1.0.6 lists after the script below
const OWN = `table ip flannel-ipv4 { # handle 1
	chain postrtg { # handle 1
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 return comment "flanneld masq" # handle 3
		ip saddr 10.5.1.0/24 ip daddr 10.5.0.0/16 return comment "flanneld masq" # handle 4
		ip saddr 10.5.0.0/16 ip daddr 10.5.1.0/24 return comment "flanneld masq" # handle 5
		ip saddr != 10.5.0.0/16 ip daddr 10.5.1.0/24 return comment "flanneld masq" # handle 6
		ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "flanneld masq" # handle 7
		ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random comment "flanneld masq" # handle 8
	}

	chain forward { # handle 2
		type filter hook forward priority filter; policy accept;
		ip saddr 10.5.0.0/16 accept comment "flanneld forward" # handle 9
		ip daddr 10.5.0.0/16 accept comment "flanneld forward" # handle 10
	}
}
`;

test("W33 the same six rules as with iptables, in one transaction, and no drop", () => {
  const { script, changes } = planNft(WANTED, EMPTY, "all");
  assert.equal(
    script,
    `add table ip flannel-ipv4
delete table ip flannel-ipv4
table ip flannel-ipv4 {
  chain postrtg {
    type nat hook postrouting priority 100; policy accept;
    meta mark & 0x4000 == 0x4000 return comment "flanneld masq"
    ip saddr 10.5.1.0/24 ip daddr 10.5.0.0/16 return comment "flanneld masq"
    ip saddr 10.5.0.0/16 ip daddr 10.5.1.0/24 return comment "flanneld masq"
    ip saddr != 10.5.0.0/16 ip daddr 10.5.1.0/24 return comment "flanneld masq"
    ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "flanneld masq"
    ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random comment "flanneld masq"
  }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip saddr 10.5.0.0/16 accept comment "flanneld forward"
    ip daddr 10.5.0.0/16 accept comment "flanneld forward"
  }
}
`,
  );
  assert.deepEqual(changes, ["nftables table ip flannel-ipv4 (missing)"]);
});

test("rules in sync are not written; stale rules are deleted", () => {
  assert.equal(planNft(WANTED, parseNftListing(OWN), "all").script, "");
  const gone = planNft(NO_RULES, parseNftListing(OWN), "own");
  assert.equal(gone.script, "add table ip flannel-ipv4\ndelete table ip flannel-ipv4\n");
  assert.deepEqual(gone.changes, ["nftables table ip flannel-ipv4"]);
  assert.equal(planNft(NO_RULES, EMPTY, "all").script, "");
});

test("any other content of our table is a difference", () => {
  for (const [from, to] of [
    ["ip saddr 10.5.0.0/16 accept", "ip saddr 10.6.0.0/16 accept"],
    ["priority srcnat", "priority filter"],
    ["policy accept", "policy drop"],
    ["\tchain forward { # handle 2", "\tset s { # handle 12\n\t}\n\n\tchain forward { # handle 2"],
    ["\tchain forward { # handle 2", "\tchain more { # handle 12\n\t}\n\n\tchain forward { # handle 2"],
    ["chain forward", "chain forwards"],
  ] as const) {
    assert.notEqual(OWN.replace(from, to), OWN);
    assert.notEqual(planNft(WANTED, parseNftListing(OWN.replace(from, to)), "all").script, "", to);
  }
});

const shared = (policy: string, ...rules: string[]) =>
  parseNftListing(`${OWN}table ip filter { # handle 2
	chain FORWARD { # handle 1
		type filter hook forward priority filter; policy ${policy};
${rules.map((rule, index) => `\t\t${rule} # handle ${index + 2}`).join("\n")}
	}
}
`);

test("where the shared FORWARD chain drops, the accepts stand there too", () => {
  assert.equal(planNft(WANTED, shared("accept", "counter jump DOCKER-USER"), "all").script, "");
  assert.equal(planNft(WANTED, shared("drop"), "own").script, "");
  const plan = planNft(WANTED, shared("drop", "counter jump DOCKER-USER"), "all");
  assert.equal(
    plan.script,
    `add chain ip filter FLANNEL-FWD
flush chain ip filter FLANNEL-FWD
add rule ip filter FLANNEL-FWD ip saddr 10.5.0.0/16 counter accept comment "flanneld forward"
add rule ip filter FLANNEL-FWD ip daddr 10.5.0.0/16 counter accept comment "flanneld forward"
add rule ip filter FORWARD counter jump FLANNEL-FWD comment "flanneld forward"
`,
  );
  const barrier = planNft(WANTED, shared("accept", "counter jump DOCKER-USER", "counter reject"), "all");
  assert.match(barrier.script, /^insert rule ip filter FORWARD handle 3 counter jump FLANNEL-FWD/m);
});

test("stale rules of iptables mode in the shared tables are deleted by handle", () => {
  const listing = parseNftListing(`table ip nat { # handle 1
	chain FLANNEL-POSTRTG { # handle 1
		ip saddr 10.5.0.0/16  counter masquerade # handle 4
	}

	chain POSTROUTING { # handle 5
		type nat hook postrouting priority srcnat; policy accept;
		tcp dport 9 return # handle 7
		 counter jump FLANNEL-POSTRTG # handle 6
	}
}
`);
  assert.equal(
    planNft(NO_RULES, listing, "all").script,
    `delete rule ip nat POSTROUTING handle 6
flush chain ip nat FLANNEL-POSTRTG
delete chain ip nat FLANNEL-POSTRTG
`,
  );
});
