/** DirectRouting: peers on the same link without the tunnel, the others through it (topology: agents.ts). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { addContainer, answers, type Cluster, type FabricHost, makeCluster, makeFabric } from "./agents.ts";
import { waitFor } from "./support.ts";

const CONFIG = {
  Network: "10.5.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fc00::/48",
  Backend: { Type: "vxlan", DirectRouting: true },
};
const TUNNEL_ONLY = { ...CONFIG, Backend: { Type: "vxlan" } };
const KEY = "10.5.200.0-24&fc00:0:0:c8::-64";
const MAC = { 4: "02:00:00:00:00:04", 6: "02:00:00:00:00:06" };

function putPeer({ data }: Cluster, publicIp: string, publicIpv6: string): void {
  const value = {
    ...{ PublicIP: publicIp, PublicIPv6: publicIpv6, BackendType: "vxlan" },
    ...{ BackendData: { VNI: 1, VtepMAC: MAC[4] }, BackendV6Data: { VNI: 1, VtepMAC: MAC[6] } },
  };
  data.put(KEY, JSON.stringify(value));
}

/** Everything on the host that has to do with the peer of {@link putPeer}. */
const traces = (host: FabricHost): string[] =>
  [
    ...["-4", "-6"].flatMap((family) => [
      ...host.run("ip", "-N", family, "route", "show").split("\n"),
      ...host.run("ip", family, "neigh", "show", "nud", "permanent").split("\n"),
    ]),
    ...host.run("bridge", "fdb", "show").split("\n"),
  ]
    .filter((line) => /10\.5\.200\.0|:c8::|02:00:00:00:00:0[46]/.test(line))
    .map((line) => line.replace(/ metric.*/, "").trim())
    .sort();

const DIRECT = [
  "10.5.200.0/24 via 192.168.7.77 dev eth0 proto 70",
  "fc00:0:0:c8::/64 via fd00:7::77 dev eth0 proto 70",
];
const TUNNELLED = [
  "02:00:00:00:00:04 dev flannel.1 dst 192.168.7.77 self permanent",
  "02:00:00:00:00:06 dev flannel-v6.1 dst fd00:7::77 self permanent",
  "10.5.200.0 dev flannel.1 lladdr 02:00:00:00:00:04 PERMANENT",
  "10.5.200.0/24 via 10.5.200.0 dev flannel.1 proto 70 onlink",
  "fc00:0:0:c8:: dev flannel-v6.1 lladdr 02:00:00:00:00:06 PERMANENT",
  "fc00:0:0:c8::/64 via fc00:0:0:c8:: dev flannel-v6.1 proto 70",
];

test("hosts on one link route to each other, others use the tunnel; all containers reach each other", async (t) => {
  const hosts = makeFabric(t, [0, 0, 1]);
  const cluster = makeCluster(t, CONFIG);
  const agents = hosts.map((host) => cluster.start(host));
  for (const agent of agents) await agent.ready();
  const containers = hosts.map((host, index) => addContainer(t, host, agents[index]!));
  for (const from of containers) {
    for (const to of containers) {
      await waitFor(`${from.ipv4} → ${to.ipv4}`, () => answers(from, to.ipv4));
      await waitFor(`${from.ipv6} → ${to.ipv6}`, () => answers(from, to.ipv6));
    }
  }
  const devices = (host: FabricHost) =>
    ["-4", "-6"].map((family) =>
      host
        .run("ip", family, "route", "show", "proto", "70")
        .match(/dev \S+/g)!
        .sort(),
    );
  assert.deepEqual(devices(hosts[0]!), [
    ["dev eth0", "dev flannel.1"],
    ["dev eth0", "dev flannel-v6.1"],
  ]);
  assert.deepEqual(devices(hosts[2]!), [
    ["dev flannel.1", "dev flannel.1"],
    ["dev flannel-v6.1", "dev flannel-v6.1"],
  ]);
});

test("W22 W23 a switch between tunnel and direct route leaves nothing behind, whatever brings it about", async (t) => {
  const [host] = makeFabric(t, [0]);
  const cluster = makeCluster(t, CONFIG);
  const agent = cluster.start(host!);
  await agent.ready();
  const until = (what: string, wanted: readonly string[]) =>
    waitFor(what, () => traces(host!).join("\n") === wanted.join("\n")).catch((error) => {
      throw new Error(`${error}\n${traces(host!).join("\n")}\n${agent.log.join("\n")}`);
    });
  putPeer(cluster, "192.168.7.77", "fd00:7::77");
  await until("the direct routes", DIRECT);
  cluster.data.setConfig(JSON.stringify(TUNNEL_ONLY));
  await until("the tunnel, by the config", TUNNELLED);
  cluster.data.setConfig(JSON.stringify(CONFIG));
  await until("the direct routes again, by the config", DIRECT);

  host!.run("ip", "route", "add", "192.168.7.77/32", "via", "192.168.7.254");
  host!.run("ip", "-6", "route", "add", "fd00:7::77/128", "via", "fd00:7::254");
  await until("the tunnel, by the host's routes", TUNNELLED);
  host!.run("ip", "route", "del", "192.168.7.77/32");
  host!.run("ip", "-6", "route", "del", "fd00:7::77/128");
  await until("the direct routes again, by the host's routes", DIRECT);

  putPeer(cluster, "192.168.8.77", "fd00:8::77");
  const elsewhere = TUNNELLED.map((line) =>
    line.replace("192.168.7.77", "192.168.8.77").replace("fd00:7::77", "fd00:8::77"),
  );
  await until("the tunnel, because the peer has moved", elsewhere);
  putPeer(cluster, "192.168.7.77", "fd00:7::77");
  await until("the direct routes, because the peer is back", DIRECT);

  host!.run("ip", "route", "append", "10.5.200.0/24", "via", "192.168.7.99", "proto", "static");
  cluster.data.delete(KEY);
  await until("nothing but the foreign route", ["10.5.200.0/24 via 192.168.7.99 dev eth0 proto 4"]);
  await agent.ready();
});
