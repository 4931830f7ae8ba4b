/**
 * The firewall's rules after foreign changes: flushed, reordered, mixed with foreign rules, stale from another mode,
 * refused. One namespace per case, no packets; what the rules mean is tested in firewall-packets.test.ts.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { parsePrefix } from "../../src/address/prefix.ts";
import { hasCode } from "../../src/base/error.ts";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { Firewall, type FirewallOptions } from "../../src/firewall/firewall.ts";
import type { FirewallExec } from "../../src/firewall/firewall-exec.ts";
import { firewallRules, NO_RULES } from "../../src/firewall/rules.ts";
import { FirewallBed, INTENT, RULES, VARIANTS } from "./firewall-bed.ts";

type VariantName = (typeof VARIANTS)[number]["name"];

const firewallOn = (bed: FirewallBed, options: Partial<FirewallOptions>): Firewall =>
  new Firewall({ mode: "nftables", exec: bed.exec, logger: silentLogger, ...options });

/** Everything the kernel holds, without counters, handles, dates and empty tables. */
async function dump(bed: FirewallBed): Promise<string> {
  const text = await bed.host(`
    nft -s list ruleset; iptables-nft-save; ip6tables-nft-save; iptables-legacy-save; ip6tables-legacy-save`);
  const lines = text.split("\n").filter((line) => !line.startsWith("#") && line.trim() !== "");
  return lines.map((line) => line.replace(/\[\d+:\d+\]/, "").trimEnd()).join("\n");
}

/** Rules of others that must survive everything. */
const FOREIGN = `set -e
  nft 'table inet theirs { chain input { type filter hook input priority 0; tcp dport 9 drop; }; }'
  for t in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do
    $t -N THEIRS; $t -A FORWARD -j THEIRS; $t -A THEIRS -p tcp --dport 9 -j DROP
    $t -t nat -A POSTROUTING -p tcp --dport 9 -m comment --comment "not flanneld masq" -j RETURN
  done`;

const NFT_DAMAGE: readonly string[] = [
  "nft flush ruleset",
  "nft delete table ip flannel-ipv4",
  "nft flush chain ip6 flannel-ipv6 postrtg",
  "nft delete chain ip flannel-ipv4 forward",
  // the first rule deleted; moved to the end; a foreign one in front
  "nft delete rule ip flannel-ipv4 postrtg handle $(nft -a list chain ip flannel-ipv4 postrtg | sed -n 's/.*0x00004000.*handle //p')",
  `nft delete rule ip flannel-ipv4 forward handle $(nft -a list chain ip flannel-ipv4 forward | sed -n 's/.*saddr.*handle //p')
   nft add rule ip flannel-ipv4 forward ip saddr 10.5.0.0/16 accept`,
  "nft insert rule ip flannel-ipv4 forward tcp dport 80 drop",
  "nft add rule ip flannel-ipv4 postrtg ip saddr 10.9.0.0/16 masquerade",
  "nft add chain ip flannel-ipv4 forward '{ policy drop; }'",
  "nft add chain ip flannel-ipv4 extra",
  "nft add set ip flannel-ipv4 extra '{ type ipv4_addr; }'",
];

const iptablesDamage = (suffix: string): readonly string[] =>
  [
    "iptables -F",
    "iptables -t nat -F",
    "iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X",
    "ip6tables -t nat -F FLANNEL-POSTRTG",
    "iptables -D FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD",
    "iptables -t nat -D FLANNEL-POSTRTG 1",
    "iptables -t nat -D FLANNEL-POSTRTG 5; iptables -t nat -I FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
    "iptables -I FLANNEL-FWD -p tcp --dport 80 -j DROP",
    "iptables -A FLANNEL-FWD -s 10.9.0.0/16 -j ACCEPT",
    "iptables -A FORWARD -j FLANNEL-FWD",
    "iptables -I FORWARD -i eth7 -j FLANNEL-FWD",
    "iptables -t nat -A POSTROUTING -s 10.5.0.0/16 -m comment --comment 'flanneld masq' -j MASQUERADE",
  ].map((script) => script.replace(/\b(ip6?tables)\b/g, `$1${suffix}`));

const DAMAGE: Readonly<Record<VariantName, readonly string[]>> = {
  nftables: NFT_DAMAGE,
  "iptables-nft": [...iptablesDamage("-nft"), "nft flush ruleset"],
  "iptables-legacy": iptablesDamage("-legacy"),
};

