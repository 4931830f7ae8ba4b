/**
 * Several networks on one host: two daemons, ours or Go flannel's beside ours, keep their rules apart in every mode.
 * One namespace per case, no packets.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../src/address/prefix.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { Firewall, type FirewallOptions } from "../../src/firewall/firewall.ts";
import { firewallRules } from "../../src/firewall/rules.ts";
import { FirewallBed, INTENT, RULES, VARIANTS } from "./firewall-bed.ts";
import { startKeeper } from "./firewall-keeper-bed.ts";
import { waitFor } from "./support.ts";

const NFTABLES = { mode: "nftables", rules: RULES } as const;
const IPTABLES = { mode: "iptables", rules: RULES } as const;

const OTHER = firewallRules({
  ...INTENT,
  ipv4: { network: parsePrefix("10.6.0.0/16")!, subnet: parsePrefix("10.6.1.0/24")! },
  ipv6: { network: parsePrefix("fd06::/32")!, subnet: parsePrefix("fd06:0:1::/64")! },
});

/** Everything of flannel's in the kernel. */
const flannelRules = async (bed: FirewallBed): Promise<string> =>
  (
    await bed.host(
      "nft -s list ruleset; iptables-nft-save; ip6tables-nft-save; iptables-legacy-save; ip6tables-legacy-save",
    )
  )
    .split("\n")
    .filter((line) => /flannel|masquerade/i.test(line))
    .join("\n");

const firewallOn = (bed: FirewallBed, options: Partial<FirewallOptions>): Firewall =>
  new Firewall({ mode: "nftables", exec: bed.exec, logger: silentLogger, ...options });

for (const first of VARIANTS) {
  for (const second of VARIANTS) {
    test(`F3 two networks, ${first.name} and ${second.name}: both keep their rules, over restarts, and cleanup finds all`, async () => {
      await using bed = await FirewallBed.create("host");
      const one = () => firewallOn(bed, first.options);
      const two = () => firewallOn(bed, second.options);
      await one().ensure(RULES);
      await two().ensure(OTHER);
      const both = await flannelRules(bed);
      for (const prefix of ["10.5.0.0/16", "10.6.0.0/16", "fd05::/32", "fd06::/32"])
        assert.ok(both.includes(prefix), `${prefix} in\n${both}`);
      for (const start of [one, two, two, one]) {
        const isOne = start === one;
        assert.deepEqual(await start().ensure(isOne ? RULES : OTHER), [], isOne ? "first" : "second");
      }
      assert.equal(await flannelRules(bed), both);
      const { problems } = await firewallOn(bed, {}).cleanup({ dryRun: false });
      assert.deepEqual(problems, []);
      assert.equal(await flannelRules(bed), "");
    });
  }
}

test("F3 a network that is given up goes, the other one stays; a former network is replaced after a restart", async () => {
  for (const { name, options } of VARIANTS) {
    await using bed = await FirewallBed.create("host");
    await firewallOn(bed, options).ensure(RULES);
    await using second = firewallOn(bed, options);
    await second.ensure(OTHER);
    await second.ensure(firewallRules({ ...INTENT, ipv4: undefined, ipv6: undefined }));
    const left = await flannelRules(bed);
    assert.ok(left.includes("10.5.0.0/16") && !/10\.6\.|fd06/.test(left), `${name}:\n${left}`);
    const formerNetworks = [parsePrefix("10.5.0.0/16")!, parsePrefix("fd05::/32")!];
    await firewallOn(bed, { ...options, formerNetworks }).ensure(OTHER);
    const changed = await flannelRules(bed);
    assert.ok(changed.includes("10.6.0.0/16") && !/10\.5\.|fd05/.test(changed), `${name}:\n${changed}`);
    assert.doesNotMatch(changed, /FLANNEL-[A-Z]+-|flannel-ipv[46]-/, "the traditional names");
  }
});

test("F3 beside Go flannel's daemon of another network: its rules stay, also those that it adds to our chains", async () => {
  await using bed = await FirewallBed.create("host");
  const goForward = `iptables-nft -A FLANNEL-FWD -s 10.6.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
    iptables-nft -A FLANNEL-FWD -d 10.6.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
    iptables-nft -t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
    iptables-nft -t nat -A FLANNEL-POSTRTG -s 10.6.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
    iptables-nft -t nat -A POSTROUTING -s 10.6.0.0/16 -d 10.6.0.0/16 -m comment --comment "flanneld masq" -j RETURN`;
  await using firewall = firewallOn(bed, { mode: "iptables", iptablesSuffix: "-nft" });
  await firewall.ensure(RULES);
  await bed.host(goForward);
  assert.deepEqual(await firewall.ensure(RULES), []);
  await bed.host("iptables-nft -D FLANNEL-FWD 1; iptables-nft -t nat -D FLANNEL-POSTRTG 2");
  assert.equal((await firewall.ensure(RULES)).length, 2);
  const rules = await flannelRules(bed);
  assert.equal(rules.match(/-A FLANNEL-FWD -[sd] 10\.6\.0\.0\/16/g)?.length, 2, rules);
  assert.match(rules, /-A FLANNEL-POSTRTG -s 10\.6\.0\.0\/16/);
  assert.match(rules, /-A POSTROUTING -s 10\.6\.0\.0\/16/);
  assert.deepEqual(await firewall.ensure(RULES), []);
});

test("F3 two keepers at once: no repairs of each other's rules", async () => {
  for (const desired of [NFTABLES, IPTABLES]) {
    await using bed = await FirewallBed.create("host");
    await using one = startKeeper(bed);
    await using two = startKeeper(bed);
    await Promise.all([one.holds(desired), two.holds({ ...desired, rules: OTHER })]);
    const rules = () => flannelRules(bed);
    await waitFor("both", async () => {
      const text = await rules();
      return ["10.5.0.0/16", "10.6.0.0/16"].every((prefix) => text.includes(prefix)) ? true : undefined;
    });
    bed.exec.commands.length = 0;
    await bed.host("nft flush ruleset");
    await waitFor("both again", async () => {
      const text = await rules();
      return ["10.5.0.0/16", "10.6.0.0/16"].every((prefix) => text.includes(prefix)) ? true : undefined;
    });
    const writes = () => bed.exec.commands.filter((line) => /restore|-f -/.test(line)).length;
    let last = -1;
    let since = performance.now();
    await waitFor("quiet for a second", () => {
      if (writes() !== last) [last, since] = [writes(), performance.now()];
      return performance.now() - since > 1_000;
    });
    assert.ok(last <= 12, `${last} writes`);
  }
});
