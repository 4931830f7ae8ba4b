/**
 * The firewall's rules by their effect: packets are sent, and the receiver reports the source that it sees. The same cases
 * for nftables and both variants of iptables, and for both families; topology in firewall-bed.ts.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../src/base/logger.ts";
import { Firewall } from "../../src/firewall/firewall.ts";
import { FirewallBed, RULES, VARIANTS } from "./firewall-bed.ts";
import { waitFor } from "./support.ts";

const FAMILIES = [
  {
    name: "IPv4",
    ...{ c1: "10.5.1.2", c2: "10.5.2.2", outside: "192.0.2.2" },
    ...{ node: "192.0.2.1", vtep: "10.5.1.0", bridge: "10.5.1.1" },
    multicast: { group: "239.5.5.5", member: "192.0.2.2", device: "192.0.2.1" },
  },
  {
    name: "IPv6",
    ...{ c1: "fd05:0:1::2", c2: "fd05:0:2::2", outside: "2001:db8::2" },
    ...{ node: "2001:db8::1", vtep: "fd05:0:1::", bridge: "fd05:0:1::1" },
    multicast: { group: "ff05::5555", member: "::%eth0", device: "::%eth0" },
  },
] as const;

/** The test's own mark on one port, in a table that no mode touches. */
const MARK_PORT_7001 = `nft 'table inet testmark { chain early {
  type filter hook prerouting priority -150; tcp dport 7001 meta mark set 0x4000; }; }'`;

/** What Docker does; in the variant of iptables that the rules are in, or share with nftables. */
const dockerDrop = (name: string): string => {
  const suffix = name === "iptables-legacy" ? "-legacy" : "-nft";
  return `iptables${suffix} -P FORWARD DROP; ip6tables${suffix} -P FORWARD DROP`;
};

for (const { name, options } of VARIANTS) {
  test(`${name}: source addresses that receivers see (W33: host to network is masqueraded)`, async () => {
    await using bed = await FirewallBed.create("all");
    await bed.host(MARK_PORT_7001);
    await bed.host(dockerDrop(name));
    await using firewall = new Firewall({ ...options, exec: bed.exec, logger: silentLogger });
    for (const family of FAMILIES) {
      const before = await bed.ask("c1", family.c2, { waitMs: 300 });
      assert.equal(
        before,
        "no answer",
        `${family.name}: Docker's FORWARD policy stops the network without us`,
      );
    }

    await firewall.ensure(RULES);

    for (const { name, c1, c2, outside, node, vtep, bridge, multicast } of FAMILIES) {
      assert.equal(await bed.ask("c1", c2), c1, `${name}: container → container of another host`);
      assert.equal(await bed.ask("c2", c1), c2, `${name}: and the other way`);
      assert.equal(await bed.ask("c1", outside), node, `${name}: container → outside has the node's address`);
      assert.equal(
        await bed.ask("c1", outside, { port: 7001 }),
        c1,
        `${name}: marked packets are left alone`,
      );
      assert.equal(await bed.ask("outside", c1), outside, `${name}: outside → container keeps its address`);
      assert.equal(
        await bed.ask("host", c2, { from: node }),
        vtep,
        `${name}: host → container of another host`,
      );
      assert.equal(await bed.ask("host", c1), bridge, `${name}: host → own container`);
      assert.equal(await bed.ask("host", outside), node, `${name}: host → outside`);

      const heard = bed.tell("outside", { op: "join", group: multicast.group, local: multicast.member });
      let sender: string | undefined;
      void heard.then((address) => {
        sender = address;
      });
      await waitFor(`${name}: multicast heard outside`, async () => {
        await bed.tell("host", {
          op: "send",
          group: multicast.group,
          from: bridge,
          device: multicast.device,
        });
        return sender;
      });
      assert.equal(sender, bridge, `${name}: multicast from the network is not masqueraded`);
    }
  });
}

test("without --ip-masq nothing is masqueraded; without forward rules nothing is accepted", async () => {
  await using bed = await FirewallBed.create("all");
  await using firewall = new Firewall({ mode: "nftables", exec: bed.exec, logger: silentLogger });
  const none = { masquerade: [], forward: [] };
  await firewall.ensure({ ipv4: { ...RULES.ipv4, masquerade: [] }, ipv6: none });
  assert.equal(await bed.ask("c1", "192.0.2.2"), "10.5.1.2");
  await bed.host(dockerDrop("iptables-nft"));
  await firewall.ensure({ ipv4: { ...RULES.ipv4, forward: [] }, ipv6: none });
  assert.equal(await bed.ask("c1", "192.0.2.2", { waitMs: 300 }), "no answer");
});

test("a closing REJECT and the chain of Docker ≥ 28 do not stop the network; a specific DROP still drops", async () => {
  for (const { name, options } of VARIANTS) {
    await using bed = await FirewallBed.create("all");
    await using firewall = new Firewall({ ...options, exec: bed.exec, logger: silentLogger });
    const iptables = name === "iptables-legacy" ? "iptables-legacy" : "iptables-nft";
    await bed.host(`set -e
      ${iptables} -N DOCKER-USER; ${iptables} -N DOCKER-FORWARD
      ${iptables} -A FORWARD -j DOCKER-USER
      ${iptables} -A DOCKER-USER -p tcp --dport 7001 -j DROP
      ${iptables} -A FORWARD -j DOCKER-FORWARD
      ${iptables} -A DOCKER-FORWARD ! -i cni0 -o cni0 -j DROP
      ${iptables} -A FORWARD -j REJECT`);
    await firewall.ensure(RULES);
    assert.equal(await bed.ask("c2", "10.5.1.2"), "10.5.2.2", name);
    assert.equal(await bed.ask("c2", "10.5.1.2", { port: 7001, waitMs: 300 }), "no answer", name);
    assert.deepEqual(await firewall.ensure(RULES), [], `${name}: settled`);
  }
});
