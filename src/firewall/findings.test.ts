import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { findIptablesDrops, findNftDrops } from "./findings.ts";
import { parseIptablesSave } from "./iptables-save.ts";
import { parseNftListing } from "./nft-listing.ts";

const NETWORKS = { ipv4: parsePrefix("10.5.0.0/16")!, ipv6: undefined };

/** A listing of one table with a base chain and others. */
function listing(address: string, base: string, rules: readonly string[], chains: readonly string[] = []) {
  let handle = 10;
  const numbered = (lines: readonly string[]) => lines.map((line) => `\t\t${line} # handle ${handle++}`);
  const others = chains.flatMap((chain) => {
    const [name, ...body] = chain.split("\n");
    return [
      `\tchain ${name} { # handle ${handle++}`,
      ...numbered(body.map((line) => line.trim())),
      "\t}",
      "",
    ];
  });
  return [
    `table ${address} { # handle 1`,
    "\tchain base { # handle 2",
    `\t\t${base}`,
    ...numbered(rules),
    "\t}",
    ...others,
    "}",
    "",
  ].join("\n");
}

const find = (text: string, networks: Parameters<typeof findNftDrops>[1] = NETWORKS) =>
  findNftDrops(parseNftListing(text), networks, () => false, new Map()).findings;

const FORWARD = "type filter hook forward priority filter; policy accept;";

