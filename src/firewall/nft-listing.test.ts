import assert from "node:assert/strict";
import { test } from "node:test";
import { dropsByPolicy, isBaseChain, parseNftListing, parseNftRule } from "./nft-listing.ts";
import { ruleText } from "./rules.ts";

// printed by nft 1.0.6 on Linux 6.18: a table of iptables-nft, and one with sets
const LISTING = `table ip filter { # handle 2
	chain FLANNEL-FWD { # handle 1
		ip saddr 10.5.0.0/16  counter accept # handle 2
	}

	chain FORWARD { # handle 3
		type filter hook forward priority filter; policy drop;
		 counter jump FLANNEL-FWD # handle 4
		counter packets 3 bytes 180 reject # handle 5
		tcp dport { 80, 443 } accept comment "web } {" # handle 6
	}
}
table inet theirs { # handle 3
	set blocked { # handle 1
		type ipv4_addr
		elements = { 192.0.2.1,
			     192.0.2.2 }
	}

	chain input { # handle 2
		type filter hook input priority 0; policy accept;
	}
}
table ip6 empty { # handle 4
}
`;

test("tables, chains, rules and handles of a listing", () => {
  const ruleset = parseNftListing(LISTING);
  assert.deepEqual([...ruleset.keys()], ["ip filter", "inet theirs", "ip6 empty"]);
  const filter = ruleset.get("ip filter")!;
  assert.deepEqual(filter.chains.get("FORWARD"), {
    base: "type filter hook forward priority filter; policy drop;",
    rules: [
      { body: "jump FLANNEL-FWD", comment: undefined, handle: 4 },
      { body: "reject", comment: undefined, handle: 5 },
      { body: "tcp dport { 80, 443 } accept", comment: "web } {", handle: 6 },
    ],
  });
  assert.ok(dropsByPolicy(filter.chains.get("FORWARD")!));
  assert.equal(filter.hasOthers, false);
  assert.equal(ruleset.get("inet theirs")!.hasOthers, true);
  assert.deepEqual([...ruleset.get("inet theirs")!.chains.keys()], ["input"]);
});

test("rules by their meaning", () => {
  const cases: Readonly<Record<string, string | undefined>> = {
    "meta mark & 0x00004000 == 0x00004000 return": "marked 0x4000 return",
    "meta mark and 0x4000 == 0x4000 return": "marked 0x4000 return",
    "meta mark & 0x00004000 == 0x00000000 return": undefined,
    "ip saddr != 10.5.0.0/16 ip daddr 10.5.1.0/24 return": "from outside 10.5.0.0/16 to 10.5.1.0/24 return",
    "ip6 saddr fd05::/32 ip6 daddr != ff00::/8 masquerade fully-random":
      "from fd05::/32 to outside ff00::/8 masquerade-random",
    "ip saddr 10.5.0.1 accept": "from 10.5.0.1/32 accept",
    "ip saddr 10.5.0.0/16 masquerade random": undefined,
    "ip saddr @theirs accept": undefined,
    "ip saddr 10.5.0.0/16 tcp dport 80 accept": undefined,
    "jump FLANNEL-FWD": undefined,
    "": undefined,
  };
  for (const [body, expected] of Object.entries(cases)) {
    const found = parseNftRule({ body, comment: undefined, handle: 1 });
    assert.equal(found && ruleText(found), expected, body);
  }
});

test("a base chain by type, hook, priority in name or number, and policy", () => {
  const isPostrouting = (base: string | undefined) =>
    isBaseChain({ base, rules: [] }, "nat", "postrouting", ["100", "srcnat"]);
  assert.ok(isPostrouting("type nat hook postrouting priority srcnat; policy accept;"));
  assert.ok(isPostrouting("type nat hook postrouting priority 100;"));
  assert.ok(!isPostrouting("type nat hook postrouting priority srcnat; policy drop;"));
  assert.ok(!isPostrouting("type nat hook postrouting priority srcnat + 1; policy accept;"));
  assert.ok(!isPostrouting("type filter hook postrouting priority srcnat; policy accept;"));
  assert.ok(!isPostrouting(undefined));
});

test("a table that belongs to a process is seen, too", () => {
  const listing = "table ip flannel-ipv4 { # handle 1 progname nft\n\tflags owner\n}\n";
  assert.deepEqual([...parseNftListing(listing).keys()], ["ip flannel-ipv4"]);
});
