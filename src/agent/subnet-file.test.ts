import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import { formatSubnetEnv, type SubnetEnv } from "../config/subnet-env.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { Readiness } from "./readiness.ts";
import { previousSubnets, SubnetFile } from "./subnet-file.ts";

const PATH = "/run/flannel/subnet.env";
const envOf = (octet: number): SubnetEnv => ({
  network: { ipv4: parsePrefix("10.5.0.0/16"), ipv6: undefined },
  subnets: { ipv4: parsePrefix(`10.5.${octet}.0/24`), ipv6: undefined },
  mtuBytes: 1450,
  ipMasq: true,
});

/** A subnet file on a disk that fails as the test says and can be slow. */
function start(t: TestContext) {
  const timers = new FakeTimers();
  const readiness = new Readiness();
  readiness.set("subnet.env", "pending");
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const written: { path: string; text: string; mode: number }[] = [];
  const disk: { failure: string | undefined; gate: Promise<void> | undefined; attempts: number } = {
    failure: undefined,
    gate: undefined,
    attempts: 0,
  };
  const file = new SubnetFile(PATH, {
    async writeFile(path, text, mode) {
      disk.attempts++;
      await disk.gate;
      if (disk.failure !== undefined) throw new Error(disk.failure);
      written.push({ path, text, mode });
    },
    logger: { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") },
    timers,
    readiness,
  });
  const stop = new AbortController();
  t.after(() => stop.abort());
  const publish = (env: SubnetEnv) => file.publish(env, stop.signal);
  const errors = () => log.filter((line) => line.startsWith("E"));
  return { timers, readiness, log, errors, written, disk, publish, stop };
}

test("what is published is written, logged and ready", async (t) => {
  const { publish, written, log, readiness } = start(t);
  publish(envOf(1));
  await settle();
  assert.deepEqual(written, [{ path: PATH, text: formatSubnetEnv(envOf(1)), mode: 0o644 }]);
  assert.deepEqual(log, [`I Wrote ${PATH}`]);
  assert.deepEqual(readiness.reasons, []);
});

test("F25 a full disk is named once in the log line", async (t) => {
  const { publish, errors, timers, disk } = start(t);
  disk.failure = `failed to write ${PATH}: ENOSPC: no space left on device, write`;
  publish(envOf(1));
  await timers.advance(5_000);
  assert.equal(errors().length, 1);
  assert.deepEqual(errors()[0]!.match(/ENOSPC|\/run\/flannel\/subnet\.env/g), [PATH, "ENOSPC"]);
});

test("a write that fails is retried each second, and each problem is logged once", async (t) => {
  const { publish, written, errors, readiness, timers, disk } = start(t);
  disk.failure = "EROFS: read-only file system";
  publish(envOf(1));
  await timers.advance(5_000);
  assert.equal(disk.attempts, 6);
  disk.failure = "ENOSPC: no space left on device";
  await timers.advance(5_000);
  assert.equal(errors().length, 2);
  assert.match(errors()[0]!, /failed to write \/run\/flannel\/subnet\.env: EROFS.*--subnet-file/);
  assert.match(readiness.reasons.join(), /^subnet\.env: failed to write .*ENOSPC/);
  disk.failure = undefined;
  await timers.advance(1_000);
  assert.equal(written.length, 1);
  assert.deepEqual(readiness.reasons, []);
  await timers.advance(60_000);
  assert.equal(written.length, 1, "nothing is left to write");
});

test("of what is published while a write runs or fails only the latest is written", async (t) => {
  const { publish, written, timers, disk } = start(t);
  const gate = Promise.withResolvers<void>();
  disk.gate = gate.promise;
  publish(envOf(1));
  publish(envOf(2));
  publish(envOf(3));
  await settle();
  assert.equal(disk.attempts, 1, "one write at a time");
  gate.resolve();
  await settle();
  assert.deepEqual(
    written.map(({ text }) => text),
    [formatSubnetEnv(envOf(1)), formatSubnetEnv(envOf(3))],
  );
  disk.failure = "EROFS";
  publish(envOf(4));
  await timers.advance(500);
  publish(envOf(5));
  disk.failure = undefined;
  await timers.advance(1_000);
  assert.equal(written.length, 3);
  assert.equal(written.at(-1)?.text, formatSubnetEnv(envOf(5)));
});

test("a change after a write is written too", async (t) => {
  const { publish, written } = start(t);
  publish(envOf(1));
  await settle();
  publish(envOf(2));
  await settle();
  assert.equal(written.at(-1)?.text, formatSubnetEnv(envOf(2)));
});

test("once aborted nothing is retried or written", async (t) => {
  const { publish, written, timers, disk, stop } = start(t);
  disk.failure = "EROFS";
  publish(envOf(1));
  await settle();
  stop.abort();
  disk.failure = undefined;
  await timers.advance(10_000);
  publish(envOf(2));
  await settle();
  assert.equal(disk.attempts, 1);
  assert.deepEqual(written, []);
});

test("the previous subnets are those of a file for the same networks", () => {
  const network = parseNetworkConfig('{"Network":"10.5.0.0/16"}');
  const dual = parseNetworkConfig(
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","IPv6SubnetLen":64}',
  );
  const text = formatSubnetEnv(envOf(7));
  assert.equal(previousSubnets(undefined, network), undefined);
  assert.deepEqual(previousSubnets(text, network), envOf(7).subnets);
  assert.equal(previousSubnets(text, parseNetworkConfig('{"Network":"10.6.0.0/16"}')), undefined);
  assert.equal(previousSubnets(text, dual), undefined, "it has no IPv6 network");
  const dualEnv = {
    ...envOf(7),
    network: { ...envOf(7).network, ipv6: parsePrefix("fc00::/48") },
    subnets: { ...envOf(7).subnets, ipv6: parsePrefix("fc00:0:0:7::/64") },
  };
  assert.deepEqual(previousSubnets(formatSubnetEnv(dualEnv), dual), dualEnv.subnets);
  assert.equal(previousSubnets(formatSubnetEnv(dualEnv), network), undefined);
});

test("a malformed file gives no subnets of another network", () => {
  const network = parseNetworkConfig('{"Network":"10.5.0.0/16"}');
  assert.equal(previousSubnets("", network), undefined);
  assert.equal(previousSubnets("FLANNEL_NETWORK=junk\nFLANNEL_SUBNET=10.5.7.1/24\n", network), undefined);
  const halfWritten = previousSubnets("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBN", network);
  assert.deepEqual(halfWritten, { ipv4: undefined, ipv6: undefined });
});
