/**
 * Connections that exist when a policy changes, in a real kernel: those that it forbids are cut in both directions, the others,
 * and replies, go on.
 *
 *      test ──── in ──▶ node (forwards, our table) ──▶ out ──── test
 */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { silentLogger } from "../../src/base/logger.ts";
import { trackedConnections } from "../../src/linux/tracked-connections.ts";
import { PolicyCompiler } from "../../src/policy/compile.ts";
import type { DesiredFilter } from "../../src/policy/model.ts";
import { PolicyFilter } from "../../src/policy/policy-filter.ts";
import type { OraclePolicy } from "../../src/testing/policy-oracle.ts";
import { inputOf } from "../../src/testing/random-policies.ts";
import { ACK, digest, PolicyBed, SYN, type TestPacket } from "./policy-bed.ts";

const CLIENT = "10.9.0.1";
const SERVER = "10.9.0.2";

/** The client, and a server of this node, in one namespace. */
function filterOf(...policies: OraclePolicy["spec"][]) {
  const pod = (name: string, ...ips: string[]) => ({
    metadata: { namespace: "shop", name, uid: name, labels: { app: name } },
    spec: { nodeName: name === "client" ? "there" : "here", containers: [{ ports: [] }] },
    status: { phase: "Running", podIPs: ips.map((ip) => ({ ip })) },
  });
  return new PolicyCompiler(digest).compile(
    inputOf({
      nodeName: "here",
      namespaces: [{ metadata: { name: "shop", labels: {} } }],
      pods: [pod("client", CLIENT, "fd09::1"), pod("server", SERVER, "fd09::2")],
      policies: policies.map((spec, index) => ({ metadata: { namespace: "shop", name: `p${index}` }, spec })),
    }),
  );
}
const ALLOW = filterOf({ podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] });
const DENY = filterOf({ podSelector: {}, ingress: [] });
const OPEN = filterOf();

function start(t: TestContext) {
  const bed = new PolicyBed(t);
  const connections = trackedConnections({ netns: bed.netns.path });
  const policies = new PolicyFilter({ exec: bed.exec, logger: silentLogger, digest, connections });
  const send = (...packets: TestPacket[]) => bed.send(packets);
  const apply = (filter: DesiredFilter) => applyTo(policies, filter);
  return { bed, policies, apply, send, connections };
}

async function applyTo(policies: PolicyFilter, filter: DesiredFilter): Promise<number> {
  const { changeCount } = await policies.ensure(filter);
  assert.equal(await policies.settled(), undefined);
  return changeCount;
}

/** Packets of one TCP connection, from its first to data in both directions. */
function tcp(sourcePort: number, client = CLIENT, server = SERVER) {
  const forth = { source: client, destination: server, protocol: "TCP", sourcePort, port: 80 };
  const back = { source: server, destination: client, protocol: "TCP", sourcePort: 80, port: sourcePort };
  return {
    syn: { ...forth, tcpFlags: SYN },
    synAck: { ...back, tcpFlags: SYN | ACK, sequence: 100, acknowledged: 2 },
    request: { ...forth, tcpFlags: ACK, sequence: 2, acknowledged: 101 },
    response: { ...back, tcpFlags: ACK, sequence: 101, acknowledged: 2 },
  };
}

test("replies pass without any rule for them", async (t) => {
  const { apply, send } = start(t);
  // The server may not begin any connection, nor the client be reached.
  await apply(
    filterOf({
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: [{ podSelector: {} }] }],
    }),
  );
  for (const [client, server] of [
    [CLIENT, SERVER],
    ["fd09::1", "fd09::2"],
  ] as const) {
    const { syn, synAck, request, response } = tcp(4000, client, server);
    assert.deepEqual(send(synAck), [false]);
    assert.deepEqual(send(syn, synAck, request, response), [true, true, true, true]);
    const udp = { source: client, destination: server, protocol: "UDP", sourcePort: 5000, port: 53 };
    const answer = { source: server, destination: client, protocol: "UDP", sourcePort: 53, port: 5000 };
    assert.deepEqual(send(answer, udp, answer), [false, true, true]);
  }
});

