/** The reconciler on a real kernel: what it creates, repairs and removes, and what it never touches. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bed, freshBed, OWN_MAC, peer, type Run } from "./reconciler-bed.ts";
import { waitFor } from "./support.ts";

const PEERS = [peer(2), peer(3), peer(4)];

test("everything is created from nothing, and a second run has nothing to do", async (t) => {
  const bed = freshBed(t);
  {
    await using run = bed.start();
    run.hold(PEERS);
    await bed.holds(PEERS);
    assert.equal(run.operations.length, ALL);
  }
  await bed.holds(PEERS); // and it stays when the daemon goes
  await using again = bed.start();
  again.hold(undefined);
  again.hold(PEERS);
  await again.converged();
  assert.deepEqual(again.operations, []);
  await bed.holds(PEERS);
});

interface Tampering {
  readonly title: string;
  readonly commands: readonly string[];
  /** How many operations the repair takes at most. */
  readonly operations: number;
}

/** Device, its setting, its address; and for each peer FDB entry, neighbour and route. */
const ALL = 3 + 3 * PEERS.length;
const TAMPERINGS: readonly Tampering[] = [
  { title: "W19 a deleted route", commands: ["ip route del 10.5.2.0/24"], operations: 1 },
  {
    title: "W19 a route that was changed",
    commands: ["ip route replace 10.5.2.0/24 dev flannel.1 scope link"],
    operations: 2,
  },
  { title: "W19 a deleted neighbour", commands: ["ip neigh del 10.5.3.0 dev flannel.1"], operations: 1 },
  {
    title: "W19 a neighbour with another MAC",
    commands: ["ip neigh replace 10.5.3.0 lladdr 02:00:00:00:99:99 dev flannel.1 nud permanent"],
    operations: 1,
  },
  {
    title: "W19 a neighbour that may expire",
    commands: ["ip neigh replace 10.5.3.0 lladdr 02:00:00:00:01:03 dev flannel.1 nud reachable"],
    operations: 1,
  },
  {
    title: "W19 a deleted FDB entry",
    commands: ["bridge fdb del 02:00:00:00:01:04 dev flannel.1 dst 192.168.7.4"],
    operations: 1,
  },
  {
    title: "W19 an FDB entry to elsewhere",
    commands: ["bridge fdb replace 02:00:00:00:01:04 dev flannel.1 dst 192.168.7.77 self permanent"],
    operations: 1,
  },
  {
    title: "W19 an FDB entry to another port",
    commands: ["bridge fdb replace 02:00:00:00:01:04 dev flannel.1 dst 192.168.7.4 port 9999 self permanent"],
    operations: 1,
  },
  {
    title: "W19 the deleted address, with which the kernel drops routes and neighbours",
    commands: ["ip address del 10.5.1.0/32 dev flannel.1"],
    operations: 1 + 2 * PEERS.length,
  },
  {
    title: "one address too many",
    commands: ["ip address add 10.5.1.9/32 dev flannel.1"],
    operations: 1,
  },
  { title: "W20 another MTU", commands: ["ip link set flannel.1 mtu 1400"], operations: 1 },
  {
    title: "another MAC",
    commands: ["ip link set flannel.1 address 02:00:00:00:77:77"],
    operations: ALL,
  },
  { title: "a device that is down", commands: ["ip link set flannel.1 down"], operations: ALL },
  { title: "W18 the deleted device", commands: ["ip link del flannel.1"], operations: ALL },
  {
    title: "W18 W26 the device in another make",
    commands: [
      "ip link del flannel.1",
      "ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.7.1 dstport 4789 learning",
      "ip link set flannel.1 up",
    ],
    operations: ALL + 2,
  },
  {
    title: "W18 the device recreated by another program, empty and down",
    commands: [
      "ip link del flannel.1",
      "ip link add flannel.1 address 02:00:00:00:00:01 type vxlan id 1 dev eth0 local 192.168.7.1 dstport 8472 nolearning",
    ],
    operations: ALL + 2,
  },
];

test("drift is repaired from kernel notifications alone", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  for (const { title, commands, operations } of TAMPERINGS) {
    await t.test(title, async () => {
      await settled(bed, run);
      const before = run.operations.length;
      for (const command of commands) shell(bed, command);
      // The kernel makes some of these changes in several steps, so at first the old picture may still be there.
      await waitFor("an operation", () => run.operations.length > before);
      await bed.holds(PEERS);
      await run.converged();
      const made = run.operations.slice(before);
      assert.ok(made.length <= operations, `${made.length} operations:\n${made.join("\n")}`);
    });
  }
});

