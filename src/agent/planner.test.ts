import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import type { Backend, Host, PeerProblem, PlanInput } from "../backend/backend.ts";
import { parseNetwork } from "../backend/backends.ts";
import { ConfigError } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import type { Lease, OwnLease, SubnetPair } from "../lease/lease.ts";
import type { SharedPublicIp } from "../lease/lease-table.ts";
import type { StateObject } from "../state/objects.ts";
import type { Target } from "../state/target.ts";
import { LINK, ROUTE, stateOf } from "../testing/sample-objects.ts";
import { Planner } from "./planner.ts";

const NETWORK = parseNetwork('{"Network":"10.5.0.0/16"}');
const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1500,
  ipv4: parseIp("192.168.7.1"),
  ipv6: undefined,
  publicIp: parseIp("192.168.7.1"),
  publicIpv6: undefined,
};
const SUBNETS: SubnetPair = { ipv4: parsePrefix("10.5.1.0/24"), ipv6: parsePrefix("fc00:0:0:1::/64") };

const lease = (key: string): Lease => ({
  key,
  subnets: { ipv4: parsePrefix("10.5.2.0/24"), ipv6: undefined },
  attributes: {
    publicIp: parseIp("192.168.7.2"),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: undefined,
    backendV6Data: undefined,
  },
});

/** A backend that plans fixed objects and records what it plans from. */
class RecordingBackend implements Backend {
  readonly type = "recording";
  readonly published = { backendType: "recording", backendData: undefined, backendV6Data: undefined };
  readonly notes = [];
  readonly fixedMembers = {};
  readonly asksForNextHops = false;
  readonly inputs: PlanInput[] = [];
  objects: readonly StateObject[] = [LINK, ROUTE];
  problems: readonly PeerProblem[] = [];
  /** Interfaces that it cannot work on. */
  readonly refused: readonly string[];

  constructor(...refused: readonly string[]) {
    this.refused = refused;
  }

  checkHost({ interfaceName }: Host): void {
    if (this.refused.includes(interfaceName)) throw new ConfigError(`cannot work on ${interfaceName}`);
  }

  mtuBytes({ interfaceMtuBytes }: Host): number {
    return interfaceMtuBytes - 50;
  }

  listeners() {
    return [];
  }

  ownership() {
    return { devices: new Set(["flannel.1"]), networks: [NETWORK.ipv4!.network] };
  }

  plan(input: PlanInput) {
    this.inputs.push(input);
    return { state: stateOf(this.objects), problems: this.problems };
  }
}

function start({ blackholeRoute = false, backend = new RecordingBackend(), host = HOST } = {}) {
  const world: {
    own: OwnLease | undefined;
    peers: readonly Lease[] | undefined;
    sharedIps: readonly SharedPublicIp[];
  } = { own: undefined, peers: undefined, sharedIps: [] };
  const nextHop = () => undefined;
  const targets: Target[] = [];
  const warnings: string[] = [];
  const planner = new Planner(
    { network: NETWORK, backend, host },
    {
      blackholeRoute,
      own: () => world.own,
      peers: () => world.peers,
      sharedIps: () => world.sharedIps,
      nextHop: () => nextHop,
      setTarget: (target) => targets.push(target),
      logger: { ...silentLogger, warn: (message) => warnings.push(message) },
    },
  );
  const acquire = (subnets: SubnetPair) => {
    world.own = { ...lease("own"), subnets, expiresAtMs: undefined };
  };
  return { backend, planner, world, targets, warnings, nextHop, acquire };
}

const blackholesOf = (target: Target): string[] =>
  [...target.state.values()].flatMap((object) =>
    object.kind === "route" && object.type === "blackhole" ? [object.destination] : [],
  );

test("a backend that cannot work on this host is refused", () => {
  assert.throws(() => start({ backend: new RecordingBackend("eth0") }), ConfigError);
});

test("a plan is made from the current host, config, own subnets, peers and next hops", () => {
  const { planner, backend, world, acquire, nextHop, targets } = start();
  planner.replan();
  const peers = [lease("peer")];
  world.peers = peers;
  acquire(SUBNETS);
  planner.replan();
  assert.deepEqual(backend.inputs, [
    { host: HOST, network: NETWORK, own: undefined, peers: undefined, nextHop },
    { host: HOST, network: NETWORK, own: SUBNETS, peers, nextHop },
  ]);
  assert.deepEqual(targets.at(-1)!.ownership, backend.ownership());
  assert.deepEqual([...targets.at(-1)!.state.values()], [LINK, ROUTE]);
});

