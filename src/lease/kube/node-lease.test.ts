import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp, parseIp } from "../../address/ip.ts";
import { formatPrefix } from "../../address/prefix.ts";
import { parseNetworkConfig } from "../../config/network-config.ts";
import { isProblem } from "../lease-codec.ts";
import { annotationsOf, attributesOf, leaseOfNode, missingAnnotations, usableSubnets } from "./node-lease.ts";
import type { NodeRecord } from "./node-record.ts";

const IPV4 = parseNetworkConfig('{"Network":"10.244.0.0/16"}');
const DUAL = parseNetworkConfig('{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}');
const IPV6 = parseNetworkConfig('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"}');

const node = (podCidrs: readonly string[], annotations: NodeRecord["annotations"] = {}): NodeRecord => ({
  name: "n1",
  podCidrs,
  annotations: { managed: "true", publicIp: "192.168.0.1", backendType: "vxlan", ...annotations },
});

test("a node is a lease of its first podCIDR of each family, with the node's name as key", () => {
  const lease = leaseOfNode(
    node(["fc00:0:0:1::/64", "10.244.1.0/24"], { backendData: '{"VNI":1}', publicIpv6: "" }),
  );
  assert.ok(lease !== undefined && !isProblem(lease));
  assert.equal(lease.key, "n1");
  assert.equal(formatPrefix(lease.subnets.ipv4!), "10.244.1.0/24");
  assert.equal(formatPrefix(lease.subnets.ipv6!), "fc00:0:0:1::/64");
  assert.deepEqual(lease.attributes, {
    publicIp: parseIp("192.168.0.1"),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: { VNI: 1 },
    backendV6Data: undefined,
  });
});

test("a node that flannel does not manage, or that has no subnet yet, is neither a lease nor a problem", () => {
  assert.equal(leaseOfNode(node(["10.244.1.0/24"], { managed: "false" })), undefined);
  assert.equal(leaseOfNode({ name: "n1", podCidrs: ["10.244.1.0/24"], annotations: {} }), undefined);
  assert.equal(leaseOfNode(node([])), undefined);
});

test("junk in a node is a problem", () => {
  const problems: readonly [NodeRecord, RegExp][] = [
    [node(["10.244.1.0/24", "fc00::/64", "10.244.2.0/24"]), /3 podCIDRs/],
    [node(["10.244.1.0/33"]), /podCIDR "10\.244\.1\.0\/33" is not a subnet/],
    [node(["10.244.1.0/24"], { publicIp: "here" }), /public-ip is not an IPv4 address: "here"/],
    [node(["10.244.1.0/24"], { publicIpv6: "10.0.0.1" }), /public-ipv6 is not an IPv6 address/],
    [node(["10.244.1.0/24"], { publicIp: "0.0.0.0" }), /neither annotation public-ip nor public-ipv6/],
    [node(["10.244.1.0/24"], { backendData: "{" }), /backend-data is not JSON/],
    [
      node(["10.244.1.0/24"], { backendType: "x".repeat(200_000) }),
      /backend-type is no backend's name: "x+…"$/,
    ],
    [
      node(["10.244.1.0/24"], { backendV6Data: "[".repeat(30) + "]".repeat(30) }),
      /backend-v6-data is nested deeper than 16/,
    ],
  ];
  for (const [record, pattern] of problems) {
    const answer = leaseOfNode(record);
    assert.ok(answer !== undefined && isProblem(answer), String(pattern));
    assert.match(answer.problem, pattern);
  }
});

test("empty values as Go flannel writes them are read as missing", () => {
  const attributes = attributesOf(
    node([], { publicIp: "0.0.0.0", publicIpv6: "fd00::1", backendData: "null", backendV6Data: "null" }),
  );
  assert.ok(!isProblem(attributes));
  assert.equal(attributes.publicIp, undefined);
  assert.equal(formatIp(attributes.publicIpv6!), "fd00::1");
  assert.equal(attributes.backendData, undefined);
});

test("backend data may be any JSON, including an object that looks like a problem", () => {
  for (const data of ['{"junk":"x"}', '{"problem":"x"}', "7", '"text"', "false"]) {
    const attributes = attributesOf(node([], { backendData: data }));
    assert.ok(!isProblem(attributes));
    assert.deepEqual(attributes.backendData, JSON.parse(data));
  }
});

test("annotations written and read again are the same", () => {
  const attributes = {
    publicIp: parseIp("192.168.0.1"),
    publicIpv6: parseIp("fd00::1"),
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" },
    backendV6Data: undefined,
  };
  const written = annotationsOf(attributes);
  assert.equal(written.backendData, '{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}');
  assert.equal(written.backendV6Data, "null");
  const record: NodeRecord = { name: "n1", podCidrs: [], annotations: written as NodeRecord["annotations"] };
  assert.deepEqual(attributesOf(record), attributes);
  assert.deepEqual(missingAnnotations(record, written), {});
});

test("differing annotations are written, surplus ones removed", () => {
  const attributes = {
    publicIp: parseIp("192.168.0.1"),
    publicIpv6: undefined,
    backendType: "",
    backendData: undefined,
    backendV6Data: undefined,
  };
  const record = node([], { publicIpv6: "fd00::1", nodePublicIp: "192.168.0.9" });
  assert.deepEqual(missingAnnotations(record, annotationsOf(attributes)), {
    backendType: "",
    backendData: "null",
    publicIpv6: null,
  });
});

test("a host's subnets must exist for each family of the network, and be inside it", () => {
  const usable = (record: NodeRecord, network: typeof IPV4) => {
    const subnets = usableSubnets(record, network);
    return isProblem(subnets)
      ? subnets.problem
      : [subnets.ipv4, subnets.ipv6].map((subnet) => subnet && formatPrefix(subnet)).join(" ");
  };
  const dual = node(["10.244.1.0/24", "fc00:0:0:1::/64"]);
  assert.equal(usable(dual, IPV4), "10.244.1.0/24 ");
  assert.equal(usable(dual, DUAL), "10.244.1.0/24 fc00:0:0:1::/64");
  assert.equal(usable(dual, IPV6), " fc00:0:0:1::/64");
  assert.match(usable(node([]), IPV4), /^has no podCIDR yet: is kube-controller-manager running with/);
  assert.match(usable(node(["10.244.1.0/24"]), DUAL), /^has no IPv6 podCIDR, only 10\.244\.1\.0\/24, but/);
  assert.match(usable(node(["fc00:0:0:1::/64"]), IPV4), /^has no IPv4 podCIDR, only fc00:0:0:1::\/64, but/);
  assert.match(
    usable(node(["10.245.1.0/24"]), IPV4),
    /^has podCIDR 10\.245\.1\.0\/24, which is not inside the network 10\.244\.0\.0\/16/,
  );
  assert.equal(usable(node(["10.244.0.0/16"]), IPV4), "10.244.0.0/16 "); // a cluster of one
  assert.match(usable(node(["a", "b", "c"]), IPV4), /^cannot be used: it has 3 podCIDRs/);
  assert.match(usable(node(["nonsense"]), IPV4), /^cannot be used: its podCIDR "nonsense" is not a subnet/);
});
