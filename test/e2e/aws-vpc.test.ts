/**
 * The aws-vpc backend in labs: the hub is the VPC's router and has the API, so that a missing route is a lost packet.
 *
 *            hub: EC2's API, datastore, router by the route table
 *                        192.168.64.0/24
 *              ┌───────────────┼───────────────┐
 *             h1              h2              h3         each with a container
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { AWS_PORT } from "../../src/lab/clusters/aws-vpc.ts";
import { ExecError, exec } from "../../src/linux/exec.ts";
import { netnsPath } from "../../src/linux/netns.ts";
import { until } from "../support/until.ts";

const FLANNELCTL = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
const EC2_CALL = fileURLToPath(new URL("../support/ec2-call.ts", import.meta.url));
const TABLE = "rtb-0f1a2b3c";
const made: string[] = [];

after(async () => {
  for (const lab of made) await lab_("down", lab).catch(() => {});
});

async function lab_(command: string, lab: string, ...args: string[]): Promise<string> {
  try {
    return (await exec(FLANNELCTL, ["lab", command, `--name=${lab}`, ...args], { timeoutMs: 120_000 }))
      .stdout;
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    throw new Error(`lab ${command}: ${error.stdout}${error.stderr}`);
  }
}

/** A lab with the given flags, whose hosts list the routes every second. */
async function up(label: string, ...flags: string[]): Promise<string> {
  const lab = `aws${process.pid}${label}`;
  made.push(lab);
  await lab_("up", lab, "--backend=aws-vpc", "--hints=false", ...flags, "--", "--cloud-resync=1");
  return lab;
}

const netnsOf = (lab: string, node: string): string => netnsPath(`flannel-${lab}-${node}`);

/** The VPC router's routes: destination → host address. */
async function routesOf(lab: string, family = "-4"): Promise<ReadonlyMap<string, string>> {
  const { stdout } = await exec("ip", [family, "route"], { netns: netnsOf(lab, "hub") });
  return new Map([...stdout.matchAll(/^(\S+) via (\S+)/gm)].map(([, to, via]) => [to!, via!]));
}

const destinationOf = async (lab: string, via: string): Promise<string | undefined> =>
  [...(await routesOf(lab))].find(([, each]) => each === via)?.[0];

const callEc2 = (lab: string, action: string, parameters: object): Promise<unknown> =>
  exec(
    process.execPath,
    [
      EC2_CALL,
      `http://192.168.64.1:${AWS_PORT}`,
      action,
      JSON.stringify({ RouteTableId: TABLE, ...parameters }),
    ],
    { netns: netnsOf(lab, "hub") },
  );

const wait = (what: string, condition: () => boolean | Promise<boolean>): Promise<void> =>
  until(condition, what, 40_000);

const logOf = (lab: string, host: string): string =>
  readFileSync(join("/run/flannel-lab", lab, host, "flanneld.log"), "utf8");

const allWork = async (lab: string): Promise<boolean> =>
  lab_("ping", lab, "--count=1").then(
    () => true,
    () => false,
  );

test("a deleted, a foreign and a gone host's route: lost packets, repaired, drift; hosts join and leave", async () => {
  const lab = await up("a");
  await wait("all ways work", () => allWork(lab));
  const state = JSON.parse(readFileSync(join("/run/flannel-lab", lab, "state.json"), "utf8")) as {
    readonly processes: readonly { readonly pid: number; readonly node: string }[];
  };
  const pidOf = (host: string): number => state.processes.find(({ node }) => node === host)!.pid;
  const h2 = (await destinationOf(lab, "192.168.64.12"))!;

  process.kill(pidOf("h2"), "SIGSTOP");
  await callEc2(lab, "DeleteRoute", { DestinationCidrBlock: h2 });
  await assert.rejects(lab_("ping", lab, "--count=1"), /✗/);
  process.kill(pidOf("h2"), "SIGCONT");
  await wait("the route is back", async () => (await routesOf(lab)).get(h2) === "192.168.64.12");
  await wait("all ways work", () => allWork(lab));

  process.kill(pidOf("h3"), "SIGSTOP"); // it would delete a route to itself that it does not need
  await callEc2(lab, "ReplaceRoute", { DestinationCidrBlock: h2, NetworkInterfaceId: "eni-00000003" });
  await wait("the route leads back", async () => (await routesOf(lab)).get(h2) === "192.168.64.12");
  await wait("the log names it", () =>
    logOf(lab, "h2").includes(
      `Replaced foreign route ${h2} to eni-00000003 in route table ${TABLE}; it leads to eni-00000002 now`,
    ),
  );
  process.kill(pidOf("h3"), "SIGCONT");
  const socket = join("/run/flannel-lab", lab, "h2", "flanneld.sock");
  const drift = (await exec(FLANNELCTL, ["drift", `--socket=${socket}`])).stdout;
  assert.match(drift, new RegExp(`cloud-route ${h2} to 192\\.168\\.64\\.12 in aws-vpc table of this host`));

  const h3 = (await destinationOf(lab, "192.168.64.13"))!;
  await lab_("remove-host", lab, "h3");
  await wait("the blackhole is deleted", () =>
    ["h1", "h2"].some((host) =>
      logOf(lab, host).includes(`Deleted route ${h3} to eni-00000003, whose target no longer exists`),
    ),
  );
  await lab_("add-host", lab);
  await wait("all ways work", () => allWork(lab));
  await lab_("down", lab);
});

test("with Kubernetes as datastore, in both families", async () => {
  const lab = await up("k", "--kube", "--dual-stack", "--hosts=2");
  await wait("all ways work", () => allWork(lab));
  assert.equal((await routesOf(lab)).size, 2);
  assert.equal([...(await routesOf(lab, "-6")).keys()].filter((to) => to.startsWith("fd00:5:")).length, 2);
  await lab_("down", lab);
});
