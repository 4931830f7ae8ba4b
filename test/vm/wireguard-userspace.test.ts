/** A userspace WireGuard device of flanneld with the kernel's WireGuard as its peer (topology: ../netns/agents.ts). */

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  addContainer,
  answers,
  type FabricHost,
  makeCluster,
  makeFabric,
  uapiDirectoryOf,
} from "../netns/agents.ts";
import { waitFor } from "../netns/support.ts";

const PSK = "MCYm5Gh4cvTzKE1nUDk4Ta5zKJW1RZkSIKIB1nCuDGs=";
const SLOW_MS = 20_000;

test("containers and a host with the kernel's WireGuard reach each other, whichever side begins", async (t) => {
  const [own, other] = makeFabric(t, [0, 1]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, {
    Network: "10.5.0.0/16",
    Backend: { Type: "wireguard", Implementation: "userspace", PSK },
  });
  const [keyFile, pskFile] = ["key", "psk"].map((name) => join(tmpdir(), `flannel-vm-${name}`)) as [
    string,
    string,
  ];
  t.after(() => {
    for (const path of [keyFile, pskFile, join(tmpdir(), `flannel-wgkey-${own.name}`)])
      rmSync(path, { force: true });
    rmSync(uapiDirectoryOf(own.name), { recursive: true, force: true });
  });
  const agent = cluster.start(own);
  await agent.ready();
  const container = addContainer(t, own, agent);
  const [lease] = [...cluster.data.entries.values()];
  const { BackendData } = JSON.parse(lease!.value) as { BackendData: { PublicKey: string } };

  writeFileSync(keyFile, other.run("wg", "genkey"), { mode: 0o600 });
  writeFileSync(pskFile, PSK, { mode: 0o600 });
  other.run("ip", "link", "add", "flannel-wg", "mtu", "1420", "type", "wireguard");
  const peer = [
    ...["peer", BackendData.PublicKey, "preshared-key", pskFile],
    ...["endpoint", `${own.ipv4}:51820`, "allowed-ips", "10.5.0.0/16"],
  ];
  other.run("wg", "set", "flannel-wg", "private-key", keyFile, "listen-port", "51820", ...peer);
  other.run("ip", "address", "add", "10.5.77.1/32", "dev", "flannel-wg");
  other.run("ip", "link", "set", "flannel-wg", "up");
  other.run("ip", "route", "add", "10.5.0.0/16", "dev", "flannel-wg");
  const publicKey = other.run("wg", "show", "flannel-wg", "public-key").trim();
  const data = { PublicKey: publicKey, Port: 51820 };
  const value = { PublicIP: other.ipv4, BackendType: "wireguard", BackendData: data };
  cluster.data.put("10.5.77.0-24", JSON.stringify(value));

  await waitFor("an answer", () => answers(container, "10.5.77.1"), SLOW_MS);
  await waitFor("a full packet", () => answers(container, "10.5.77.1", 1420 - 28), SLOW_MS);
  await waitFor(
    "a full packet from the other side",
    () => answers(other, container.ipv4, 1420 - 28),
    SLOW_MS,
  );

  // A peer that is set anew knows no session: it begins.
  other.run("wg", "set", "flannel-wg", "peer", BackendData.PublicKey, "remove");
  other.run("wg", "set", "flannel-wg", ...peer);
  await waitFor("an answer after it began", () => answers(other, container.ipv4), SLOW_MS);
  const [line] = other.run("wg", "show", "flannel-wg", "latest-handshakes").trim().split("\n");
  assert.ok(Number(line!.split("\t")[1]) > 0);
});

test("another Implementation after a restart: the device is replaced, with the same key, and back again", async (t) => {
  const hosts = makeFabric(t, [0, 1]) as [FabricHost, FabricHost];
  for (const { name } of hosts) {
    t.after(() => rmSync(join(tmpdir(), `flannel-wgkey-${name}`), { force: true }));
    t.after(() => rmSync(uapiDirectoryOf(name), { recursive: true, force: true }));
  }
  const configOf = (implementation: string) => ({
    ...{ Network: "10.5.0.0/16", Backend: { Type: "wireguard", Implementation: implementation, PSK } },
  });
  const cluster = makeCluster(t, configOf("kernel"));
  let agent = cluster.start(hosts[0]);
  const other = cluster.start(hosts[1]);
  for (const each of [agent, other]) await each.ready();
  const containers = hosts.map((host, index) => addContainer(t, host, [agent, other][index]!));
  const publicKeys = () =>
    [...cluster.data.entries.values()]
      .map(({ value }) => JSON.parse(value).BackendData.PublicKey as string)
      .sort();
  const before = publicKeys();
  for (const [implementation, kind] of [
    ["userspace", "tun"],
    ["kernel", "wireguard"],
    ["auto", "wireguard"],
  ] as const) {
    await agent.stop();
    cluster.data.setConfig(JSON.stringify(configOf(implementation)));
    agent = cluster.start(hosts[0]);
    await agent.ready();
    await waitFor("the device", () => kindOf(hosts[0]) === kind, SLOW_MS);
    await waitFor("an answer", () => answers(containers[0]!, containers[1]!.ipv4), SLOW_MS);
    assert.deepEqual(publicKeys(), before);
    await agent.logged(
      kind === "tun"
        ? /WireGuard on flannel-wg by flanneld itself, UDP port 51820/
        : /WireGuard on flannel-wg by the kernel, UDP port 51820/,
    );
  }
});

function kindOf(host: FabricHost): string | undefined {
  try {
    return host.json("ip", "-json", "-detail", "link", "show", "flannel-wg")[0].linkinfo.info_kind;
  } catch {
    return undefined; // it is being replaced
  }
}
