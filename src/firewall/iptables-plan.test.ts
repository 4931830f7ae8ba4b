import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePrefix } from "../address/prefix.ts";
import { planIptables } from "./iptables-plan.ts";
import { parseIptablesSave, type SavedTables } from "./iptables-save.ts";
import { firewallRules, NO_RULES } from "./rules.ts";

const { ipv4: WANTED } = firewallRules({
  ipv4: { network: parsePrefix("10.5.0.0/16")!, subnet: parsePrefix("10.5.1.0/24")! },
  ipv6: undefined,
  ipMasq: true,
  forwardRules: true,
  randomFully: true,
});

const SCRIPT = `*nat
:FLANNEL-POSTRTG - [0:0]
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.1.0/24 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d 10.5.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
`;

test("an empty host gets all rules; a host in sync gets none", () => {
  const plan = planIptables(WANTED, parseIptablesSave(""));
  assert.equal(plan.script, SCRIPT);
  assert.deepEqual(plan.changes, [
    "nat chain FLANNEL-POSTRTG (missing)",
    "nat jump from POSTROUTING to FLANNEL-POSTRTG (missing)",
    "filter chain FLANNEL-FWD (missing)",
    "filter jump from FORWARD to FLANNEL-FWD (missing)",
  ]);
  assert.equal(planIptables(WANTED, restore("", SCRIPT)).script, "");
});

test("only the table that differs is written", () => {
  const damaged = restore("", SCRIPT.replace("-A FLANNEL-FWD -d", "-A FLANNEL-FWD ! -d"));
  const { script, changes } = planIptables(WANTED, damaged);
  assert.deepEqual(changes, ["filter chain FLANNEL-FWD (other rules)"]);
  assert.ok(script.startsWith("*filter\n:FLANNEL-FWD - [0:0]\n") && !script.includes("*nat"));
});

test("the jump goes before a closing REJECT and Docker's own chain, after DOCKER-USER", () => {
  const seen = restore(
    "",
    "*filter\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-FORWARD\n-A FORWARD -j REJECT --reject-with x\nCOMMIT\n",
  );
  assert.match(planIptables(WANTED, seen).script, /^-I FORWARD 2 .*-j FLANNEL-FWD$/m);
});

test("a drop is found in the policy and in rules, if there are no accepts of ours", () => {
  const scope = { networks: undefined, network: parsePrefix("10.5.0.0/16")! };
  const drops = (text: string) =>
    planIptables(NO_RULES.ipv4, parseIptablesSave(text), scope).drops.map(({ where }) => where);
  assert.deepEqual(drops("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"), [
    "table filter, chain FORWARD, policy drop",
  ]);
  assert.deepEqual(drops("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j DROP\nCOMMIT\n"), [
    'table filter, chain FORWARD, rule "-j DROP"',
  ]);
  assert.deepEqual(drops("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i eth9 -j DROP\nCOMMIT\n"), []);
});

test("a foreign rule that jumps to our chain is deleted with it", () => {
  const seen = restore(
    "",
    `${SCRIPT}*filter\n:THEIRS - [0:0]\n-A THEIRS -i x -j FLANNEL-FWD\n-A THEIRS -j DROP\nCOMMIT\n`,
  );
  const left = restore(dump(seen), planIptables(NO_RULES.ipv4, seen).script);
  assert.ok(!dump(left).includes("FLANNEL"));
  assert.deepEqual(left.get("filter")?.get("THEIRS")?.rules, ["-j DROP"]);
});

/** Rules of the shared chains: others', ours in all states of decay, and ones that end everything. */
const sharedRule = fc.constantFrom(
  "-j DOCKER-USER",
  "-i eth9 -j DROP",
  "-j DOCKER-FORWARD",
  "-j REJECT --reject-with icmp-host-prohibited",
  '-m comment --comment "flanneld forward" -j FLANNEL-FWD',
  "-i eth7 -j FLANNEL-FWD",
  '-s 10.9.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
);

test("any FORWARD chain: one plan brings it in sync, keeps foreign rules in order, and another deletes ours", () => {
  fc.assert(
    fc.property(
      fc.array(sharedRule, { maxLength: 8 }),
      fc.array(sharedRule, { maxLength: 3 }),
      (hook, own) => {
        const lines = [
          ...hook.map((rule) => `-A FORWARD ${rule}`),
          ...own.map((rule) => `-A FLANNEL-FWD ${rule}`),
        ];
        const seen = restore("", `*filter\n:FLANNEL-FWD - [0:0]\n${lines.join("\n")}\nCOMMIT\n`);
        const settled = restore(dump(seen), planIptables(WANTED, seen).script);
        assert.deepEqual(planIptables(WANTED, settled).changes, []);
        const theirs = hook.filter((rule) => !/flannel/i.test(rule));
        const after = settled.get("filter")!.get("FORWARD")!.rules;
        assert.deepEqual(
          after.filter((rule) => !/flannel/i.test(rule)),
          theirs,
        );
        const gone = restore(dump(settled), planIptables(NO_RULES.ipv4, settled).script);
        assert.ok(!/flannel/i.test(dump(gone)));
        assert.deepEqual(gone.get("filter")!.get("FORWARD")!.rules, theirs);
      },
    ),
    { numRuns: 200 },
  );
});

/** What iptables-restore --noflush does to a dump; like it, it refuses to delete what is not there or still used. */
function restore(dumped: string, script: string): SavedTables {
  const tables = new Map([...parseIptablesSave(dumped)].map(([name, chains]) => [name, new Map(chains)]));
  let chains = new Map<string, { policy: string; rules: string[] }>();
  const of = (name: string) => chains.get(name) ?? chains.set(name, { policy: "-", rules: [] }).get(name)!;
  for (const line of script.split("\n")) {
    const [verb = "", name = "", ...rest] = line.split(" ");
    if (verb.startsWith("*"))
      chains = tables.get(verb.slice(1)) ?? tables.set(verb.slice(1), new Map()).get(verb.slice(1))!;
    if (verb.startsWith(":")) chains.set(verb.slice(1), { policy: name, rules: [] });
    if (verb === "-A") of(name).rules.push(rest.join(" "));
    if (verb === "-I") of(name).rules.splice(Number(rest[0]) - 1, 0, rest.slice(1).join(" "));
    if (verb === "-D") {
      const at = of(name).rules.indexOf(rest.join(" "));
      assert.ok(at >= 0, `no such rule: ${line}`);
      of(name).rules.splice(at, 1);
    }
    if (verb === "-X") {
      assert.deepEqual(of(name).rules, [], "not empty");
      for (const { rules } of chains.values())
        assert.ok(!rules.some((rule) => rule.endsWith(`-j ${name}`)), "still used");
      chains.delete(name);
    }
  }
  return tables;
}

const dump = (tables: SavedTables): string =>
  [...tables]
    .flatMap(([table, chains]) => [
      `*${table}`,
      ...[...chains].map(([name, { policy }]) => `:${name} ${policy} [0:0]`),
      ...[...chains].flatMap(([name, { rules }]) => rules.map((rule) => `-A ${name} ${rule}`)),
      "COMMIT\n",
    ])
    .join("\n");