test("W20 W26 the device follows the config: MTU in place, learning with a new device and all peers", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  run.hold(PEERS, { MTU: 1400 });
  await bed.holds(PEERS, 1350);
  assert.equal(run.operations.length, ALL + 1);
  run.hold(PEERS, { Learning: true });
  await waitFor("a learning device", () => bed.look().some((line) => line.includes("learning true")));
  run.hold(PEERS);
  await bed.holds(PEERS);
});

test("W22 a peer with a new MAC or a new address leaves no stale entry", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  const changed = [peer(2, { mac: "02:00:00:00:02:02" }), peer(3, { publicIp: "192.168.7.33" }), peer(4)];
  run.hold(changed);
  await bed.holds(changed);
  const swapped = [
    peer(2, { mac: "02:00:00:00:01:03" }),
    peer(3, { mac: "02:00:00:00:02:02", publicIp: "192.168.7.2" }),
  ];
  run.hold(swapped);
  await bed.holds(swapped);
});

test("W41 stale objects of an earlier run are removed once the peers are known, and not before", async (t) => {
  const bed = freshBed(t);
  const gone = peer(9);
  {
    await using run = bed.start();
    run.hold([...PEERS, gone]);
    await bed.holds([...PEERS, gone]);
  }
  await using run = bed.start();
  run.hold(undefined);
  await run.converged();
  assert.deepEqual(run.operations, []);
  await bed.holds([...PEERS, gone]);
  run.hold(PEERS);
  await bed.holds(PEERS);
  assert.equal(run.operations.length, 3);
});

test("W41 what Go flannel left is adopted without a new device", async (t) => {
  const bed = freshBed(t);
  // As flannel v0.28 programs it: no protocol given, so the routes are marked “boot”.
  for (const command of [
    `ip link add flannel.1 address ${OWN_MAC} mtu 1450 type vxlan id 1 dev eth0 local 192.168.7.1 dstport 8472 nolearning`,
    "ip address add 10.5.1.0/32 dev flannel.1",
    "ip link set flannel.1 up",
    ...[2, 9].flatMap((number) => [
      `ip neigh add 10.5.${number}.0 lladdr 02:00:00:00:01:0${number} dev flannel.1 nud permanent`,
      `bridge fdb add 02:00:00:00:01:0${number} dev flannel.1 dst 192.168.7.${number} self permanent`,
      `ip route add 10.5.${number}.0/24 via 10.5.${number}.0 dev flannel.1 onlink`,
    ]),
  ]) {
    shell(bed, command);
  }
  const index = bed.json("ip", "-json", "link", "show", "flannel.1")[0].ifindex;
  await using run = bed.start();
  run.hold(undefined);
  run.hold([peer(2), peer(3)]);
  await bed.holds([peer(2), peer(3)]);
  assert.equal(bed.json("ip", "-json", "link", "show", "flannel.1")[0].ifindex, index);
});

test("W41 a stale FDB entry with a port of its own is removed too", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  shell(bed, "bridge fdb add 02:00:00:00:99:99 dev flannel.1 dst 192.168.7.99 port 9999 self permanent");
  await waitFor("an operation", () => run.operations.length > ALL);
  await bed.holds(PEERS);
  await run.converged();
});

