import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import { decodeLease, encodeLeaseValue, isProblem } from "../lease/lease-codec.ts";
import type { Host } from "./backend.ts";
import { createBackend, parseNetwork, startupCommandOf } from "./backends.ts";

const COMMANDS = {
  PreStartupCommand: "cat /etc/machine-id",
  PostStartupCommand: "post",
  SubnetAddCommand: "add",
  SubnetRemoveCommand: "remove",
};
const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1500,
  ipv4: parseIp("192.168.7.1"),
  ipv6: parseIp("fd00:7::1"),
  publicIp: parseIp("192.168.7.1"),
  publicIpv6: parseIp("fd00:7::1"),
};
const OWN = { ipv4: parsePrefix("10.5.1.0/24"), ipv6: parsePrefix("fc00:0:0:1::/64") };

const networkOf = (members: object = COMMANDS, isDual = false) =>
  parseNetwork(
    JSON.stringify({
      ...{ Network: "10.5.0.0/16", Backend: { Type: "extension", ...members } },
      ...(isDual ? { EnableIPv6: true, IPv6Network: "fc00::/48" } : {}),
    }),
  );

const backendFor = (network = networkOf(), startupOutput?: string) =>
  createBackend(network, { existing: [], randomBytes: () => new Uint8Array(6), startupOutput });

function peer(number: number, changes: object = {}): Lease {
  const value = {
    ...{ PublicIP: `192.168.7.${number}`, PublicIPv6: `fd00:7::${number}`, BackendType: "extension" },
    ...{ BackendData: `data ${number}`, ...changes },
  };
  const key = `10.5.${number}.0-24&fc00:0:0:${number}::-64`;
  const decoded = decodeLease(key, JSON.stringify(value));
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return decoded;
}

function plan(peers: readonly Lease[], network = networkOf(), backend = backendFor(network)) {
  const own = network.ipv6 === undefined ? { ...OWN, ipv6: undefined } : OWN;
  const { state, problems } = backend.plan({
    ...{ host: HOST, network, own, peers, nextHop: () => undefined },
  });
  return {
    objects: [...state.values()],
    problems: problems.map(({ key, message }) => `${key.split("&")[0]}: ${message}`),
  };
}

const PEER_2 = {
  ...{
    kind: "extension-peer",
    subnet: "10.5.2.0/24",
    publicIp: "192.168.7.2",
    ipv6Subnet: "",
    publicIpv6: "",
  },
  ...{ data: "data 2", addCommand: "add", removeCommand: "remove", isCurrent: true },
};

test("PostStartupCommand with this host's subnet, and an object for each peer with its BackendData", () => {
  assert.deepEqual(plan([peer(2), peer(3, { BackendType: "vxlan" })]), {
    objects: [
      {
        ...{ kind: "extension-startup", command: "post", network: "10.5.0.0/16", subnet: "10.5.1.0/24" },
        ...{ ipv6Subnet: "", publicIp: "192.168.7.1", publicIpv6: "fd00:7::1" },
      },
      PEER_2,
    ],
    problems: [],
  });
});

test("dual stack: one object for both families of a peer, so that its commands run once", () => {
  const [, ...peers] = plan([peer(2), peer(3, { PublicIPv6: null })], networkOf(COMMANDS, true)).objects;
  assert.deepEqual(peers, [
    { ...PEER_2, ipv6Subnet: "fc00:0:0:2::/64", publicIpv6: "fd00:7::2" },
    { ...PEER_2, subnet: "10.5.3.0/24", publicIp: "192.168.7.3", data: "data 3" },
  ]);
});

test("before the lease is acquired nothing is planned, and without commands nothing ever", () => {
  const { state } = backendFor().plan({
    ...{ host: HOST, network: networkOf(), own: undefined, peers: undefined, nextHop: () => undefined },
  });
  assert.equal(state.size, 0);
  const network = networkOf({});
  assert.deepEqual(plan([peer(2)], network), { objects: [], problems: [] });
  assert.match(backendFor(network).notes.join(), /SubnetAddCommand is not set/);
});

test("BackendData that is no string is reported, and the other peers stay", () => {
  const { objects, problems } = plan([
    peer(2),
    peer(3, { BackendData: { a: 1 } }),
    peer(4, { BackendData: null }),
  ]);
  assert.deepEqual(problems, ["10.5.3.0-24: its BackendData is not a string"]);
  assert.deepEqual(
    objects.flatMap((object) => (object.kind === "extension-peer" ? [[object.subnet, object.data]] : [])),
    [
      ["10.5.2.0/24", "data 2"],
      ["10.5.4.0/24", ""],
    ],
  );
});

test("planning again gives the same objects, so that a failed command waits for its next attempt", () => {
  const network = networkOf();
  const backend = backendFor(network);
  const [, first] = plan([peer(2)], network, backend).objects;
  const [, second] = plan([peer(2), peer(3)], network, backend).objects;
  assert.equal(first, second);
});

test("the lease is as Go flannel's: PreStartupCommand's output as a JSON string, or no data", () => {
  const network = networkOf();
  assert.equal(startupCommandOf(network), "cat /etc/machine-id");
  assert.equal(startupCommandOf(networkOf({})), undefined);
  const leaseOf = (output?: string) =>
    encodeLeaseValue({
      publicIp: HOST.publicIp,
      publicIpv6: undefined,
      ...backendFor(network, output).published,
    });
  assert.equal(
    leaseOf('two\n"lines"'),
    '{"PublicIP":"192.168.7.1","PublicIPv6":null,"BackendType":"extension","BackendData":"two\\n\\"lines\\""}',
  );
  assert.equal(leaseOf(), '{"PublicIP":"192.168.7.1","PublicIPv6":null,"BackendType":"extension"}');
  assert.equal(backendFor().mtuBytes(HOST), 1500);
});

test("a command that is no string is refused by name", () => {
  assert.throws(
    () => networkOf({ SubnetAddCommand: 7 }),
    /Backend\.SubnetAddCommand must be a string in quotes/,
  );
});