test("F8 drops of foreign tables are found at every hook and priority, with the rule's text", () => {
  for (const [text, expected] of [
    [
      listing("inet fw", "type filter hook forward priority filter + 10; policy drop;", [
        "ct state established,related accept",
        'iifname "lan0" oifname "wan0" accept',
      ]),
      /table inet fw, chain base \(hook forward, priority filter \+ 10\) drops .*10\.5\.0\.0\/16 \(policy drop\)/,
    ],
    [listing("ip x", "type filter hook prerouting priority -300; policy drop;", []), /hook prerouting/],
    [listing("inet x", "type filter hook postrouting priority 100;", ["drop"]), /rule "drop"/],
    [
      listing("netdev x", 'type filter hook ingress device "eth0" priority filter; policy drop;', []),
      /table netdev x, chain base \(hook ingress/,
    ],
    [listing("bridge x", "type filter hook forward priority 0; policy drop;", []), /table bridge x/],
    [
      listing("inet x", FORWARD, ["jump a"], ["a\njump b", "b\nmeta nfproto ipv4 counter reject"]),
      /rule "meta nfproto ipv4 reject"/,
    ],
    [listing("inet x", FORWARD, ["ct state new goto a"], ["a\nmeta l4proto { tcp, udp } drop"]), /tcp, udp/],
    [listing("inet x", FORWARD, ["ct state vmap { established : accept, new : drop }"]), /vmap/],
    [listing("inet x", FORWARD, ['log prefix "end of: list" level warn drop']), /drop/],
    [listing("inet x", FORWARD, ["ip daddr { 10.0.0.0/8, 192.168.0.0/16 } drop"]), /10\.0\.0\.0\/8/],
    [listing("inet x", FORWARD, ["ip saddr != 192.168.0.0/16 drop"]), /192\.168/],
    [listing("inet x", FORWARD, ["reject with icmpx admin-prohibited"]), /admin-prohibited/],
    [listing("inet x", FORWARD, ['xt target "REJECT"']), /REJECT/],
  ] as const) {
    const findings = find(text);
    assert.equal(findings.length, 1, text);
    assert.match(findings[0]!, expected);
  }
});

test("F8 what the network passes, or may pass, is no finding", () => {
  for (const [base, ...rules] of [
    ["type filter hook forward priority 0; policy drop;", "ip saddr 10.5.0.0/16 accept"],
    ["type filter hook forward priority 0; policy drop;", "ip daddr 10.0.0.0/8 accept"],
    [
      "type filter hook forward priority 0; policy drop;",
      'iifname "flannel.1" accept',
      'oifname "flannel.1" accept',
    ],
    [
      "type filter hook forward priority 0; policy drop;",
      'iifname "flannel*" accept',
      'oifname "flannel*" accept',
    ],
    ["type filter hook forward priority 0; policy drop;", "ip saddr @trusted accept"],
    ["type filter hook forward priority 0; policy drop;", "ct state vmap { new : accept, invalid : drop }"],
    ["type filter hook input priority 0; policy drop;"],
    [FORWARD, "tcp dport 22 drop"],
    [FORWARD, 'iifname "eth7" drop'],
    [FORWARD, 'iifname "lo" drop'],
    [FORWARD, "ct state invalid drop"],
    [FORWARD, "ip6 daddr != fd00::/8 drop"],
    [FORWARD, "meta nfproto ipv6 drop"],
    [FORWARD, "ip saddr 172.16.0.0/12 drop"],
    [FORWARD, "limit rate over 10/second drop"],
    [FORWARD, "jump nowhere"],
    ['type filter hook ingress device "lo" priority 0; policy drop;'],
  ] as const) {
    assert.deepEqual(find(listing("inet x", base, rules)), [], `${base} ${rules.join("; ")}`);
  }
  assert.deepEqual(find(listing("ip6 x", "type filter hook forward priority 0; policy drop;", [])), []);
});

test("F8 firewalld's tables: found with its own remedy, gone when the network is in a zone that accepts it", () => {
  const policies = (line: string) => [
    `filter_FORWARD_POLICIES\n${line}\njump filter_FWD_public\nreturn`,
    "filter_FWD_public\njump filter_FWD_public_allow\nreject with icmpx admin-prohibited",
    "filter_FWD_public_allow\n",
    "filter_FWD_trusted\naccept",
  ];
  const rules = [
    "ct state { established, related } accept",
    "ct status dnat accept",
    'iifname "lo" accept',
    "ct state invalid drop",
    "ip6 daddr { ::/96, ::ffff:0.0.0.0/96 } reject with icmpv6 addr-unreachable",
    "jump filter_FORWARD_POLICIES",
    "reject with icmpx admin-prohibited",
  ];
  const base = "type filter hook forward priority filter + 10; policy accept;";
  const blocked = find(listing("inet firewalld", base, rules, policies('iifname "eth1" return')));
  assert.equal(blocked.length, 1);
  assert.match(blocked[0]!, /firewall-cmd --permanent --zone=trusted --add-source=10\.5\.0\.0\/16/);
  const trusted = policies("ip saddr 10.5.0.0/16 jump filter_FWD_trusted");
  assert.deepEqual(find(listing("inet firewalld", base, rules, trusted)), []);
});

test("F8 kube-proxy's and Calico's chains are no findings", () => {
  const kubeProxy = listing(
    "ip kube-proxy",
    "type filter hook forward priority filter - 1; policy accept;",
    ["ct state new jump service-endpoints-check", "jump firewall-check"],
    [
      "service-endpoints-check\nip daddr . meta l4proto . th dport vmap @no-endpoint-services",
      "firewall-check\nip daddr . meta l4proto . th dport vmap @firewall-ips",
    ],
  );
  assert.deepEqual(find(kubeProxy), []);
  const saved = parseIptablesSave(`*filter
:FORWARD DROP [0:0]
:cali-FORWARD - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-cidr-block - [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -i cali+ -m comment --comment "cali:8ZoYfO5HKXWbB3pk" -j cali-from-wl-dispatch
-A cali-FORWARD -m comment --comment "cali:a" -j cali-cidr-block
-A cali-from-wl-dispatch -m comment --comment "cali:b \\"Unknown interface\\"" -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT`);
  assert.deepEqual(findIptablesDrops(saved, NETWORKS.ipv4, 2), []);
});

test("F8 iptables: drops of raw and mangle, and specific ones before the accepts", () => {
  const saved = (text: string) => parseIptablesSave(text);
  const where = (text: string, acceptsAt?: number) =>
    findIptablesDrops(saved(text), NETWORKS.ipv4, acceptsAt).map((drop) => drop.where);
  assert.deepEqual(where("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.0.0.0/8 -j DROP\nCOMMIT"), [
    'table raw, chain PREROUTING, rule "-d 10.0.0.0/8 -j DROP"',
  ]);
  assert.deepEqual(where("*mangle\n:POSTROUTING DROP [0:0]\nCOMMIT"), [
    "table mangle, chain POSTROUTING, policy drop",
  ]);
  const filter =
    "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -s 10.5.0.0/16 -j DROP\n-A FORWARD -j FLANNEL-FWD\nCOMMIT";
  assert.deepEqual(where(filter, 1), ['table filter, chain FORWARD, rule "-s 10.5.0.0/16 -j DROP"']);
  assert.deepEqual(where(filter, 0), []);
});

test("F8 a walk of 20,000 rules takes a small part of a second", () => {
  const rules = Array.from(
    { length: 20_000 },
    (_, index) => `ip daddr 10.9.${index >> 8}.${index & 255} tcp dport ${1 + (index % 60_000)} drop`,
  );
  const seen = parseNftListing(listing("inet x", FORWARD, rules));
  const started = process.cpuUsage();
  assert.deepEqual(findNftDrops(seen, NETWORKS, () => false, new Map()).findings, []);
  const { user, system } = process.cpuUsage(started);
  assert.ok(user + system < 1_000_000, `${user + system} µs`);
});
