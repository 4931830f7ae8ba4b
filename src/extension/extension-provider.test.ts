import assert from "node:assert/strict";
import { test } from "node:test";
import { FlannelError } from "../base/error.ts";
import type { ExtensionPeer, ExtensionStartup, StateObject } from "../state/objects.ts";
import { Reconciler } from "../state/reconciler.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { stateOf } from "../testing/sample-objects.ts";
import { ExtensionProvider } from "./extension-provider.ts";
import { formatRecord, parseRecord } from "./extension-record.ts";
import type { ShellCommand } from "./shell.ts";

const STARTUP: ExtensionStartup = {
  ...{ kind: "extension-startup", command: "post", network: "10.5.0.0/16", subnet: "10.5.1.0/24" },
  ...{ ipv6Subnet: "", publicIp: "192.168.7.1", publicIpv6: "" },
};

const peer = (number: number, changes: Partial<ExtensionPeer> = {}): ExtensionPeer => ({
  ...{ kind: "extension-peer", subnet: `10.5.${number}.0/24`, publicIp: `192.168.7.${number}` },
  ...{ ipv6Subnet: "", publicIpv6: "", data: "", addCommand: "add", removeCommand: "remove" },
  ...{ isCurrent: true, ...changes },
});

/** A reconciler over the provider, with commands that end when the test says so. */
function setUp(t: { after(clean: () => void): void }, record?: string) {
  const timers = new FakeTimers();
  const log: string[] = [];
  const note = (message: string) => void log.push(message);
  const bed = {
    timers,
    log,
    record,
    /** What ran, as "add 10.5.2.0/24". */
    ran: [] as string[],
    calls: [] as ShellCommand[],
    /** Answers a command; undefined = it succeeds at once. */
    answer: (_call: string): Promise<string> | undefined => undefined,
  };
  const provider = new ExtensionProvider({
    async run(command) {
      const call = `${command.text} ${command.environment.SUBNET}`;
      bed.ran.push(call);
      bed.calls.push(command);
      return (await bed.answer(call)) ?? "";
    },
    readRecord: () => bed.record,
    writeRecord: async (text) => {
      bed.record = text;
    },
    logger: { info: note, warn: note, error: note, debug() {} },
    timers,
  });
  const reconciler = new Reconciler({
    ...{ providers: [provider], timers, resyncIntervalMs: 60_000, onRepair() {} },
    logger: { info: note, warn: note, error: note, debug() {} },
  });
  const stop = new AbortController();
  const running = reconciler.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
  });
  const program = async (objects: readonly StateObject[], keepOthers = false) => {
    reconciler.setTarget({
      state: stateOf(objects),
      ownership: { devices: new Set(), networks: [] },
      keepOthers,
    });
    await settle(20);
  };
  const takeRan = () => bed.ran.splice(0);
  return { bed, provider, reconciler, program, takeRan };
}

const fails = (text: string) => Promise.reject(new FlannelError("EXIT", text));

test("startup first, then the peers; one that leaves is removed, one that changes removed and added", async (t) => {
  const { bed, reconciler, program, takeRan } = setUp(t);
  await program([STARTUP, peer(2, { data: "hello" }), peer(3)]);
  assert.deepEqual(takeRan(), ["post 10.5.1.0/24", "add 10.5.2.0/24", "add 10.5.3.0/24"]);
  assert.equal(reconciler.status.converged, true);
  assert.deepEqual(bed.calls[1], {
    text: "add",
    input: "hello\n",
    environment: { SUBNET: "10.5.2.0/24", IPV6SUBNET: "", PUBLIC_IP: "192.168.7.2", PUBLIC_IPV6: "" },
  });
  assert.deepEqual(bed.calls[0]!.environment, {
    ...{ NETWORK: "10.5.0.0/16", SUBNET: "10.5.1.0/24", IPV6SUBNET: "" },
    ...{ PUBLIC_IP: "192.168.7.1", PUBLIC_IPV6: "" },
  });
  await program([STARTUP, peer(2, { data: "other" })]);
  assert.deepEqual(takeRan().sort(), ["add 10.5.2.0/24", "remove 10.5.2.0/24", "remove 10.5.3.0/24"]);
  await program([STARTUP, peer(2, { data: "other", removeCommand: "undo" })]);
  assert.deepEqual(takeRan(), [], "another SubnetRemoveCommand disturbs no peer");
  await program([STARTUP]);
  assert.deepEqual(takeRan(), ["undo 10.5.2.0/24"]);
});

test("a failed command is run again at growing intervals, and the others are not kept waiting", async (t) => {
  const { bed, reconciler, program, takeRan } = setUp(t);
  bed.answer = (call) => (call === "add 10.5.2.0/24" ? fails("exit code 3: no such device") : undefined);
  await program([peer(2), peer(3)]);
  assert.deepEqual(takeRan(), ["add 10.5.2.0/24", "add 10.5.3.0/24", "add 10.5.2.0/24"], "again at once");
  const runsWithin = async (ms: number) => {
    await bed.timers.advance(ms);
    return takeRan().length;
  };
  assert.ok((await runsWithin(1_000)) >= 3);
  assert.ok((await runsWithin(60_000)) <= 10, "pauses grow to 30 s");
  assert.equal(
    bed.log.filter((line) => /SubnetAddCommand: exit code 3: no such device$/.test(line)).length,
    1,
    "logged once",
  );
  assert.match(reconciler.status.problems.join(), /10\.5\.2\.0\/24.*exit code 3/);
  bed.answer = () => undefined;
  await bed.timers.advance(30_000);
  assert.equal(reconciler.status.converged, true);
});