for (const { name, options } of VARIANTS) {
  test(`${name}: any foreign change of our rules is repaired, and only that is written (W32)`, async () => {
    await using bed = await FirewallBed.create("host");
    await using firewall = firewallOn(bed, options);
    await firewall.ensure(RULES);
    const right = await dump(bed);
    for (const script of DAMAGE[name]) {
      await bed.host(script);
      assert.notEqual(await dump(bed), right, `this is no damage: ${script}`);
      assert.notDeepEqual(await firewall.ensure(RULES), [], `not noticed: ${script}`);
      assert.deepEqual(sorted(await dump(bed)), sorted(right), `not repaired: ${script}`);
    }
  });

  test(`${name}: W31 a check in sync is one process per family or less, and writes nothing`, async () => {
    await using bed = await FirewallBed.create("host");
    await using firewall = firewallOn(bed, options);
    assert.notDeepEqual(await firewall.ensure(RULES), []);
    bed.exec.commands.length = 0;
    assert.deepEqual(await firewall.ensure(RULES), []);
    const suffix = "iptablesSuffix" in options ? options.iptablesSuffix : "";
    const looks = [`iptables${suffix}-save`, `ip6tables${suffix}-save`];
    const nftLook = ["nft --terse --stateless --handle list ruleset"];
    assert.deepEqual(bed.exec.commands, options.mode === "nftables" ? nftLook : looks);

    await using restarted = firewallOn(bed, options);
    bed.exec.commands.length = 0;
    assert.deepEqual(await restarted.ensure(RULES), [], "a restart finds its rules");
    assert.deepEqual(
      bed.exec.commands.filter((command) => /restore --noflush|-f -/.test(command)),
      [],
    );
  });

  test(`${name}: another network or subnet, or one family less: the stale rules are deleted; foreign rules stay`, async () => {
    await using bed = await FirewallBed.create("host");
    await using firewall = firewallOn(bed, options);
    await bed.host(FOREIGN);
    const foreign = await dump(bed);
    await firewall.ensure(RULES);
    const network = { network: parsePrefix("10.77.0.0/16")!, subnet: parsePrefix("10.77.9.0/24")! };
    await firewall.ensure(firewallRules({ ...INTENT, ipv4: network, ipv6: undefined }));
    const moved = await dump(bed);
    assert.match(moved, /10\.77\.0\.0\/16/);
    assert.doesNotMatch(moved, /10\.5\.0\.0|fd05|flannel-ipv6/);
    await firewall.ensure(NO_RULES);
    assert.deepEqual(sorted(await dump(bed)), sorted(foreign));
  });

  for (const other of VARIANTS.filter((variant) => variant.name !== name)) {
    test(`W35 from ${name} to ${other.name}: nothing stale is left, no foreign rule is changed`, async () => {
      await using bed = await FirewallBed.create("host");
      await bed.host(FOREIGN);
      await using fresh = firewallOn(bed, other.options);
      await fresh.ensure(RULES);
      const expected = await dump(bed);
      await fresh.cleanup({ dryRun: false });

      await using first = firewallOn(bed, options);
      await first.ensure(RULES);
      await using second = firewallOn(bed, other.options);
      await second.ensure(RULES);
      assert.deepEqual(sorted(await dump(bed)), sorted(expected));
      assert.deepEqual(await second.ensure(RULES), []);
    });
  }
}

/** Chains and tables come back in the order they were made in: compare as sets of lines. */
const sorted = (text: string): string[] => text.split("\n").sort();

test("cleanup names all of flanneld's rules in every mode, deletes them, and a dry run does not", async () => {
  await using bed = await FirewallBed.create("host");
  await bed.host(FOREIGN);
  const before = await dump(bed);
  await bed.host("iptables-nft -P FORWARD DROP");
  for (const { options } of VARIANTS.toReversed()) {
    // each leaves its rules: the sweep of the next one is kept from them
    const swept = new Set(["iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft", "nft"]);
    const suffix = "iptablesSuffix" in options ? options.iptablesSuffix : "";
    for (const tool of options.mode === "nftables" ? ["nft"] : [`iptables${suffix}`, `ip6tables${suffix}`])
      swept.delete(tool);
    await using firewall = firewallOn(bed, { ...options, exec: without(bed.exec, swept) });
    await firewall.ensure(RULES);
  }
  // what Go flannel wrote before it had chains of its own
  await bed.host(
    `iptables-nft -t nat -A POSTROUTING -s 10.5.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE`,
  );
  const full = await dump(bed);
  await using firewall = firewallOn(bed, {});
  const planned = await firewall.cleanup({ dryRun: true });
  assert.equal(await dump(bed), full);
  const done = await firewall.cleanup({ dryRun: false });
  assert.deepEqual(done, planned);
  assert.deepEqual(done.problems, []);
  const text = done.objects.join("\n");
  for (const part of [
    /iptables-nft: nat rule -A POSTROUTING -s 10\.5\.0\.0\/16/,
    /ip6tables-legacy: nat chain FLANNEL-POSTRTG/,
    /iptables-legacy: filter rule -A FORWARD .*FLANNEL-FWD/,
    /nftables: nftables table ip flannel-ipv4/,
    /nftables: nftables table ip6 flannel-ipv6/,
  ]) {
    assert.match(text, part);
  }
  await bed.host("iptables-nft -P FORWARD ACCEPT");
  assert.deepEqual(sorted(await dump(bed)), sorted(before));
  assert.deepEqual(await firewall.cleanup({ dryRun: false }), { objects: [], problems: [] });
});

