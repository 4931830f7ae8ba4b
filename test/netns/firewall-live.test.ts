/**
 * The firewall while flanneld runs: foreign changes are noticed and repaired at once, without polling; the mode is
 * changed under traffic. Topology in firewall-bed.ts.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { FlannelError } from "../../src/base/error.ts";
import type { FirewallExec } from "../../src/firewall/firewall-exec.ts";
import { PingStream } from "../support/ping.ts";
import { FirewallBed, RULES } from "./firewall-bed.ts";
import { asLegacy, startKeeper } from "./firewall-keeper-bed.ts";
import { waitFor } from "./support.ts";

/** The bar is 100 ms on a machine of its own; others may be at work on this one. */
const AT_ONCE_MS = 1_000;

const NFTABLES = { mode: "nftables", rules: RULES } as const;
const IPTABLES = { mode: "iptables", rules: RULES } as const;

const TOLD = [
  {
    desired: NFTABLES,
    damage: [
      "nft flush ruleset",
      "nft delete chain ip flannel-ipv4 postrtg",
      "nft flush table ip6 flannel-ipv6",
    ],
    isRight:
      "nft list table ip flannel-ipv4 | grep -q masquerade && nft list table ip6 flannel-ipv6 | grep -q masquerade",
  },
  {
    desired: IPTABLES,
    damage: [
      "iptables-nft -F",
      "iptables-nft -t nat -F",
      "nft flush ruleset",
      "ip6tables-nft -t nat -F POSTROUTING",
    ],
    isRight: `iptables-nft -C FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD &&
      ip6tables-nft -t nat -C POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG &&
      iptables-nft -t nat -S FLANNEL-POSTRTG | grep -q MASQUERADE && iptables-nft -S FLANNEL-FWD | grep -q ACCEPT`,
  },
] as const;

for (const { desired, damage, isRight } of TOLD) {
  const numbers = desired.mode === "nftables" ? "W32" : "W31";
  test(`${numbers} ${desired.mode}: flushed rules are back at once, by the kernel's notification; the ledger names the process`, async () => {
    await using bed = await FirewallBed.create("host");
    await using run = startKeeper(bed);
    await run.holds(desired);
    for (const script of damage) {
      const before = run.drift.entries.length;
      await bed.host(script);
      await waitFor(`repaired: ${script}`, () => run.drift.entries.length > before, AT_ONCE_MS);
      await bed.host(isRight);
      for (const entry of run.drift.entries.slice(before)) {
        assert.equal(entry.kind, "firewall");
        assert.match(entry.by ?? "", /^(?:nft|ip6?tables-nft) \(pid \d+\)$/);
        assert.ok(entry.tookMs < AT_ONCE_MS, `${entry.tookMs} ms`);
      }
    }
    const warnings = run.log.filter((line) => line.startsWith("W"));
    assert.equal(warnings.length, 1, "one line for the burst");
    assert.match(warnings[0]!, /^W Repaired drift in [\d.]+ ms: .*; changed by /);
  });
}

test("W31 nftables mode: foreign changes and our own start no process", async () => {
  await using bed = await FirewallBed.create("host");
  await using run = startKeeper(bed, { resyncMs: 10 });
  await run.holds(NFTABLES);
  bed.exec.commands.length = 0;
  for (let count = 0; count < 3; count++) {
    await bed.host(`
      nft 'table inet theirs { set s { type ipv4_addr; elements = { 10.9.9.9 }; }; chain c { tcp dport 9 drop; }; }'
      iptables-nft -t nat -N KUBE-SERVICES; iptables-nft -t nat -A KUBE-SERVICES -d 10.9.0.1 -j RETURN
      iptables-nft -t nat -F KUBE-SERVICES; iptables-nft -t nat -X KUBE-SERVICES
      nft delete table inet theirs`);
    const before = run.drift.entries.length;
    await bed.host("nft delete table ip flannel-ipv4");
    await waitFor("repaired", () => run.drift.entries.length > before);
  }
  const repair = ["nft --terse --stateless --handle list ruleset", "nft -f -"];
  // Making and removing KUBE-SERVICES may make the table ip nat, which may concern us: one look each time at most.
  const looks = bed.exec.commands.filter((command) => command === repair[0]).length;
  const writes = bed.exec.commands.filter((command) => command === repair[1]).length;
  assert.equal(writes, 3);
  assert.ok(looks >= 3 && looks <= 4, bed.exec.commands.join("\n"));
});

test("W31 iptables-legacy: compared without a process; a change is repaired at the next comparison, in both families", async () => {
  await using bed = await FirewallBed.create("host");
  const resyncMs = 50;
  await using run = startKeeper(bed, { resyncMs, system: { exec: asLegacy(bed.exec) } });
  await run.holds(IPTABLES);
  const rested = async (): Promise<void> => {
    let count = -1;
    let since = 0;
    await waitFor("nothing run during ten comparisons", () => {
      if (bed.exec.commands.length !== count) [count, since] = [bed.exec.commands.length, run.digests()];
      return run.digests() - since > 10;
    });
  };
  await rested();
  for (const script of [
    "iptables-legacy -F",
    "ip6tables-legacy -t nat -F",
    "iptables-legacy -t nat -D FLANNEL-POSTRTG 1",
  ]) {
    const before = run.drift.entries.length;
    await bed.host(script);
    await waitFor(`repaired: ${script}`, () => run.drift.entries.length > before, AT_ONCE_MS);
    await bed.host(`iptables-legacy -C FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD &&
      ip6tables-legacy -t nat -S FLANNEL-POSTRTG | grep -q MASQUERADE &&
      iptables-legacy -t nat -S FLANNEL-POSTRTG 1 | grep -q 0x4000`);
    await rested();
  }
});