test("a command that hangs keeps no other peer waiting, and its end is noticed", async (t) => {
  const { bed, reconciler, program, takeRan } = setUp(t);
  const hanging = Promise.withResolvers<string>();
  bed.answer = (call) => (call === "add 10.5.2.0/24" ? hanging.promise : undefined);
  await program([peer(2)]);
  await bed.timers.advance(1_100);
  await program([peer(2), peer(3)]);
  assert.deepEqual(takeRan(), ["add 10.5.2.0/24", "add 10.5.3.0/24"]);
  assert.match(reconciler.status.problems.join(), /10\.5\.2\.0\/24.*still running/);
  await bed.timers.advance(60_000);
  assert.deepEqual(takeRan(), [], "it is not started twice");
  hanging.resolve("");
  await settle(20);
  assert.equal(reconciler.status.converged, true);
  assert.ok(!bed.log.some((line) => line.includes("still running")), "and it was no error");
});

test("a background command that fails is an error like any other", async (t) => {
  const { bed, reconciler, program } = setUp(t);
  const hanging = Promise.withResolvers<string>();
  bed.answer = () => hanging.promise;
  await program([peer(2)]);
  await bed.timers.advance(1_100);
  bed.answer = () => fails("exit code 1");
  hanging.reject(new FlannelError("ETIMEDOUT", "killed after 60 s"));
  await bed.timers.advance(5_000);
  assert.match(reconciler.status.problems.join(), /exit code 1/);
  assert.match(bed.log.join("\n"), /SubnetAddCommand: (?:killed|exit)/);
});

test("peers wait until PostStartupCommand has succeeded, without a line for each of them", async (t) => {
  const { bed, reconciler, program, takeRan } = setUp(t);
  bed.answer = (call) => (call.startsWith("post") ? fails("exit code 1: no device") : undefined);
  await program([STARTUP, peer(2), peer(3)]);
  await bed.timers.advance(10_000);
  assert.ok(takeRan().every((call) => call.startsWith("post")));
  assert.equal(bed.log.length, 1);
  assert.match(
    bed.log[0]!,
    /Failed to create extension startup .*PostStartupCommand: exit code 1: no device/,
  );
  bed.answer = () => undefined;
  await bed.timers.advance(30_000);
  assert.equal(reconciler.status.converged, true);
  assert.deepEqual(
    takeRan()
      .filter((call) => !call.startsWith("post"))
      .sort(),
    ["add 10.5.2.0/24", "add 10.5.3.0/24"],
  );
});

test("a restart runs everything again, and removes the peers that left meanwhile", async (t) => {
  const record = formatRecord([peer(2), peer(3), peer(4)]);
  const { bed, program, takeRan } = setUp(t, record);
  await program([STARTUP], true);
  assert.deepEqual(takeRan(), ["post 10.5.1.0/24"], "the peers are not known yet");
  await program([STARTUP, peer(2), peer(4, { publicIp: "192.168.7.9" })]);
  assert.deepEqual(takeRan().sort(), [
    ...["add 10.5.2.0/24", "add 10.5.4.0/24", "remove 10.5.3.0/24", "remove 10.5.4.0/24"],
  ]);
  assert.deepEqual(
    parseRecord(bed.record!)?.map(({ subnet, publicIp }) => `${subnet} ${publicIp}`),
    ["10.5.2.0/24 192.168.7.2", "10.5.4.0/24 192.168.7.9"],
  );
});

test("a command that flanneld did not see the end of is in the record", async (t) => {
  const { bed, program } = setUp(t);
  bed.answer = () => new Promise(() => {});
  await program([peer(2)]);
  await bed.timers.advance(1_100);
  assert.deepEqual(
    parseRecord(bed.record!)?.map(({ subnet }) => subnet),
    ["10.5.2.0/24"],
  );
});

test("SubnetRemoveCommand is given up after ten failures", async (t) => {
  const { bed, reconciler, program, takeRan } = setUp(t);
  await program([peer(2)]);
  bed.answer = () => fails("exit code 2: No such process");
  takeRan();
  await program([]);
  await bed.timers.advance(120_000);
  assert.equal(takeRan().length, 10);
  assert.equal(reconciler.status.converged, true);
  assert.match(bed.log.at(-1)!, /Failed 10 times to remove .*10\.5\.2\.0\/24.*giving up.*No such process/);
});

test("a thousand peers run four commands at a time", async (t) => {
  const { bed, reconciler, program } = setUp(t);
  let running = 0;
  let most = 0;
  bed.answer = async () => {
    most = Math.max(most, ++running);
    await new Promise(setImmediate);
    running--;
    return "";
  };
  await program(
    Array.from({ length: 1000 }, (_, index) =>
      peer(2, { subnet: `10.${5 + (index >> 8)}.${index & 255}.0/24` }),
    ),
  );
  while (!reconciler.status.converged) await settle();
  assert.equal(most, 4);
  assert.equal(bed.ran.length, 1000);
});

test("a record that something else wrote removes nothing, and is reported", async (t) => {
  for (const junk of [
    ...["", "{", "null", "[]", '{"peers":7}', '{"peers":[{}]}', '{"peers":[null]}'],
    formatRecord([peer(2, { subnet: "everything" })]),
    formatRecord([peer(2)]).replace('"remove"', "7"),
  ]) {
    const { bed, program, takeRan } = setUp(t, junk);
    await program([]);
    assert.deepEqual(takeRan(), [], junk);
    assert.match(bed.log.join(), /record of extension commands is malformed/, junk);
  }
});
