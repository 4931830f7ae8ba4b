import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parseIptablesSave } from "./iptables-save.ts";
import { parseNftListing } from "./nft-listing.ts";
import { findIptablesTunnelDrops, findNftTunnelDrops } from "./tunnel-findings.ts";
import type { TunnelListener } from "./tunnel-packets.ts";

const VXLAN: TunnelListener = {
  protocol: "udp",
  port: 8472,
  address: parseIp("192.0.2.11")!,
  device: "eth0",
};
const IPIP: TunnelListener = { protocol: "ipip", address: parseIp("192.0.2.11")!, device: "eth0" };

const UFW_RULES = `-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT`;

/** The filter table with these rules and INPUT's policy, as iptables-save prints it. */
function filter(rules: string, policy = "DROP") {
  const names = new Set([...rules.matchAll(/^-A (\S+)/gm)].map(([, name]) => name!));
  const chains = [...names]
    .filter((name) => !["INPUT", "OUTPUT"].includes(name))
    .map((name) => `:${name} - [0:0]`);
  return parseIptablesSave(
    ["*filter", `:INPUT ${policy} [0:0]`, ":OUTPUT ACCEPT [0:0]", ...chains, rules, "COMMIT"].join("\n"),
  );
}

const iptables = (rules: string, policy?: string, listener = VXLAN) =>
  findIptablesTunnelDrops("iptables", filter(rules, policy), [listener]).findings;

test("F8 ufw's default deny incoming without the tunnel's port is found, with ufw's command", () => {
  const [finding, ...others] = iptables(UFW_RULES);
  assert.deepEqual(others, []);
  assert.match(
    finding!,
    /chain INPUT drops the tunnel's packets from other hosts, UDP port 8472 \(policy drop\); run "ufw allow in 8472\/udp"/,
  );
  for (const rule of [
    "-A ufw-user-input -p udp -m udp --dport 8472 -j ACCEPT",
    "-A ufw-user-input -p udp -m multiport --dports 53,8400:8500 -j ACCEPT",
    "-A ufw-user-input -i eth0 -j ACCEPT",
    "-A ufw-user-input -s 192.0.2.0/24 -j ACCEPT", // the peers may be there
    "-A ufw-user-input -d 192.0.2.11/32 -p udp -j ACCEPT",
  ])
    assert.deepEqual(iptables(`${UFW_RULES}\n${rule}`), [], rule);
  for (const rule of [
    "-A ufw-user-input -p tcp -m tcp --dport 8472 -j ACCEPT",
    "-A ufw-user-input -p udp -m udp ! --dport 8472 -j ACCEPT",
    "-A ufw-user-input -i eth1 -j ACCEPT",
    "-A ufw-user-input -s 192.0.2.0/24 -p tcp -m tcp --dport 22 -j ACCEPT",
    "-A ufw-user-input -d 192.0.2.12/32 -j ACCEPT",
  ])
    assert.equal(iptables(`${UFW_RULES}\n${rule}`).length, 1, rule);
});

test("F8 iptables: other rules that drop the tunnel's packets, in each direction", () => {
  for (const [rules, expected] of [
    ["-A INPUT -p udp -m udp --dport 8472 -j DROP", /INPUT drops .*from other hosts.*--dport 8472 -j DROP/],
    ["-A INPUT -p udp -m multiport --dports 1:9000 -j REJECT", /--dports 1:9000/],
    ["-A INPUT -m conntrack --ctstate NEW -g closed\n-A closed -j REJECT", /-j REJECT/],
    ["-A INPUT ! -i lo -j DROP", /! -i lo/],
    ["-A OUTPUT -p udp -m udp --dport 8472 -j DROP", /OUTPUT drops .*to other hosts/],
    ["-A OUTPUT -o eth0 -m state --state NEW -j REJECT", /OUTPUT/],
  ] as const) {
    const findings = iptables(rules, "ACCEPT");
    assert.equal(findings.length, 1, rules);
    assert.match(findings[0]!, expected);
  }
  for (const rules of [
    "-A INPUT -p tcp -j DROP",
    "-A INPUT -i eth1 -j DROP",
    "-A INPUT -p udp -m udp --dport 8473 -j DROP",
    "-A INPUT -s 198.51.100.0/24 -j DROP",
    "-A INPUT -m limit --limit 100/sec -j RETURN\n-A INPUT -j DROP",
    "-A INPUT -m set --match-set nodes src -j ACCEPT\n-A INPUT -j DROP",
    "-A INPUT -m iprange --src-range 192.0.2.10-192.0.2.20 -j trusted\n-A INPUT -j DROP\n-A trusted -j ACCEPT",
    "-A INPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
  ])
    assert.deepEqual(iptables(rules, "ACCEPT"), [], rules);
});