test("without notifications every resync is a check", async () => {
  await using bed = await FirewallBed.create("host");
  const openNftNotifications = () => {
    throw new FlannelError("EPROTONOSUPPORT", "socket: EPROTONOSUPPORT");
  };
  await using run = startKeeper(bed, { resyncMs: 20, system: { openNftNotifications } });
  await run.holds(NFTABLES);
  await bed.host("nft flush ruleset");
  await waitFor("repaired", () => run.drift.entries.length > 0, AT_ONCE_MS);
  assert.equal(run.drift.entries[0]!.by, undefined);
});

test("a program that reverts every repair is answered once per second", async () => {
  await using bed = await FirewallBed.create("host");
  await using run = startKeeper(bed);
  await run.holds(NFTABLES);
  bed.exec.commands.length = 0;
  const startedMs = performance.now();
  const loop = "while read -r _; do nft delete table ip flannel-ipv4; done";
  const enemy = spawn("nsenter", [`--net=${bed.path("host")}`, "sh", "-c", `echo ready; ${loop}`], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = once(enemy, "close");
  try {
    await once(enemy.stdout, "data");
    for (let count = 1; count <= 52; count++) {
      enemy.stdin.write("\n");
      await waitFor(`repair ${count}`, () => run.drift.entries.length >= count);
    }
  } finally {
    enemy.stdin.end();
    await ended;
  }
  assert.ok(performance.now() - startedMs > 1_500, "after fifty, one a second");
});

test("the mode is switched under traffic: no packet is lost, every new flow is masqueraded, no stale rule stays (W35)", async () => {
  await using bed = await FirewallBed.create("all");
  await bed.host("iptables-nft -P FORWARD DROP"); // without our accepts nothing is forwarded
  await using run = startKeeper(bed);
  await run.holds(NFTABLES);
  await using overlay = new PingStream(bed.path("c1"), "10.5.2.2");
  await using outward = new PingStream(bed.path("c1"), "192.0.2.2");
  await Promise.all([overlay.more(20), outward.more(20)]);
  let isOver = false;
  const seen = new Map<string, number>();
  const flows = (async () => {
    while (!isOver) {
      // Long enough for a second SYN (RFC 6298: after 1 s): a flow that was not masqueraded stays without an answer.
      const source = await bed.ask("c1", "192.0.2.2", { waitMs: 3500 });
      seen.set(source, (seen.get(source) ?? 0) + 1);
    }
  })();
  for (let turn = 0; turn < 3; turn++) {
    for (const desired of [IPTABLES, NFTABLES]) {
      await run.holds(desired);
      const rules = await bed.host("nft list ruleset");
      if (desired === IPTABLES) assert.doesNotMatch(rules, /flannel-ipv/);
      else assert.doesNotMatch(rules, /FLANNEL-POSTRTG/);
      await Promise.all([overlay.more(10), outward.more(10)]);
    }
  }
  isOver = true;
  await flows;
  for (const stream of [overlay, outward]) assert.deepEqual((await stream.stop()).lost, []);
  assert.deepEqual([...seen.keys()], ["192.0.2.1"]);
  assert.equal(run.drift.entries.length, 0, "a switch is no drift");
});

test("a held xtables lock is reported, and repaired once it is free", async () => {
  await using bed = await FirewallBed.create("host");
  await using run = startKeeper(bed, { resyncMs: 50, system: { exec: asLegacy(bed.exec) } });
  await run.holds(IPTABLES);
  await bed.host("iptables-legacy -t nat -F");
  const holder = spawn("flock", [bed.lockFile, "sh", "-c", "echo held; exec cat"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(holder, "close");
  try {
    await once(holder.stdout, "data");
    run.keeper.setDesired({ ...IPTABLES, rules: { ...RULES, ipv6: { masquerade: [], forward: [] } } });
    await waitFor("the lock is named", () => /xtables lock for 5 s/.test(run.problem()));
  } finally {
    holder.stdin.end();
    await ended;
  }
  await waitFor("all is right", () => run.problem() === "");
  await bed.host(
    "iptables-legacy -t nat -C POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG",
  );
});

test("a missing tool is named, and used once it is installed", async () => {
  await using bed = await FirewallBed.create("host");
  let isInstalled = false;
  const exec: FirewallExec = {
    async run(command, args, stdin) {
      if (isInstalled) return bed.exec.run(command, args, stdin);
      throw Object.assign(new Error(`spawn ${command} ENOENT`), { code: "ENOENT" });
    },
  };
  await using run = startKeeper(bed, { system: { exec } });
  run.keeper.setDesired(NFTABLES);
  await waitFor("it is named", () => /"nft" is not installed/.test(run.problem()));
  isInstalled = true;
  await waitFor("all is right", () => run.problem() === "");
  assert.equal(run.log.filter((line) => line.startsWith("E")).length, 1, "said once");
});

test("a ruleset that the kernel refuses: nft's own message, and no partial change", async () => {
  await using bed = await FirewallBed.create("host");
  await bed.host(`nft 'table ip filter {
    chain FORWARD { type filter hook forward priority 0; policy drop; }
    chain FLANNEL-FWD { type filter hook input priority 0; }; }'`);
  await using run = startKeeper(bed);
  run.keeper.setDesired(NFTABLES);
  await waitFor("it is said", () =>
    /nft failed, nothing was changed.*It said: .*(?:Error|not supported)/s.test(run.problem()),
  );
  assert.doesNotMatch(await bed.host("nft list ruleset"), /flannel-ipv4/);
  await bed.host("nft delete chain ip filter FLANNEL-FWD");
  await waitFor("all is right", () => run.problem() === "");
});