test("foreign objects are never touched", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  const foreign = [
    "ip route add 10.5.200.0/24 via 192.168.7.200", // inside the network, but not through our device
    "ip route add 10.6.0.0/24 dev flannel.1 proto static", // through our device, but outside the network
    "ip route add 10.5.2.0/24 via 192.168.7.200 metric 50", // same destination, other metric
    "ip route add 10.5.2.0/24 via 192.168.7.201 tos 0x10", // same destination, other service
    "ip route add 10.5.2.0/24 via 192.168.7.202 table 100",
    "ip route append 10.5.3.0/24 via 192.168.7.203", // same in every part of the key
    "ip route add blackhole 10.5.201.0/24",
    "ip route add unreachable 10.5.2.0/24 metric 4000",
    "ip neigh add 192.168.7.9 lladdr 02:00:00:00:55:55 dev eth0 nud permanent",
    "ip -6 address add fd00:7::1/64 dev eth0 nodad",
    "ip -6 route add fd00:10::/64 via fd00:7::2 dev eth0",
    "bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.7.250",
    "bridge fdb append 01:00:5e:01:01:01 dev flannel.1 dst 192.168.7.251",
    "ip link add other type vxlan id 77 dev eth0 dstport 8472 local 192.168.7.1",
    "bridge fdb add 02:00:00:00:66:66 dev other dst 192.168.7.66",
  ];
  for (const command of foreign) shell(bed, command);
  const all = () =>
    [
      bed.run("ip", "-N", "-4", "route", "show", "table", "all"),
      bed.run("ip", "-N", "-6", "route", "show", "table", "all"),
      bed.run("ip", "-4", "neigh", "show", "nud", "permanent"),
      bed.run("bridge", "fdb", "show"),
      bed.run("ip", "-o", "-4", "address", "show"),
    ].map((text) =>
      text
        .split("\n")
        .filter((line) => !/\bfe80:|\bmulticast ff00:/.test(line)) // come by themselves, once their address is known to be free
        .sort()
        .join("\n"),
    );
  const before = all();

  run.reconciler.resync();
  await settled(bed, run);
  shell(bed, "ip link set flannel.1 mtu 1300"); // work for it, in the midst of all these
  shell(bed, "ip neigh del 10.5.4.0 dev flannel.1");
  await waitFor("the repair", () => bed.look().some((line) => line.startsWith("neighbour 10.5.4.0")));
  await settled(bed, run);
  assert.deepEqual(all(), before);
  run.hold([peer(4)]);
  await waitFor("the peers to go", () => !bed.look().some((line) => line.includes("neighbour 10.5.2.0")));
  await settled(bed, run);
  for (const line of before[0]!.split("\n").filter((text) => !text.includes("proto 70"))) {
    assert.ok(all()[0]!.includes(line), `route gone: ${line}`);
  }
});

test("W23 replacing a route of ours never removes a foreign one with the same destination", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  shell(bed, "ip route prepend 10.5.3.0/24 via 192.168.7.203 proto static"); // now stands before ours
  shell(bed, "ip route del 10.5.3.0/24 proto 70");
  shell(bed, "ip route append 10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink proto boot");
  const routes = () => bed.run("ip", "-N", "route", "show", "10.5.3.0/24");
  await waitFor("our route", () => /dev flannel\.1 proto 70/.test(routes()) && !/proto boot/.test(routes()));
  await settled(bed, run);
  assert.match(routes(), /via 192\.168\.7\.203 dev eth0 proto 4/);
});

test("W23 a foreign device of our name is left alone and reported until it goes", async (t) => {
  const bed = freshBed(t);
  shell(bed, "ip link add flannel.1 type bridge");
  shell(bed, "ip address add 10.5.77.1/24 dev flannel.1");
  shell(bed, "ip link set flannel.1 up");
  shell(bed, "ip neigh add 10.5.77.9 lladdr 02:00:00:00:55:55 dev flannel.1 nud permanent");
  const before = bed.look();
  await using run = bed.start();
  run.hold(undefined); // at the start of the daemon, before the peers are known
  await waitFor("the problem", () => run.reconciler.status.problems.length > 0);
  assert.match(
    run.reconciler.status.problems.join(),
    /flannel\.1 exists and is not flannel's \(it is a bridge device\): remove or rename it/,
  );
  assert.equal(run.log.filter((line) => line.startsWith("E")).length, 1);
  assert.deepEqual(bed.look(), before);
  shell(bed, "ip link del flannel.1");
  await run.converged();
  run.hold(PEERS);
  await bed.holds(PEERS);

  // And while running: a bridge replaces our device.
  shell(
    bed,
    "ip -batch - <<<$'link del flannel.1\nlink add flannel.1 type bridge\naddress add 10.5.77.1/24 dev flannel.1\nlink set flannel.1 up\nroute add 10.5.78.0/24 dev flannel.1'",
  );
  const kept = () => bed.look().flatMap((line) => /^(?:address|route) \S+/.exec(line) ?? []);
  await waitFor(
    "the problem",
    () =>
      bed.look().some((line) => line.startsWith("link bridge")) &&
      run.reconciler.status.problems.some((text) => text.includes("bridge")),
  );
  await idle(bed, run);
  assert.deepEqual(kept(), ["address 10.5.77.1/24", "route 10.5.77.0/24", "route 10.5.78.0/24"]);
  shell(bed, "ip link set flannel.1 down");
  shell(bed, "ip link set flannel.1 name br7");
  await bed.holds(PEERS);
  assert.deepEqual(run.reconciler.status.problems, []);
});