test("F8 ipip has no port: its protocol is what a firewall has to accept", () => {
  const closed = "-A INPUT -p udp -j ACCEPT\n-A INPUT -p tcp -j ACCEPT";
  assert.match(iptables(closed, "DROP", IPIP)[0]!, /IP protocol 4 \(ipip\) \(policy drop\)/);
  for (const name of ["4", "ipencap"])
    assert.deepEqual(iptables(`-A INPUT -p ${name} -j ACCEPT`, "DROP", IPIP), []);
});

/** One table with a base chain. */
const nft = (address: string, base: string, rules: readonly string[], listener = VXLAN) => {
  const lines = rules.map((rule, index) => `\t\t${rule} # handle ${index + 3}`);
  const text = [
    `table ${address} { # handle 1`,
    "\tchain base { # handle 2",
    `\t\ttype filter hook ${base}`,
    ...lines,
    "\t}",
    "}",
    "",
  ];
  return findNftTunnelDrops(parseNftListing(text.join("\n")), [listener], () => false).findings;
};

const INPUT = "input priority filter; policy drop;";

test("F8 nftables: drops of the tunnel's packets at every hook", () => {
  const allowed = [
    "ct state vmap { established : accept, related : accept, invalid : drop }",
    'iifname "lo" accept',
  ];
  for (const [address, base, rules, expected] of [
    [
      "inet filter",
      INPUT,
      [...allowed, "tcp dport 22 accept"],
      /hook input.*UDP port 8472 \(policy drop\); accept them/,
    ],
    ["ip filter", INPUT, ["udp dport { 53, 123 } accept", "udp dport 9000-9999 accept"], /policy drop/],
    [
      "inet x",
      "prerouting priority raw; policy accept;",
      ["udp dport 8472 drop"],
      /rule "udp dport 8472 drop"/,
    ],
    ["inet x", "output priority filter; policy drop;", ["ct state established accept"], /to other hosts/],
    ["netdev x", 'ingress device "eth0" priority 0; policy drop;', ["tcp dport 22 accept"], /hook ingress/],
    [
      "inet firewalld",
      "input priority filter + 10; policy accept;",
      ["ct status dnat accept", "reject with icmpx admin-prohibited"],
      /firewall-cmd --permanent --add-port=8472\/udp/,
    ],
  ] as const) {
    const findings = nft(address, base, rules);
    assert.equal(findings.length, 1, `${address} ${rules}`);
    assert.match(findings[0]!, expected);
  }
  for (const rules of [
    ["udp dport 8472 accept"],
    ["udp dport { 53, 8000-9000 } accept"],
    ["meta l4proto { tcp, udp } th dport { 8472 } accept"],
    ['iifname "eth0" accept'],
    ['iifname "eth*" accept'],
    ["ip saddr @nodes accept"],
    ["ip saddr 192.0.2.0/24 accept"],
    ["udp dport @ports accept"],
    ["fib daddr type local accept"],
    ["fib daddr type != local drop", "accept"],
  ])
    assert.deepEqual(nft("inet filter", INPUT, rules), [], rules.join("; "));
  assert.deepEqual(nft("ip6 filter", INPUT, []), [], "the tunnel runs over IPv4");
  assert.deepEqual(nft("netdev x", 'ingress device "eth1" priority 0; policy drop;', []), []);
  const v6 = { ...VXLAN, address: parseIp("2001:db8::11")! };
  assert.equal(nft("ip6 filter", INPUT, [], v6).length, 1);
});
