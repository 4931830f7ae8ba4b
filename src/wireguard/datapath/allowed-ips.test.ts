import assert from "node:assert/strict";
import { test } from "node:test";
import { type Family, type Ip, ipToBytes } from "../../address/ip.ts";
import { containsIp, type Prefix, prefixOf } from "../../address/prefix.ts";
import { createPacketMemory } from "../../packet/packet-memory.ts";
import { Chance } from "../../testing/random-packets.ts";
import { AllowedIps } from "./allowed-ips.ts";

test("the longest prefix counts, as in a search through all of them", () => {
  const memory = createPacketMemory(4096);
  const chance = new Chance(11);
  const address = (family: Family): Ip => ({
    family,
    // Few different bits, so that prefixes are inside each other.
    value: BigInt(chance.below(16)) << BigInt(chance.below(family === 4 ? 28 : 124)),
  });
  for (const family of [4, 6] as const) {
    const allowedIps = new AllowedIps();
    const all = new Map<string, { prefix: Prefix; slot: number }>();
    for (let round = 0; round < 300; round++) {
      const slot = chance.below(20);
      const prefixes = Array.from({ length: chance.below(4) }, () =>
        prefixOf(address(family), chance.below(family === 4 ? 33 : 129)),
      );
      allowedIps.set(slot, prefixes);
      for (const [key, entry] of all) if (entry.slot === slot) all.delete(key);
      for (const prefix of prefixes) all.set(`${prefix.base}/${prefix.length}`, { prefix, slot });
      for (let times = 0; times < 30; times++) {
        const ip = address(family);
        const best = [...all.values()]
          .filter(({ prefix }) => containsIp(prefix, ip))
          .sort((a, b) => b.prefix.length - a.prefix.length)[0];
        memory.bytes.set(ipToBytes(ip), 64);
        const found = family === 4 ? allowedIps.lookUp4(memory, 64) : allowedIps.lookUp6(memory, 64);
        assert.equal(found, best?.slot ?? -1);
      }
    }
  }
});
