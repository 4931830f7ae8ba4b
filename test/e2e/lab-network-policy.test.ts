/**
 * Network policies in a lab, as a user has them: kubectl, flanneld with flannel's own permissions, pods by bin/flannel and its
 * delegates. Pods of h1 are replaced while a stranger on h2 sends to their addresses and policies change; an nftables counter in
 * each pod's namespace, there before its interface is, counts what arrives from the stranger.
 *
 *             hub: API server, kubectl
 *                ┌────────┴────────┐
 *               h1                 h2
 *         h1-c1, victims         h2-c1, the stranger
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startFlanneld } from "../../src/lab/clusters/daemons.ts";
import { openCluster } from "../../src/lab/clusters/open-cluster.ts";
import { attach, attachedAddresses, detach } from "../../src/lab/hosts/container-runtime.ts";
import { makeBareContainer } from "../../src/lab/hosts/lab-links.ts";
import type { CniContainer, Host } from "../../src/lab/plan/topology.ts";
import { readState } from "../../src/lab/record/lab-state.ts";
import { exec, runCommand } from "../../src/linux/exec.ts";
import { deleteNetns, netnsPath } from "../../src/linux/netns.ts";
import { until } from "../support/until.ts";

const bin = (name: string) => fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));
const PROGRAMS = { flanneld: bin("flanneld"), flannelctl: bin("flannelctl"), cniPlugin: bin("flannel") };
const LAB = `np${process.pid}`;
const DEADLINE_MS = 30_000;
const VICTIMS = 6;
const home = mkdtempSync(join(tmpdir(), `lab-policy-${process.pid}-`));
const made: string[] = [];

after(async () => {
  await runCommand(PROGRAMS.flannelctl, ["lab", "down", "--name", LAB]);
  for (const netns of made) deleteNetns(netns);
  rmSync(home, { recursive: true, force: true });
});

async function lab(command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(PROGRAMS.flannelctl, [
    "lab",
    command,
    `--name=${LAB}`,
    ...args,
  ]);
  assert.equal(code, 0, `lab ${command} ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

const kubectl = (...args: string[]): Promise<string> =>
  lab(
    "exec",
    ...["hub", "--", "env", `HOME=${home}`, "kubectl", "--request-timeout=10s"],
    `--kubeconfig=/run/flannel-lab/${LAB}/kubeconfig`,
    ...args,
  );

async function apply(object: unknown): Promise<void> {
  const file = join(home, "object.json");
  writeFileSync(file, JSON.stringify(object));
  await kubectl("apply", "-f", file);
}

const policy = (name: string, spec: unknown) => ({
  ...{
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec,
  },
});

const hostOf = (name: string): Host => readState(LAB)!.topology.hosts.find((host) => host.name === name)!;
const containerOf = (host: string) => hostOf(host).containers[0] as CniContainer;
const addressOf = (container: CniContainer): string => attachedAddresses(container)![0]!.replace(/\/.*/, "");

/** One echo from the pod of h2. */
async function reaches(address: string): Promise<boolean> {
  const args = [`--net=${netnsPath(containerOf("h2").netns)}`, "ping", "-c1", "-W1", "-n", address];
  return (await runCommand("nsenter", args)).code === 0;
}

/** A pod that does not exist yet, with a counter for what comes from `stranger`. */
async function prepareVictim(index: number, stranger: string): Promise<CniContainer> {
  const host = hostOf("h1");
  const name = `victim-${index}`;
  const { stateDirectory } = containerOf("h1").attachment;
  const container: CniContainer = {
    ...{ name, netns: `flannel-${LAB}-h1-${name}` },
    attachment: {
      ...{
        kind: "cni",
        stateDirectory,
        resultFile: join(host.directory, `${name}.json`),
        waitsForPolicies: true,
      },
    },
  };
  made.push(container.netns);
  makeBareContainer(container, host);
  const script = `table inet sniff { chain in { type filter hook prerouting priority -300; ip saddr ${stranger} counter; }; }`;
  await exec("nsenter", [`--net=${netnsPath(container.netns)}`, "nft", script]);
  await apply({
    ...{ apiVersion: "v1", kind: "Pod" },
    metadata: { name, namespace: "default", labels: { app: "victim", number: String(index) } },
    spec: { nodeName: "h1", containers: [{ name: "main", image: "none" }] },
  });
  return container;
}

async function packetsFrom(container: CniContainer): Promise<number> {
  const args = [`--net=${netnsPath(container.netns)}`, "nft", "list", "chain", "inet", "sniff", "in"];
  return Number(/counter packets (\d+)/.exec((await exec("nsenter", args)).stdout)![1]);
}

