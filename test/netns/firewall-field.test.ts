/**
 * Firewalls of hosts in the field: ufw, firewalld, Docker, kube-proxy, Calico, operators' own rules.
 * What flanneld can overcome is overcome, the rest is reported with the rule's text. Topology in firewall-bed.ts.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { Firewall, type FirewallOptions } from "../../src/firewall/firewall.ts";
import { FirewallBed, RULES, VARIANTS } from "./firewall-bed.ts";
import { startKeeper } from "./firewall-keeper-bed.ts";
import { waitFor } from "./support.ts";

/** Checks of foreign chains are up to 20 times as far apart as they take, on a machine that others use too. */
const AUDITED_MS = 60_000;

const NFTABLES = { mode: "nftables", rules: RULES } as const;
const IPTABLES = { mode: "iptables", rules: RULES } as const;

/** The iptables that a variant's rules share the FORWARD chain with. */
const iptablesOf = (name: string): string =>
  name === "iptables-legacy" ? "iptables-legacy" : "iptables-nft";

/** FORWARD as "ufw default reject routed; ufw enable" of ufw 0.36.2 leaves it. */
const UFW = `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:ufw-before-logging-forward - [0:0]
:ufw-before-forward - [0:0]
:ufw-after-forward - [0:0]
:ufw-after-logging-forward - [0:0]
:ufw-reject-forward - [0:0]
:ufw-track-forward - [0:0]
:ufw-user-forward - [0:0]
-A FORWARD -j ufw-before-logging-forward
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-after-logging-forward
-A FORWARD -j ufw-reject-forward
-A FORWARD -j ufw-track-forward
-A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
-A ufw-reject-forward -j REJECT --reject-with icmp-port-unreachable
-A ufw-user-forward -p tcp -m tcp --dport 7001 -j DROP
COMMIT
`;

/** Chains that end the walk in other ways; c2 → c1 by TCP must pass all of them. */
const CLOSED: Readonly<Record<string, string>> = {
  "a chain of a chain": `*filter
:FORWARD ACCEPT [0:0]
:one - [0:0]
:two - [0:0]
-A FORWARD -j one
-A one -p tcp -m tcp --dport 22 -j ACCEPT
-A one -j two
-A two -j DROP
COMMIT
`,
  "a goto to the policy": `*filter
:FORWARD DROP [0:0]
:one - [0:0]
-A FORWARD -g one
-A one -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`,
  "a reject for each protocol": `*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p tcp -j REJECT --reject-with tcp-reset
-A FORWARD -j REJECT
COMMIT
`,
  "a drop of new connections": `*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate NEW -j DROP
COMMIT
`,
  "Docker's isolation, then a closing chain": `*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:CLOSE - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker7 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j CLOSE
-A DOCKER-USER -j RETURN
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A CLOSE -j REJECT
COMMIT
`,
};

for (const { name, options } of VARIANTS) {
  test(`F8 ${name}: ufw with forwarding rejected: the network passes, ufw's own rules still decide first`, async () => {
    await using bed = await FirewallBed.create("all");
    await bed.host(`${iptablesOf(name)}-restore <<'END'\n${UFW}END`);
    await using firewall = new Firewall({ ...options, exec: bed.exec, logger: silentLogger });
    assert.equal(await bed.ask("c2", "10.5.1.2", { waitMs: 300 }), "no answer", "rejected without flanneld");
    await firewall.ensure(RULES);
    assert.equal(await bed.ask("c2", "10.5.1.2"), "10.5.2.2");
    assert.equal(await bed.ask("c1", "10.5.2.2"), "10.5.1.2");
    assert.equal(await bed.ask("c2", "10.5.1.2", { port: 7001, waitMs: 300 }), "no answer", "ufw route deny");
    assert.deepEqual(await firewall.ensure(RULES), [], "settled");
    assert.deepEqual(firewall.findings, []);
  });

  test(`F8 ${name}: chains that end the walk in other ways`, async () => {
    await using bed = await FirewallBed.create("all");
    for (const [kind, rules] of Object.entries(CLOSED)) {
      await bed.host(`${iptablesOf(name)}-restore <<'END'\n${rules}END`);
      await using firewall = new Firewall({ ...options, exec: bed.exec, logger: silentLogger });
      await firewall.ensure(RULES);
      assert.equal(await bed.ask("c2", "10.5.1.2"), "10.5.2.2", kind);
      assert.deepEqual(await firewall.ensure(RULES), [], kind);
      assert.deepEqual(firewall.findings, [], kind);
    }
  });
}

