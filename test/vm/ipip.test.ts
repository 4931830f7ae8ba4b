/**
 * The ipip backend on a real kernel: device, routes, packets, restart, and a device of its name that is not ours
 * (topology: ../netns/agents.ts). Runs in the virtual machine, because most kernels for containers have no IPIP.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasLinkType } from "../../src/linux/link-types.ts";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { addContainer, answers, makeCluster, makeFabric } from "../netns/agents.ts";
import { waitFor } from "../netns/support.ts";

const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "ipip" } };

test("the kernel says that it has the devices, and creates none", (t) => {
  const [host] = makeFabric(t, [0]);
  using rtnetlink = openRtnetlink({ netns: host!.path });
  const before = host!.run("ip", "-o", "link");
  for (const kind of ["ipip", "wireguard", "vxlan"] as const)
    assert.equal(hasLinkType(rtnetlink, kind), true);
  // The fallback device of the ipip module comes with the module.
  assert.equal(
    host!.run("ip", "-o", "link").replace(/^.*tunl0.*\n/m, ""),
    before.replace(/^.*tunl0.*\n/m, ""),
  );
});

test("containers on two links reach each other, with packets as large as the MTU says", async (t) => {
  const hosts = makeFabric(t, [0, 1]);
  const cluster = makeCluster(t, CONFIG);
  const agents = hosts.map((host) => cluster.start(host));
  for (const agent of agents) await agent.ready();
  const containers = hosts.map((host, index) => addContainer(t, host, agents[index]!));
  assert.equal(agents[0]!.env()?.mtuBytes, 1480);
  await waitFor("an answer", () => answers(containers[0]!, containers[1]!.ipv4), 20_000);
  // 20 IPv4 + 8 ICMP
  assert.ok(await answers(containers[0]!, containers[1]!.ipv4, 1480 - 28));
  assert.equal(await answers(containers[0]!, containers[1]!.ipv4, 1480 - 28 + 1), false);
  const [link] = hosts[0]!.json("ip", "-json", "-d", "link", "show", "flannel.ipip");
  assert.equal(link.linkinfo.info_kind, "ipip");
  assert.equal(link.linkinfo.info_data.local, hosts[0]!.ipv4);
});

test("DirectRouting: hosts on one link need no tunnel, and follow a change at once", async (t) => {
  const hosts = makeFabric(t, [0, 0]);
  const cluster = makeCluster(t, { ...CONFIG, Backend: { Type: "ipip", DirectRouting: true } });
  const agents = hosts.map((host) => cluster.start(host));
  for (const agent of agents) await agent.ready();
  const containers = hosts.map((host, index) => addContainer(t, host, agents[index]!));
  await waitFor("an answer", () => answers(containers[0]!, containers[1]!.ipv4), 20_000);
  assert.match(hosts[0]!.run("ip", "route", "show", "proto", "70"), /via 192\.168\.7\.2 dev eth0/);
});

test("a restart keeps device and routes; a deleted device comes back with all of them", async (t) => {
  const hosts = makeFabric(t, [0, 1]);
  const cluster = makeCluster(t, CONFIG);
  const agents = hosts.map((host) => cluster.start(host));
  for (const agent of agents) await agent.ready();
  const routes = () => hosts[0]!.run("ip", "route", "show", "dev", "flannel.ipip", "proto", "70");
  const index = () => hosts[0]!.json("ip", "-json", "link", "show", "flannel.ipip")[0].ifindex;
  const [before, beforeIndex] = [routes(), index()];
  assert.match(before, /via 192\.168\.8\.2 onlink/);
  await agents[0]!.stop();
  assert.equal(routes(), before);
  const again = cluster.start(hosts[0]!);
  await again.ready();
  assert.equal(routes(), before);
  assert.equal(index(), beforeIndex);
  hosts[0]!.run("ip", "link", "delete", "flannel.ipip");
  await waitFor(
    "the repair",
    () => {
      try {
        return routes() === before;
      } catch {
        return false;
      }
    },
    20_000,
  );
});

test("a foreign device of that name is left alone and reported", async (t) => {
  const [host] = makeFabric(t, [0]);
  host!.run("ip", "link", "add", "flannel.ipip", "type", "bridge");
  const agent = makeCluster(t, CONFIG).start(host!);
  await agent.logged(
    /Device flannel\.ipip exists and is not flannel's \(it is a bridge device\): remove or rename it/,
  );
  assert.match(host!.run("ip", "-d", "link", "show", "flannel.ipip"), /bridge/);
  host!.run("ip", "link", "delete", "flannel.ipip");
  await agent.ready();
});