test("a device of ours that was renamed is missed, and recreated once the renamed one is deleted", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  shell(bed, "ip link set flannel.1 down");
  shell(bed, "ip link set flannel.1 name mine");
  await waitFor("the problem", () =>
    run.reconciler.status.problems.some((text) =>
      /another device uses VNI 1 on UDP port 8472 .*remove it, or choose another VNI or Port/.test(text),
    ),
  );
  shell(bed, "ip link del mine");
  await bed.holds(PEERS);
});

test("W24 a failing operation delays no other, is logged once, and succeeds when it can", async (t) => {
  const bed = freshBed(t);
  shell(bed, "ip route add 10.5.3.0/24 via 192.168.7.203 proto static");
  await using run = bed.start();
  run.hold(undefined);
  run.hold(PEERS);
  await waitFor("the others", () => bed.look().filter((line) => line.startsWith("route")).length === 2);
  const complaints = () => run.log.filter((line) => line.startsWith("E"));
  await waitFor("the complaint", () => complaints().length > 0);
  assert.match(
    complaints()[0]!,
    /Failed to create route 10\.5\.3\.0\/24.*a route to 10\.5\.3\.0\/24 that is not flannel's is there.*remove it/,
  );
  assert.match(bed.run("ip", "route", "show", "10.5.3.0/24"), /via 192\.168\.7\.203/);
  shell(bed, "ip route del 10.5.2.0/24"); // repairs go on meanwhile
  await waitFor("the repair", () => bed.look().some((line) => line.startsWith("route 10.5.2.0/24")));
  assert.equal(complaints().length, 1);
  shell(bed, "ip route del 10.5.3.0/24 proto static");
  await bed.holds(PEERS);
  await run.converged();
});

test("W21 lost notifications cause a resync and do not end the watch", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start({ notifications: { receiveBufferBytes: 4096 } });
  run.hold(PEERS);
  await bed.holds(PEERS);
  await settled(bed, run);
  const lost = () => run.log.some((line) => line.includes("notifications were lost"));
  await waitFor("an overrun", () => {
    // Synchronous: nothing is read meanwhile, and the small buffer overflows.
    bed.run("sh", "-c", "seq 1 200 | sed 's|.*|route add 10.9.&.0/24 via 192.168.7.9|' | ip -batch -");
    bed.run("ip", "route", "del", "10.5.2.0/24");
    bed.run("sh", "-c", "seq 1 200 | sed 's|.*|route del 10.9.&.0/24 via 192.168.7.9|' | ip -batch -");
    return true;
  });
  await bed.holds(PEERS);
  assert.ok(lost(), run.log.join("\n"));
  bed.run("ip", "route", "del", "10.5.3.0/24");
  await waitFor("the route", () => bed.look().some((line) => line.startsWith("route 10.5.3.0")));
});

test("foreign changes and our own changes cause no pass", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  await settled(bed, run);
  const { passes } = run.reconciler.status;
  const operations = run.operations.length;
  bed.run("sh", "-c", "seq 1 200 | sed 's|.*|route add 10.9.&.0/24 via 192.168.7.9|' | ip -batch -");
  bed.run("sh", "-c", "seq 1 20 | sed 's|.*|link add v& type veth peer name w&|' | ip -batch -");
  bed.run("sh", "-c", "seq 1 20 | sed 's|.*|link del v&|' | ip -batch -");
  await idle(bed, run);
  // `idle` costs two passes at most: one that repairs what it broke, one more if its notices come in two parts.
  assert.ok(run.reconciler.status.passes - passes <= 3, `${run.reconciler.status.passes - passes} passes`);
  assert.equal(run.operations.length, operations + 1);
});

const shell = (bed: Bed, command: string): string => bed.run("bash", "-c", command);

/** Waits until all notices so far are processed: what is broken now is repaired after them. */
async function idle(bed: Bed, run: Run): Promise<void> {
  const passes = run.reconciler.status.passes;
  if (bed.look().some((line) => line.startsWith("link vxlan"))) {
    bed.run("ip", "neigh", "del", "10.5.4.0", "dev", "flannel.1");
    await waitFor("a repair", () => bed.look().some((line) => line.startsWith("neighbour 10.5.4.0")));
  } else {
    run.reconciler.resync();
    await waitFor("a pass", () => run.reconciler.status.passes > passes);
  }
}

/** Waits for a state without problems in which two looks find the same number of passes. */
async function settled(bed: Bed, run: Run): Promise<void> {
  await run.converged();
  await idle(bed, run);
  await run.converged();
}