test("nothing is removed until the peers are known", () => {
  const { planner, world, targets } = start();
  planner.replan();
  world.peers = [];
  planner.replan();
  assert.deepEqual(
    targets.map(({ keepOthers }) => keepOthers),
    [true, false],
  );
});

test("blackhole routes cover the own subnets of both families, once there is a lease", () => {
  const { planner, targets, acquire } = start({ blackholeRoute: true });
  planner.replan();
  acquire(SUBNETS);
  planner.replan();
  acquire({ ...SUBNETS, ipv6: undefined });
  planner.replan();
  assert.deepEqual(targets.map(blackholesOf), [[], ["10.5.1.0/24", "fc00:0:0:1::/64"], ["10.5.1.0/24"]]);
  assert.equal(targets[1]!.state.size, 4, "besides the objects of the backend");
});

test("without --ip-blackhole-route there are none", () => {
  const { planner, targets, acquire } = start();
  acquire(SUBNETS);
  planner.replan();
  assert.deepEqual(targets.map(blackholesOf), [[]]);
});

test("the devices of the latest plan and the MTU for containers can be read", () => {
  const { planner, backend } = start();
  assert.deepEqual(planner.links, []);
  planner.replan();
  assert.deepEqual(planner.links, [LINK]);
  assert.equal(planner.mtuBytes, 1450);
  backend.objects = [ROUTE];
  planner.change({ host: { ...HOST, interfaceMtuBytes: 9000 } });
  assert.deepEqual(planner.links, []);
  assert.equal(planner.mtuBytes, 8950);
});

test("a changed part is planned with at once, and the others stay", () => {
  const { planner, targets } = start();
  const backend = new RecordingBackend();
  const network = parseNetwork('{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0"}');
  planner.change({ network, backend });
  assert.deepEqual(planner.config, { network, backend, host: HOST });
  assert.equal(backend.inputs[0]?.network, network);
  assert.equal(targets.length, 1);
});

test("a host or a backend that does not fit is refused and changes nothing", () => {
  const { planner, targets } = start({ backend: new RecordingBackend("eth1") });
  planner.replan();
  const before = planner.config;
  assert.throws(() => planner.change({ host: { ...HOST, interfaceName: "eth1" } }), /cannot work on eth1/);
  assert.throws(() => planner.change({ backend: new RecordingBackend("eth0") }), /cannot work on eth0/);
  assert.equal(planner.config, before);
  assert.equal(targets.length, 1);
});

test("a peer problem is logged once while it lasts, and again when it returns", () => {
  const { planner, backend, warnings } = start();
  const problem = { key: "10.5.2.0-24", message: "it has no VtepMAC" };
  for (const problems of [[problem], [problem], [], [problem]]) {
    backend.problems = problems;
    planner.replan();
  }
  const line = "Peer 10.5.2.0-24 cannot be reached: it has no VtepMAC";
  assert.deepEqual(warnings, [line, line]);
});

test("of many new peer problems ten are named and the others counted", () => {
  const { planner, backend, warnings } = start();
  backend.problems = Array.from({ length: 12 }, (_, index) => ({ key: `peer-${index}`, message: "no MAC" }));
  planner.replan();
  assert.equal(warnings.length, 11);
  assert.equal(warnings.at(-1), "2 more peers cannot be reached");
});

test("F4 peers that share a public IP stay programmed and are reported so, unless the backend reported them already", () => {
  const { planner, backend, world, warnings } = start();
  world.sharedIps = [{ ip: parseIp("192.168.7.2")!, leases: [lease("a"), lease("b"), lease("c")] }];
  backend.problems = [{ key: "b", message: "no MAC" }];
  planner.replan();
  assert.deepEqual(
    warnings.map((line) => line.split(",")[0]),
    [
      "Peer b cannot be reached: no MAC",
      "Peer c may be unreachable: its public IP 192.168.7.2 is also that of a",
    ],
  );
});
