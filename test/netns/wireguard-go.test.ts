/** A userspace WireGuard device of flanneld with Debian's wireguard-go as its peer (topology: agents.ts). */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { exec } from "../../src/linux/exec.ts";
import {
  addContainer,
  answers,
  expectAnswer,
  type FabricHost,
  makeCluster,
  makeFabric,
  uapiDirectoryOf,
} from "./agents.ts";
import { waitFor } from "./support.ts";

const PSK = "MCYm5Gh4cvTzKE1nUDk4Ta5zKJW1RZkSIKIB1nCuDGs=";
const SLOW_MS = 20_000;
/** A mount namespace of its own: devices of one name share one path. */
const IN_DIRECTORY =
  'mkdir -p /var/run/wireguard && mount --bind "$1" /var/run/wireguard && shift && exec "$@"';

test("containers and a host with wireguard-go reach each other, whichever side begins", async (t) => {
  const [own, other] = makeFabric(t, [0, 1]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, {
    Network: "10.5.0.0/16",
    Backend: { Type: "wireguard", Implementation: "userspace", PSK },
  });
  t.after(() => rmSync(join(tmpdir(), `flannel-wgkey-${own.name}`), { force: true }));
  t.after(() => rmSync(uapiDirectoryOf(own.name), { recursive: true, force: true }));
  const agent = cluster.start(own);
  await agent.ready();
  const container = addContainer(t, own, agent);
  const [lease] = [...cluster.data.entries.values()];
  const { BackendData } = JSON.parse(lease!.value) as { BackendData: { PublicKey: string } };

  const directory = mkdtempSync(join(tmpdir(), "flannel-wggo-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const inDirectory = (...command: string[]) => ["-m", "sh", "-c", IN_DIRECTORY, "sh", directory, ...command];
  const wg = async (...args: string[]): Promise<string> =>
    (await exec("unshare", inDirectory("wg", ...args), { netns: other.path })).stdout.trim();
  t.after(async () => {
    if (!t.passed) console.log(agent.log.join("\n"), await wg("show", "all", "dump").catch(String));
  });
  const child = spawn(
    "nsenter",
    [`--net=${other.path}`, "unshare", ...inDirectory("wireguard-go", "-f", "flannel-wg")],
    { stdio: "ignore" },
  );
  const ended = new Promise((resolve) => child.once("exit", resolve));
  t.after(async () => {
    child.kill();
    await ended;
  });
  await waitFor("wireguard-go", () => wg("show", "flannel-wg", "listen-port").catch(() => false), SLOW_MS);
  const [keyFile, pskFile] = [join(directory, "key"), join(directory, "psk")];
  writeFileSync(keyFile, other.run("wg", "genkey"), { mode: 0o600 });
  writeFileSync(pskFile, PSK, { mode: 0o600 });
  const peer = ["peer", BackendData.PublicKey, "preshared-key", pskFile];
  await wg(
    ...["set", "flannel-wg", "private-key", keyFile, "listen-port", "51820", ...peer],
    ...["endpoint", `${own.ipv4}:51820`, "allowed-ips", "10.5.0.0/16"],
  );
  other.run("ip", "address", "add", "10.5.77.1/32", "dev", "flannel-wg");
  other.run("ip", "link", "set", "flannel-wg", "mtu", "1420", "up");
  other.run("ip", "route", "add", "10.5.0.0/16", "dev", "flannel-wg");
  const publicKey = await wg("show", "flannel-wg", "public-key");
  const value = {
    PublicIP: other.ipv4,
    BackendType: "wireguard",
    BackendData: { PublicKey: publicKey, Port: 51820 },
  };
  cluster.data.put("10.5.77.0-24", JSON.stringify(value));

  await waitFor("an answer", () => answers(container, "10.5.77.1"), SLOW_MS);
  await expectAnswer(container, "10.5.77.1", 1420 - 28); // a full packet
  await expectAnswer(other, container.ipv4, 1420 - 28); // from the other side

  // A new device of wireguard-go's knows no session: it begins.
  await wg("set", "flannel-wg", "peer", BackendData.PublicKey, "remove");
  await wg(...["set", "flannel-wg", ...peer, "endpoint", `${own.ipv4}:51820`, "allowed-ips", "10.5.0.0/16"]);
  await waitFor("an answer after it began", () => answers(other, container.ipv4), SLOW_MS);
});
