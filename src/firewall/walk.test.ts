import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePrefix } from "../address/prefix.ts";
import { parseIptablesSave } from "./iptables-save.ts";
import { iptablesChains, readIptablesRule } from "./iptables-walk.ts";
import { networkPackets } from "./network-packets.ts";
import { Walker } from "./walk.ts";

const NETWORK = parsePrefix("10.5.0.0/16")!;

/** Whether the first rule of FORWARD ends the walk; further lines are rules of other chains. */
function blocks(lines: readonly string[], network = NETWORK): boolean {
  const names = new Set(lines.map((line) => line.split(" ")[1]!));
  const text = ["*filter", ":FORWARD DROP [0:0]", ...[...names].map((name) => `:${name} - [0:0]`)];
  const chains = parseIptablesSave(
    [...text.filter((line) => line !== ":FORWARD - [0:0]"), ...lines].join("\n"),
  ).get("filter")!;
  const { rules, policy } = chains.get("FORWARD")!;
  const walker = new Walker(iptablesChains(chains), networkPackets(network));
  return walker.blocks(readIptablesRule(rules[0]!), policy === "DROP");
}

test("F8 a closing drop is followed through jumps and gotos, nested", () => {
  for (const lines of [
    ["-A FORWARD -j DROP"],
    ["-A FORWARD -p all -j REJECT --reject-with icmp-host-prohibited"],
    ["-A FORWARD -s 0.0.0.0/0 -j DROP"],
    ["-A FORWARD ! -i lo -j DROP"],
    ["-A FORWARD ! -s 192.168.0.0/16 -j DROP"],
    ["-A FORWARD -m conntrack --ctstate NEW -j DROP"],
    ["-A FORWARD -m conntrack --ctstate INVALID,NEW -j DROP"],
    ["-A FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP"],
    ["-A FORWARD -m state --state NEW -j REJECT --reject-with icmp-port-unreachable"],
    ["-A FORWARD -p tcp -j REJECT --reject-with tcp-reset"],
    ["-A FORWARD -p udp -j REJECT"],
    ["-A FORWARD -p icmp -j DROP"],
    ["-A FORWARD -j ufw-reject-forward", "-A ufw-reject-forward -j REJECT"],
    [
      "-A FORWARD -j A",
      "-A A -m limit --limit 3/min -j LOG",
      "-A A -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      "-A A -p tcp -m tcp --dport 22 -j ACCEPT",
      "-A A -j B",
      "-A B -g C",
      "-A C -j DROP",
    ],
    ["-A FORWARD -g A", "-A A -p tcp -m tcp --dport 22 -j ACCEPT"], // the policy of FORWARD follows
    ["-A FORWARD -j RETURN"],
    ["-A FORWARD -j A", "-A A -i eth7 -j RETURN", "-A A -j DROP"],
    ["-A FORWARD -j A", '-A A -m comment --comment "-j ACCEPT" -j DROP'],
    ["-A FORWARD -j A", "-A A -j MARK --set-xmark 0x1/0x1", "-A A -j DROP"],
  ]) {
    assert.ok(blocks(lines), lines.join("; "));
  }
});

test("F8 what some packets pass, or what is about the network, does not count as a closing drop", () => {
  for (const lines of [
    ["-A FORWARD -i eth9 -j DROP"],
    ["-A FORWARD -i lo -j DROP"],
    ["-A FORWARD -p tcp -m tcp --dport 25 -j DROP"],
    ["-A FORWARD -p sctp -j DROP"],
    ["-A FORWARD -m conntrack --ctstate INVALID -j DROP"],
    ["-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j DROP"],
    ["-A FORWARD -s 10.0.0.0/8 -j DROP"],
    ["-A FORWARD -d 10.5.0.0/16 -j DROP"],
    ["-A FORWARD -s 10.5.1.2/32 -j DROP"],
    ["-A FORWARD -s 192.168.0.0/16 -j DROP"],
    ["-A FORWARD -m mark --mark 0x1/0x1 -j DROP"],
    ["-A FORWARD -m addrtype --dst-type LOCAL -j DROP"],
    ["-A FORWARD -m set --match-set banned src -j DROP"],
    ["-A FORWARD -j A", "-A A -j ACCEPT", "-A A -j DROP"],
    ["-A FORWARD -j A", "-A A -j RETURN", "-A A -j DROP"],
    ["-A FORWARD -j A", "-A A -s 10.0.0.0/8 -d 10.0.0.0/8 -j RETURN", "-A A -j DROP"],
    ["-A FORWARD -j A", "-A A -g B", "-A A -j DROP", "-A B -i eth0 -j DROP"],
    ["-A FORWARD -j A", "-A A -j A"],
    ["-A FORWARD -j LOG"],
    ["-A FORWARD -j NO-SUCH-CHAIN"],
    ["-A FORWARD -d 10.5.1.7/32 -j KUBE-POD-FW", "-A KUBE-POD-FW -j REJECT"], // kube-router
    ["-A FORWARD -i cali+ -j W", "-A W -j DROP"], // Calico
  ]) {
    assert.ok(!blocks(lines), lines.join("; "));
  }
});

test("F8 IPv6: its own protocol and addresses", () => {
  const network = parsePrefix("fd05::/32")!;
  assert.ok(blocks(["-A FORWARD -p ipv6-icmp -j DROP"], network));
  assert.ok(!blocks(["-A FORWARD -p icmp -j DROP"], network));
  assert.ok(!blocks(["-A FORWARD ! -s 10.5.0.0/16 -j DROP"], network));
  assert.ok(blocks(["-A FORWARD -j A", "-A A -j REJECT --reject-with icmp6-adm-prohibited"], network));
});

test("F8 chains that lead to each other many times are walked once each", () => {
  const depth = 40;
  const lines = ["-A FORWARD -j C0"];
  for (let index = 0; index < depth; index++) {
    lines.push(`-A C${index} -j C${index + 1}`, `-A C${index} -j C${index + 1}`);
  }
  lines.push(`-A C${depth} -p tcp -m tcp --dport 1 -j DROP`);
  assert.ok(!blocks(lines)); // 2^40 steps otherwise
  assert.ok(blocks([...lines, `-A C${depth} -j DROP`]));
});

test("any rule is read, and any ruleset is walked to an end", () => {
  const word = fc.constantFrom(
    ...["-j", "-g", "A", "B", "DROP", "ACCEPT", "RETURN", "!", "-s", "-d", "10.5.0.0/16", "junk", "-i", "lo"],
    ...["-p", "tcp", "-m", "--ctstate", "NEW", "--comment", '"x y"', "--match-set", "-", "--"],
  );
  const rule = fc.tuple(fc.constantFrom("FORWARD", "A", "B"), fc.array(word, { maxLength: 8 }));
  fc.assert(
    fc.property(fc.array(rule, { minLength: 1, maxLength: 12 }), (rules) => {
      const text = rules.map(([chain, words]) => `-A ${chain} ${words.join(" ")}`);
      const saved = `*filter\n:FORWARD DROP [0:0]\n:A - [0:0]\n:B - [0:0]\n${text.join("\n")}`;
      const chains = parseIptablesSave(saved).get("filter")!;
      const walker = new Walker(iptablesChains(chains), networkPackets(NETWORK));
      assert.equal(walker.walk(chains.get("FORWARD")!.rules.map(readIptablesRule)).length, 6);
    }),
  );
});
