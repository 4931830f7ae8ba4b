/**
 * The wireguard backend when something is wrong with its device, its peer or its host.
 *
 *      eth0 192.168.7.1                     eth0 192.168.8.2
 *       agent, flannel-wg        router      wg0, made by hand as Go flannel makes it: a lease without Port
 */

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { formatIp } from "../../src/address/ip.ts";
import { formatPrefix } from "../../src/address/prefix.ts";
import { type Agent, answers, makeCluster, makeFabric } from "../netns/agents.ts";
import { waitFor } from "../netns/support.ts";
import { PingStream } from "../support/ping.ts";

const PSK = "MCYm5Gh4cvTzKE1nUDk4Ta5zKJW1RZkSIKIB1nCuDGs=";
const OTHER_PSK = "BBYm5Gh4cvTzKE1nUDk4Ta5zKJW1RZkSIKIB1nCuDGs=";
const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "wireguard", Implementation: "kernel", PSK } };
const PEER_SUBNET = "10.5.200.0-24";
const PEER_ADDRESS = "10.5.200.1";
const DEVICE = "flannel-wg";
/** The kernel calls this program to load a module. */
const MODPROBE = "/proc/sys/kernel/modprobe";
const SLOW_MS = 30_000;

test("one host and its troubles", async (t) => {
  const [host, other] = makeFabric(t, [0, 1]) as [
    ReturnType<typeof makeFabric>[number],
    ReturnType<typeof makeFabric>[number],
  ];
  const cluster = makeCluster(t, CONFIG);
  const keyFile = join(tmpdir(), `flannel-wgkey-${host.name}`);
  const scratch = join(tmpdir(), `flannel-wg-faults-${host.name}`);
  t.after(() => {
    for (const path of [keyFile, scratch]) rmSync(path, { force: true });
  });
  let agent: Agent = cluster.start(host);
  await agent.ready();

  const show = (what: string, device = DEVICE): string => {
    try {
      return host.run("wg", "show", device, what).trim();
    } catch {
      return ""; // no such device
    }
  };
  const set = (...args: string[]) => host.run("wg", "set", DEVICE, ...args);
  const publicKeyOfFile = (path: string) => host.run("sh", "-c", `wg pubkey <${path}`).trim();
  const writeKey = (text: string): string => {
    writeFileSync(scratch, `${text}\n`, { mode: 0o600 });
    return scratch;
  };
  const randomKey = () => host.run("wg", "genkey").trim();
  const restart = async () => {
    await agent.stop();
    agent = cluster.start(host);
  };
  /** Stops the agent and removes its device, then does `prepare` and starts another agent. */
  const startAfresh = async (prepare: () => void) => {
    await agent.stop();
    host.run("ip", "link", "delete", DEVICE);
    prepare();
    agent = cluster.start(host);
  };

  const otherKey = writeKey(randomKey());
  const otherPublicKey = publicKeyOfFile(otherKey);
  const ownPublicKey = show("public-key");
  const subnet = agent.env()!.subnets!.ipv4!;
  const putPeer = (publicIp: string) =>
    cluster.data.put(
      PEER_SUBNET,
      `{"PublicIP":"${publicIp}","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"${otherPublicKey}"}}`,
    );
  other.run("ip", "link", "add", "wg0", "type", "wireguard");
  other.run("wg", "set", "wg0", "listen-port", "51820", "private-key", otherKey);
  const setOtherPeer = (psk: string, more: readonly string[] = []) =>
    other.run(
      ...(["wg", "set", "wg0", "peer", ownPublicKey, "preshared-key", writeKey(psk)] as const),
      ...["allowed-ips", formatPrefix(subnet), ...more],
    );
  setOtherPeer(OTHER_PSK);
  other.run("ip", "address", "add", `${PEER_ADDRESS}/32`, "dev", "wg0");
  other.run("ip", "link", "set", "wg0", "up");
  other.run("ip", "route", "add", "10.5.0.0/16", "dev", "wg0");
  putPeer(other.ipv4);
  await waitFor("the peer", () => show("endpoints").includes(`${other.ipv4}:51820`), SLOW_MS);

  await t.test("another PSK at the peer is reported as no handshake, until it is the same", async () => {
    {
      await using _pings = new PingStream(host.path, PEER_ADDRESS);
      await waitFor("a line", () => agent.log.find((line) => /^W No handshake/.test(line)), SLOW_MS);
    }
    assert.match(
      agent.log.find((line) => /No handshake/.test(line))!,
      /No handshake with peer 192\.168\.8\.2:51820 \(10\.5\.200\.0\/24, PublicKey .*\) on flannel-wg after 15 s of sending; .*that both hosts have the same PSK/,
    );
    assert.match(agent.readiness.notes.join("\n"), /no handshake with peer 192\.168\.8\.2:51820/);
    assert.deepEqual(agent.readiness.reasons, [], "the host is ready");
    setOtherPeer(PSK);
    await waitFor("an answer", () => answers(host, PEER_ADDRESS), SLOW_MS);
    await waitFor("no note", () => agent.readiness.notes.length === 0, SLOW_MS);
    assert.match(agent.log.at(-1)!, /^I Handshake with peer 192\.168\.8\.2:51820/);
    assert.ok(!agent.log.some((line) => line.includes(PSK)));
  });

  await t.test("port, key, peer and allowed IPs that are changed by hand are repaired", async () => {
    const before = ["listen-port", "public-key", "allowed-ips", "preshared-keys", "persistent-keepalive"];
    const picture = () => before.map((what) => show(what)).join("\n");
    const wanted = picture();
    const stranger = writeKey(randomKey());
    set("listen-port", "4444");
    set("private-key", stranger);
    const moved = publicKeyOfFile(writeKey(randomKey()));
    set("peer", moved, "allowed-ips", "10.5.200.0/24");
    set("peer", otherPublicKey, "preshared-key", writeKey(OTHER_PSK), "persistent-keepalive", "7");
    assert.notEqual(picture(), wanted);
    await waitFor("the repair", () => picture() === wanted, SLOW_MS);
    await waitFor("an answer", () => answers(host, PEER_ADDRESS), SLOW_MS);
  });

  await t.test("where a peer roams to stays over polls and plans, and a new public IP is set", async () => {
    other.run("wg", "set", "wg0", "listen-port", "4500");
    setOtherPeer(PSK, ["endpoint", `${host.ipv4}:51820`]);
    const isAt = (endpoint: string) => show("endpoints").includes(`\t${endpoint}`);
    assert.ok(await waitFor("an answer to the peer", () => answers(other, formatIp(baseAddress())), SLOW_MS));
    await waitFor("the roaming", () => isAt(`${other.ipv4}:4500`), SLOW_MS);
    const third = publicKeyOfFile(writeKey(randomKey()));
    cluster.data.put(
      "10.5.201.0-24",
      `{"PublicIP":"192.168.8.77","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"${third}","Port":4321}}`,
    );
    await waitFor("the third peer", () => isAt("192.168.8.77:4321"), SLOW_MS);
    set("peer", third, "persistent-keepalive", "9"); // is repaired by the next poll
    await waitFor("a poll", () => !/\t9$/m.test(show("persistent-keepalive")), SLOW_MS);
    assert.ok(isAt(`${other.ipv4}:4500`));
    putPeer("192.168.8.9");
    await waitFor("the new public IP", () => isAt("192.168.8.9:51820"), SLOW_MS);
    cluster.data.delete("10.5.201.0-24");
    other.run("wg", "set", "wg0", "listen-port", "51820");
    putPeer(other.ipv4);
  });
  function baseAddress() {
    return { family: subnet.family, value: subnet.base };
  }

  await t.test("a key file that is replaced counts from the next start on", async () => {
    rmSync(keyFile);
    const text = randomKey();
    writeFileSync(keyFile, `${text}\n`, { mode: 0o400 });
    set("listen-port", "4444"); // is repaired by the next poll
    await waitFor("a poll", () => show("listen-port") === "51820", SLOW_MS);
    assert.equal(show("public-key"), ownPublicKey);
    await restart();
    await agent.ready();
    assert.equal(show("public-key"), publicKeyOfFile(writeKey(text)));
  });

  await t.test("a port that something else has is named, and taken within a second of its end", async () => {
    await startAfresh(() => {
      host.run("ip", "link", "add", "wg9", "type", "wireguard");
      host.run("wg", "set", "wg9", "listen-port", "51820");
      host.run("ip", "link", "set", "wg9", "up");
    });
    await agent.logged(
      /another program has UDP port 51820 open \(see 'ss -lunp sport = 51820'\): stop it, or/,
    );
    assert.notDeepEqual(agent.readiness.reasons, []);
    host.run("ip", "link", "delete", "wg9");
    const freedMs = performance.now();
    await waitFor("the port", () => show("listen-port") === "51820", SLOW_MS);
    const tookMs = performance.now() - freedMs;
    t.diagnostic(`the port was taken ${tookMs.toFixed(0)} ms after its end`);
    assert.ok(tookMs < 1_500, `within a second, and what the emulated processor needs: ${tookMs} ms`);
    await agent.ready();
  });

  await t.test("foreign devices of our name are left alone and reported", async () => {
    for (const [kind, args] of [
      ["bridge", ["link", "add", DEVICE, "type", "bridge"]],
      ["tun", ["tuntap", "add", DEVICE, "mode", "tun"]],
    ] as const) {
      await startAfresh(() => host.run("ip", ...args));
      await agent.logged(
        new RegExp(`Device flannel-wg exists and is not flannel's \\(it is a ${kind} device\\)`),
      );
      assert.match(host.run("ip", "-details", "link", "show", DEVICE), new RegExp(kind));
      host.run("ip", "link", "delete", DEVICE);
      await agent.ready();
    }
  });

  await t.test("without the module its name is said, and once it is loaded all comes back", async () => {
    host.run("rmmod", "wireguard"); // takes all devices along
    writeFileSync(MODPROBE, "/bin/false");
    await agent.logged(
      /this kernel has no WireGuard: load it with 'modprobe wireguard', or use another backend/,
    );
    writeFileSync(MODPROBE, "/sbin/modprobe");
    await agent.ready();
    await waitFor("the peer", () => show("allowed-ips").includes("10.5.200.0/24"), SLOW_MS);
    assert.equal(show("listen-port"), "51820");
  });
});
