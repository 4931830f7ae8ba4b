import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPrefix } from "../address/prefix.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import { RTPROT_KERNEL, RTPROT_STATIC } from "../netlink/route.ts";
import { RTPROT_FLANNEL } from "../state/objects.ts";
import { FakeHost } from "../testing/fake-host.ts";
import { usedPrefixes } from "./host-routes.ts";

const NETWORK = parseNetworkConfig('{"Network":"10.77.0.0/16","EnableIPv6":true,"IPv6Network":"fd77::/48"}');

/** What a host with eth0 (2), flannel.1 (3), docker0 (4) and flannel0 (5) uses itself. */
function used(prepare: (host: FakeHost) => void): string[] {
  const host = new FakeHost();
  for (const [index, name] of ["eth0", "flannel.1", "docker0", "flannel0"].entries())
    host.setLink(index + 2, { name, up: true });
  prepare(host);
  return usedPrefixes(host.rtnetlink, NETWORK).map(formatPrefix).toSorted();
}

test("F11 links and routes inside the network are in use, in both families", () => {
  const prefixes = used((host) => {
    host.addAddress({ ifindex: 2, prefix: "10.77.0.9/24" });
    host.addAddress({ ifindex: 2, prefix: "fd77:0:0:1::9/64" });
    host.addAddress({ ifindex: 4, prefix: "10.77.5.1/24" });
    host.addAddress({ ifindex: 2, prefix: "192.168.7.1/24" });
    host.addRoute({ destination: "10.77.9.0/25", oif: 2, gateway: "192.168.7.254", protocol: RTPROT_STATIC });
  });
  assert.deepEqual(prefixes, [
    "10.77.0.0/24",
    "10.77.0.9/32",
    "10.77.5.0/24",
    "10.77.5.1/32",
    "10.77.9.0/25",
    "fd77:0:0:1::/64",
    "fd77:0:0:1::9/128",
  ]);
});

test("F11 what flannel created, default routes and LANs around the network are not", () => {
  const prefixes = used((host) => {
    host.addAddress({ ifindex: 3, prefix: "10.77.8.0/32" });
    host.addRoute({ destination: "10.77.2.0/24", oif: 2, gateway: "192.168.7.2", protocol: RTPROT_FLANNEL });
    host.addRoute({ destination: "10.77.4.0/24", oif: 3, protocol: RTPROT_STATIC });
    host.addRoute({ destination: "10.77.0.0/17", oif: 5, protocol: RTPROT_KERNEL });
    host.addRoute({ destination: "10.0.0.0/8", oif: 2, protocol: RTPROT_KERNEL });
    host.addRoute({ destination: "0.0.0.0/0", oif: 2, gateway: "10.0.0.1" });
  });
  assert.deepEqual(prefixes, []);
});