test("W34 nftables mode works on a host without iptables, and deletes stale rules of iptables-nft", async () => {
  await using bed = await FirewallBed.create("host");
  await using before = firewallOn(bed, { mode: "iptables", iptablesSuffix: "-nft" });
  await before.ensure(RULES);
  await using firewall = firewallOn(bed, { exec: withoutIptables(bed.exec) });
  assert.notDeepEqual(await firewall.ensure(RULES), []);
  assert.doesNotMatch(await dump(bed), /FLANNEL-/);
  const cleaned = await firewall.cleanup({ dryRun: false });
  assert.deepEqual(cleaned.problems, []);
  assert.doesNotMatch(await dump(bed), /flannel/i);
});

test("nftables mode: Docker's DROP comes and goes, and with it the accepts in the shared table", async () => {
  await using bed = await FirewallBed.create("host");
  await using firewall = firewallOn(bed, {});
  await firewall.ensure(RULES);
  await bed.host("iptables-nft -P FORWARD DROP");
  assert.notDeepEqual(await firewall.ensure(RULES), []);
  assert.match(await bed.host("iptables-nft-save"), /-A FORWARD .*-j FLANNEL-FWD/);
  assert.deepEqual(await firewall.ensure(RULES), []);
  await bed.host("iptables-nft -F FORWARD");
  assert.notDeepEqual(await firewall.ensure(RULES), []);
  await bed.host("iptables-nft -P FORWARD ACCEPT");
  assert.notDeepEqual(await firewall.ensure(RULES), []);
  assert.doesNotMatch(await bed.host("iptables-nft-save"), /FLANNEL/);
});

test("nftables mode warns of a DROP in the tables of iptables-legacy, which it cannot overrule", async () => {
  await using bed = await FirewallBed.create("host");
  await bed.host("iptables-legacy -P FORWARD DROP");
  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (message) => warnings.push(message) };
  await using firewall = firewallOn(bed, { logger });
  await firewall.ensure(RULES);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /^iptables-legacy drops forwarded packets.*EnableNFTables/);
});

test("a held xtables lock is reported and the next check succeeds", async () => {
  await using bed = await FirewallBed.create("host");
  await using firewall = firewallOn(bed, { mode: "iptables", iptablesSuffix: "-legacy" });
  const holder = spawn("flock", [bed.lockFile, "sh", "-c", "echo held; exec cat"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(holder, "close");
  try {
    await once(holder.stdout, "data");
    await assert.rejects(firewall.ensure(RULES), (error: Error) => {
      assert.ok(hasCode(error, "FIREWALL_LOCKED"));
      assert.match(error.message, /another program has held the xtables lock for 5 s; nothing was changed/);
      return true;
    });
  } finally {
    holder.stdin.end();
    await ended;
  }
  assert.notDeepEqual(await firewall.ensure(RULES), []);
});

test("missing tools are named with what to do", async () => {
  await using bed = await FirewallBed.create("host");
  await using nft = firewallOn(bed, { exec: without(bed.exec, new Set(["nft"])) });
  await assert.rejects(nft.ensure(RULES), /"nft" is not installed .*install the package "nftables"/);
  await using iptables = firewallOn(bed, { mode: "iptables", exec: withoutIptables(bed.exec) });
  await assert.rejects(iptables.ensure(RULES), /"iptables" is not installed .*"EnableNFTables": true/);
  assert.deepEqual(await iptables.ensure(NO_RULES), [], "nothing is needed where nothing is wanted");
});

test("tables that iptables cannot read or extend: nothing is written, and the message says what to do", async () => {
  const cases = [
    {
      chain: "type nat hook postrouting priority 100; ip saddr @s masquerade;",
      said: /cannot read the table “nat”.*EnableNFTables/,
    },
    {
      chain: "type filter hook postrouting priority 7;",
      said: /another program made a chain.*It said: .*CHAIN_ADD failed/s,
    },
  ];
  for (const { chain, said } of cases) {
    await using bed = await FirewallBed.create("host");
    await bed.host(`nft 'table ip nat { set s { type ipv4_addr; }; chain POSTROUTING { ${chain} }; }'`);
    const before = await dump(bed);
    await using firewall = firewallOn(bed, { mode: "iptables", iptablesSuffix: "-nft" });
    await assert.rejects(
      firewall.ensure({ ...RULES, ipv4: { ...RULES.ipv4, forward: [] } }),
      (error: Error) => {
        assert.ok(hasCode(error, "FIREWALL_REFUSED"));
        assert.match(error.message, said);
        return true;
      },
    );
    assert.equal(await dump(bed), before);
  }
});

const without = (exec: FirewallExec, tools: ReadonlySet<string>): FirewallExec => ({
  async run(command, args, stdin) {
    if (tools.has(command.replace(/-(?:save|restore)$/, ""))) {
      throw Object.assign(new Error(`spawn ${command} ENOENT`), { code: "ENOENT" });
    }
    return exec.run(command, args, stdin);
  },
});

const IPTABLES = ["", "-nft", "-legacy"].flatMap((suffix) => [`iptables${suffix}`, `ip6tables${suffix}`]);
const withoutIptables = (exec: FirewallExec): FirewallExec => without(exec, new Set(IPTABLES));