test("a connection that a policy forbids now is cut in both directions, and goes on when it is allowed again", async (t) => {
  const { policies, apply, send } = start(t);
  for (const allowing of [ALLOW, OPEN]) {
    await apply(allowing);
    const { syn, synAck, request, response } = tcp(allowing === ALLOW ? 4000 : 4001);
    const udp = { source: CLIENT, destination: SERVER, protocol: "UDP", sourcePort: 5000, port: 53 };
    const answer = { source: SERVER, destination: CLIENT, protocol: "UDP", sourcePort: 53, port: 5000 };
    assert.deepEqual(send(syn, synAck, request, response, udp, answer), [true, true, true, true, true, true]);
    await apply(DENY);
    assert.ok(policies.cutCount >= 2);
    assert.deepEqual(send(request, response, udp, answer), [false, false, false, false]);
    await apply(allowing);
    assert.equal(policies.cutCount, 0);
    assert.deepEqual(send(request, response, udp, answer), [true, true, true, true]);
  }
});

test("of the connections of one pod only those that are forbidden are cut, also behind a translated address", async (t) => {
  const { bed, policies, apply, send } = start(t);
  bed.nft("add table ip nat; add chain ip nat pre { type nat hook prerouting priority dstnat; }");
  bed.nft("add rule ip nat pre ip daddr 10.96.0.10 tcp dport 443 dnat to 10.9.0.2:80");
  await apply(OPEN);
  const direct = tcp(4000);
  const other = tcp(4001, "198.51.100.7");
  const service = { ...tcp(4002).syn, destination: "10.96.0.10", port: 443 };
  assert.deepEqual(
    send(direct.syn, direct.synAck, other.syn, other.synAck, service, tcp(4002).synAck),
    Array(6).fill(true),
  );
  await apply(filterOf({ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "198.51.100.0/24" } }] }] }));
  assert.equal(policies.cutCount, 2);
  assert.deepEqual(send(direct.request, other.request, other.response), [false, true, true]);
  const request = { ...tcp(4002).request, destination: "10.96.0.10", port: 443 };
  assert.deepEqual(send(request, tcp(4002).response), [false, false]);
});

test("a restart forgets no cut; connections that ended are forgotten by the next check", async (t) => {
  const { bed, apply, send, connections } = start(t);
  await apply(ALLOW);
  const { syn, synAck, request } = tcp(4000);
  assert.deepEqual(send(syn, synAck, request), [true, true, true]);
  await apply(DENY);
  await using next = new PolicyFilter({ exec: bed.exec, logger: silentLogger, digest, connections });
  assert.equal(await applyTo(next, DENY), 0);
  assert.equal(next.cutCount, 1);
  assert.deepEqual(send(request), [false]);
  bed.netns.run("conntrack", "-F");
  await applyTo(next, DENY);
  assert.equal(next.cutCount, 0);
  assert.deepEqual(send(request), [false]);
});

test("a foreign program deletes the table: what was cut is cut again", async (t) => {
  const { bed, policies, apply, send } = start(t);
  await apply(ALLOW);
  const { syn, synAck, request } = tcp(4000);
  assert.deepEqual(send(syn, synAck, request), [true, true, true]);
  await apply(DENY);
  bed.nft("delete table inet flannel-policy");
  assert.deepEqual(send(request), [true]);
  policies.invalidate();
  await apply(DENY);
  assert.equal(policies.cutCount, 1);
  assert.deepEqual(send(request), [false]);
});

test("connections of the node itself are never cut", async (t) => {
  const { bed, policies, apply, connections } = start(t);
  await apply(OPEN);
  // A probe of kubelet's, which gets no answer; the connection is tracked.
  assert.throws(() => bed.netns.run("ping", "-c1", "-W1", "-q", SERVER));
  assert.ok((await connections.list()).some(({ destination }) => destination === SERVER));
  await apply(DENY);
  assert.equal(policies.cutCount, 0);
});