test("F8 IPv6: ip6tables' closing chain is passed, too", async () => {
  for (const { name, options } of VARIANTS) {
    await using bed = await FirewallBed.create("all");
    const ip6tables = iptablesOf(name).replace("iptables", "ip6tables");
    await bed.host(
      `${ip6tables} -N close; ${ip6tables} -A close -j REJECT; ${ip6tables} -A FORWARD -j close`,
    );
    await using firewall = new Firewall({ ...options, exec: bed.exec, logger: silentLogger });
    await firewall.ensure(RULES);
    assert.equal(await bed.ask("c2", "fd05:0:1::2"), "fd05:0:2::2", name);
  }
});

for (const desired of [NFTABLES, IPTABLES]) {
  test(`F8 ${desired.mode}: foreign drops come, are reported once as a note, and go`, async () => {
    await using bed = await FirewallBed.create("host");
    await using run = startKeeper(bed);
    await run.holds(desired);
    assert.deepEqual(run.notes(), []);
    for (const { add, remove, expected } of [
      {
        add: "nft 'table inet fw { chain f { type filter hook forward priority 10; policy drop; ct state established accept; }; }'",
        remove: "nft delete table inet fw",
        expected: /table inet fw, chain f \(hook forward, priority .*\(policy drop\)/,
      },
      {
        add: `nft 'table inet fw { chain g { }; chain f { type filter hook prerouting priority -300; jump g; }; }'
          nft add rule inet fw g ip saddr 10.0.0.0/8 drop`,
        remove: "nft flush chain inet fw g",
        expected: /hook prerouting.*rule "ip saddr 10\.0\.0\.0\/8 drop"/,
      },
      {
        add: "nft 'table bridge fw { chain f { type filter hook forward priority 0; policy drop; }; }'",
        remove: "nft add chain bridge fw f '{ policy accept; }'",
        expected: /table bridge fw/,
      },
      {
        add: `nft 'table netdev fw { chain f { type filter hook ingress device "lo" priority 0; policy drop; }; }'
          nft 'table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; reject with icmpx admin-prohibited; }; }'`,
        remove: `nft 'insert rule inet firewalld filter_FORWARD ip saddr 10.5.0.0/16 accept
          insert rule inet firewalld filter_FORWARD ip6 saddr fd05::/32 accept'; nft delete table netdev fw`,
        expected: /firewall-cmd --permanent --zone=trusted/,
      },
      {
        add: "iptables-nft -I FORWARD -d 10.0.0.0/8 -j DROP",
        remove: "iptables-nft -D FORWARD -d 10.0.0.0/8 -j DROP",
        expected: /10\.0\.0\.0\/8/,
      },
    ]) {
      const before = run.log.length;
      await bed.host(add);
      await waitFor(`reported: ${add}`, () => run.notes().some((note) => expected.test(note)), AUDITED_MS);
      assert.equal(run.problem(), "", "not unready");
      await bed.host(remove);
      await waitFor(`gone: ${remove}`, () => !run.notes().some((note) => expected.test(note)), AUDITED_MS);
      const levels = () =>
        run.log
          .slice(before)
          .filter((line) => expected.test(line))
          .map((line) => line[0]);
      await waitFor("logged", () => levels().length >= 2, AUDITED_MS);
      assert.deepEqual(levels(), ["W", "I"], "reported once, and resolved once");
    }
    assert.equal(run.drift.entries.length, 0);
  });
}

test("F8 nftables mode: a drop of iptables-legacy is a note until it is gone", async () => {
  await using bed = await FirewallBed.create("host");
  await bed.host("iptables-legacy -P FORWARD DROP");
  await using run = startKeeper(bed, { resyncMs: 20 });
  await run.holds(NFTABLES);
  await waitFor("noted", () => /iptables-legacy drops forwarded packets/.test(run.notes().join()));
  await bed.host("iptables-legacy -P FORWARD ACCEPT");
  await waitFor("gone", () => run.notes().length === 0);
});

const LISTENER = { protocol: "udp", port: 8472, address: parseIp("192.0.2.1")!, device: "eth0" } as const;

/** INPUT as "ufw default deny incoming; ufw allow 22/tcp; ufw enable" of ufw 0.36.2 leaves it. */
const UFW_INPUT = `*filter
:INPUT DROP [0:0]
:ufw-before-input - [0:0]
:ufw-not-local - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
`;

for (const desired of [NFTABLES, IPTABLES]) {
  for (const iptables of ["iptables-nft", "iptables-legacy"]) {
    test(`F8 ${desired.mode}: ufw (${iptables}) without the tunnel's port is a note until the port is allowed`, async () => {
      await using bed = await FirewallBed.create("host");
      await bed.host(`${iptables}-restore <<'END'\n${UFW_INPUT}END`);
      await using run = startKeeper(bed, { resyncMs: 20 });
      await run.holds({ ...desired, listeners: [LISTENER] });
      await waitFor("noted", () =>
        /UDP port 8472 \(policy drop\); run "ufw allow in 8472\/udp"/.test(run.notes().join()),
      );
      assert.equal(run.problem(), "", "not unready");
      await bed.host(`${iptables} -A ufw-user-input -p udp -m udp --dport 8472 -j ACCEPT`);
      await waitFor("gone", () => run.notes().length === 0, AUDITED_MS);
      await bed.host(`${iptables} -D ufw-user-input -p udp -m udp --dport 8472 -j ACCEPT`);
      if (iptables === "iptables-legacy") return; // noted by the next regular check: its changes are not notified
      await waitFor("noted again", () => run.notes().length === 1, AUDITED_MS);
    });
  }
}

test("F8 a REJECT that is added to ufw's chain later: the jump moves before it", async () => {
  await using bed = await FirewallBed.create("host");
  await bed.host(`iptables-nft-restore <<'END'\n${UFW.replace(/^-A ufw-reject-forward.*\n/m, "")}END`);
  await using run = startKeeper(bed);
  await run.holds(IPTABLES);
  const forward = () => bed.host("iptables-nft -S FORWARD");
  assert.match((await forward()).trim().split("\n").at(-1)!, /FLANNEL-FWD/, "at the end");
  await bed.host("iptables-nft -A ufw-reject-forward -j REJECT");
  await waitFor("moved", async () =>
    /FLANNEL-FWD.*ufw-reject-forward/s.test(await forward()) ? true : undefined,
  );
});

test("F8 many changes of foreign chains cost few checks", async () => {
  await using bed = await FirewallBed.create("host");
  await bed.host(
    "iptables-nft -N KUBE-SERVICES; iptables-nft -A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES",
  );
  await using run = startKeeper(bed);
  await run.holds(NFTABLES);
  bed.exec.commands.length = 0;
  const startedMs = performance.now();
  for (let count = 0; count < 30; count++) {
    await bed.host(
      `iptables-nft -A KUBE-SERVICES -d 10.9.0.${count} -p tcp --dport 80 -j REJECT; iptables-nft -F KUBE-SERVICES`,
    );
  }
  const seconds = (performance.now() - startedMs) / 1000;
  assert.ok(bed.exec.commands.length <= 2 + seconds, `${bed.exec.commands.length} in ${seconds} s`);
});

const firewallOn = (bed: FirewallBed, options: Partial<FirewallOptions>): Firewall =>
  new Firewall({ mode: "nftables", exec: bed.exec, logger: silentLogger, ...options });

test("F8 a drop is logged once, not at every check", async () => {
  await using bed = await FirewallBed.create("host");
  await bed.host("nft 'table inet fw { chain f { type filter hook forward priority 10; policy drop; }; }'");
  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (message) => warnings.push(message) };
  await using firewall = firewallOn(bed, { logger });
  for (let count = 0; count < 3; count++) await firewall.ensure(RULES);
  assert.equal(warnings.length, 1, "one line for both families");
});