test("pods are replaced while policies change: a stranger's packets never arrive", async () => {
  const out = await lab("up", "--kube", "--network-policy", "--hosts=2", "--hints=false");
  assert.match(out, /is up/);
  await until(
    async () => /h1-c1 .*Running(.|\n)*h2-c1 .*Running/.test(await kubectl("get", "pods")),
    "pods of the lab in the API server",
    DEADLINE_MS,
  );
  const own = addressOf(containerOf("h1"));
  const stranger = addressOf(containerOf("h2"));
  assert.equal(await reaches(own), true);

  // Applied by kubectl: enforced, explained, and gone with the policy.
  await apply(policy("deny", { podSelector: { matchLabels: { host: "h1" } } }));
  await until(async () => !(await reaches(own)), "enforced policy", DEADLINE_MS);
  const socket = `--socket=${hostOf("h1").directory}/flanneld.sock`;
  const explained = await runCommand(PROGRAMS.flannelctl, [
    "policy",
    "explain",
    "h2-c1",
    "h1-c1",
    "80",
    socket,
  ]);
  assert.equal(explained.code, 1, explained.stderr);
  assert.match(
    explained.stdout,
    /^denied: default\/h2-c1 .*\n(.|\n)*ingress of default\/h1-c1: denied: isolated by default\/deny/,
  );
  assert.match(
    (await runCommand(PROGRAMS.flannelctl, ["policy", "list", socket])).stdout,
    /default\/deny +ingress +default\/h1-c1/,
  );
  await kubectl("delete", "networkpolicy", "deny");
  await until(() => reaches(own), "reachable pod", DEADLINE_MS);

  // Victims allow nobody but friends; the stranger sends to every address of the subnet that they may have.
  await apply(policy("victims", { podSelector: { matchLabels: { app: "victim" } }, ingress: [] }));
  const base = own.replace(/\d+$/, "");
  const last = Number(own.slice(base.length));
  const floods = Array.from({ length: VICTIMS + 2 }, (_, index) => {
    const args = [
      `--net=${netnsPath(containerOf("h2").netns)}`,
      "ping",
      "-q",
      "-i0.02",
      `${base}${last + 1 + index}`,
    ];
    return spawn("nsenter", args, { stdio: "ignore" });
  });
  const victims: CniContainer[] = [];
  try {
    for (let index = 0; index < VICTIMS; index++) {
      const victim = await prepareVictim(index, stranger);
      if (index === 2) await restartFlanneld("h1");
      await attach(PROGRAMS.cniPlugin, hostOf("h1"), victim);
      assert.ok(addressOf(victim).startsWith(base));
      victims.push(victim);
      // The policy that isolates it changes, and another comes and goes.
      const friend = { from: [{ podSelector: { matchLabels: { app: `friend-${index}` } } }] };
      await apply(policy("victims", { podSelector: { matchLabels: { app: "victim" } }, ingress: [friend] }));
      if (index % 2 === 0)
        await apply(policy("more", { podSelector: {}, policyTypes: ["Egress"], egress: [{}] }));
      else await kubectl("delete", "networkpolicy", "more");
      if (index >= 2) {
        const gone = victims[index - 2]!;
        await kubectl("delete", "pod", gone.name);
        await detach(PROGRAMS.cniPlugin, hostOf("h1"), gone);
      }
    }
    for (const victim of victims) assert.equal(await packetsFrom(victim), 0, victim.name);
    // The counter counts: a victim that allows the stranger hears it.
    const newest = victims.at(-1)!;
    const friends = { from: [{ podSelector: { matchLabels: { app: "h2-c1" } } }] };
    await apply(policy("victims", { podSelector: { matchLabels: { app: "victim" } }, ingress: [friends] }));
    await until(async () => (await packetsFrom(newest)) > 0, "packet of a friend", DEADLINE_MS);
  } finally {
    for (const flood of floods) flood.kill();
    await Promise.all(
      floods.map((flood) => (flood.exitCode ?? flood.signalCode) === null && once(flood, "exit")),
    );
    for (const victim of victims) await detach(PROGRAMS.cniPlugin, hostOf("h1"), victim).catch(() => {});
  }
});

/** Ended and started again while pods are there. */
async function restartFlanneld(name: string): Promise<void> {
  const { setup, topology, processes } = readState(LAB)!;
  const { pid } = processes.find(({ role, node }) => role === "flanneld" && node === name)!;
  process.kill(pid, "SIGTERM");
  const isOver = () => {
    try {
      process.kill(pid, 0);
      return false;
    } catch {
      return true;
    }
  };
  await until(isOver, `end of flanneld on ${name}`, DEADLINE_MS);
  startFlanneld(setup, hostOf(name), openCluster(setup, topology, PROGRAMS));
}
