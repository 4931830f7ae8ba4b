import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { hasCode } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { LeaseAttributes, OwnLease } from "./lease.ts";
import { renewLease, type StoredRecord } from "./renewal.ts";

const attributesOf = (publicIp: string, mac: string): LeaseAttributes => ({
  publicIp: parseIp(publicIp),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: mac },
  backendV6Data: undefined,
});

const BEFORE = attributesOf("192.168.0.1", "02:00:00:00:00:01");
const NOW = attributesOf("192.168.0.1", "02:00:00:00:00:02");
const LEASE: OwnLease = {
  key: "10.5.7.0-24",
  subnets: { ipv4: parsePrefix("10.5.7.0/24"), ipv6: undefined },
  attributes: BEFORE,
  expiresAtMs: 0,
};

/** One record with a version; `renew` is by compare-and-swap, as the datastores' are. */
function store(record: StoredRecord<number> | undefined) {
  const warnings: string[] = [];
  let stored = record;
  const note = (text: string) => void warnings.push(text);
  const logger: Logger = { error: note, warn: note, info: note, debug: note };
  const renewer = {
    read: async () => stored,
    extend: async (version: number) => {
      if (stored?.version !== version) return undefined;
      stored = { version: version + 1, attributes: NOW };
      return stored.version;
    },
  };
  const renew = (held: number | undefined) => renewLease(renewer, held, LEASE, NOW, logger);
  return { warnings, renewer, renew };
}

test("a renewal continues from the last written version, or the one read", async () => {
  const { renew, warnings } = store({ version: 5, attributes: BEFORE });
  assert.equal(await renew(5), 6);
  assert.equal(await renew(undefined), 7);
  assert.deepEqual(warnings, []);
});

test("W6 a renewal whose response was lost is no foreign write", async () => {
  const { renew, warnings } = store({ version: 6, attributes: NOW });
  assert.equal(await renew(5), 7);
  assert.deepEqual(warnings, []);
});

test("a foreign write under the own address is reported and overwritten; an invalid value only overwritten", async () => {
  const another = store({ version: 6, attributes: attributesOf("192.168.0.1", "02:00:00:00:00:77") });
  assert.equal(await another.renew(5), 7);
  assert.match(another.warnings.join(), /10\.5\.7\.0-24 of this host was changed by another/);
  const junk = store({ version: 6, attributes: undefined });
  assert.equal(await junk.renew(5), 7);
  assert.deepEqual(junk.warnings, []);
});

test("W6 another host's record, one that is gone, and one that never holds still are lost leases", async () => {
  const lost = (message: RegExp) => (error: Error) =>
    hasCode(error, "LEASE_LOST") && message.test(error.message);
  const foreign = store({ version: 6, attributes: attributesOf("192.168.0.9", "02:00:00:00:00:09") });
  await assert.rejects(foreign.renew(5), lost(/now belongs to 192\.168\.0\.9/));
  await assert.rejects(store(undefined).renew(5), lost(/is gone/));
  const restless = store({ version: 6, attributes: BEFORE });
  restless.renewer.extend = async () => undefined;
  await assert.rejects(restless.renew(5), lost(/changes faster/));
});
