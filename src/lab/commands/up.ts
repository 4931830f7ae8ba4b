/** Making a lab: the state file, then everything in the plan. What fails is taken down again. */

import type { Programs } from "../clusters/cluster.ts";
import { openCluster } from "../clusters/open-cluster.ts";
import { requireCniPlugins } from "../hosts/container-runtime.ts";
import { addressesOf, finishHost, LabRecord, startHost } from "../hosts/lab-hosts.ts";
import { makeHost, makeHub } from "../hosts/lab-links.ts";
import { isCloud, type LabPlan, notesOn } from "../plan/lab-plan.ts";
import {
  requireDevices,
  requireIpv6,
  requireProgram,
  requireRoot,
  requireTools,
  type Tool,
} from "../plan/requirements.ts";
import type { Host } from "../plan/topology.ts";
import type { ProcessId } from "../record/lab-processes.ts";
import { claimLab, type HubRole, type LabSetup } from "../record/lab-state.ts";
import { becomeMaker } from "../record/maker.ts";
import { down } from "./down.ts";

export interface UpOptions {
  readonly plan: LabPlan;
  readonly setup: LabSetup;
  readonly programs: Programs;
  /** Leave a lab that failed as it is. */
  readonly keep: boolean;
  /** Reports what takes its time. */
  readonly onActivity?: ((activity: string | undefined) => void) | undefined;
}

/** Reports the steps, a line each. */
export type Progress = (line: string) => void;

/**
 * Creates a lab and returns when every container has its address. Aborting removes what was created. Throws
 * ConfigError, FlannelError; then nothing is left, unless `keep`.
 */
export async function up(options: UpOptions, progress: Progress, signal: AbortSignal): Promise<void> {
  const { plan, setup, programs } = options;
  const { topology } = plan;
  requireParts(options);
  const record = new LabRecord(await claimLab(topology, setup));
  using _maker = becomeMaker(topology.name);
  try {
    await build(record, options, progress, signal);
  } catch (error) {
    if (!options.keep) await down(topology.name, programs.cniPlugin);
    throw error;
  }
}

function requireParts({ plan: { topology, network }, setup, programs }: UpOptions): void {
  requireRoot();
  const tools: Tool[] = [];
  if (setup.datastore === "etcd") tools.push("etcd");
  if (setup.datastore === "kube") tools.push("openssl");
  if (network.enableNftables) tools.push("nft");
  requireTools(tools);
  requireDevices(network.backend);
  if (topology.cni) {
    requireCniPlugins();
    requireProgram(programs.cniPlugin, "the CNI plugin");
  }
  if (network.ipv6 !== undefined) requireIpv6();
  requireProgram(setup.flanneld, "--flanneld");
}

async function build(
  record: LabRecord,
  { plan, setup, programs, onActivity = () => {} }: UpOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { topology, networkConfig } = plan;
  const { hub, hosts } = topology;
  const cluster = openCluster(setup, topology, programs);

  makeHub(topology, isCloud(setup.backendType));
  const onStart = async (process: ProcessId, role: HubRole): Promise<void> => {
    const { processes } = record.state;
    await record.change({ processes: [...processes, { ...process, role, node: hub.name }] });
    if (role === setup.datastore) for (const host of hosts) makeHost(host, topology);
  };
  onActivity(`Starting ${setup.datastore} on the hub`);
  await cluster.create(networkConfig, onStart, signal);
  progress(`hub  ${addressesOf(hub)}  ${setup.datastore}, network config written`);

  const settings = { programs, backendType: setup.backendType };
  const started: { readonly host: Host; readonly flanneld: ProcessId }[] = [];
  for (const host of hosts) started.push({ host, flanneld: await startHost(record, cluster, host) });
  for (const [index, { host, flanneld }] of started.entries()) {
    onActivity(`Waiting for flanneld on ${host.name} (${index + 1} of ${hosts.length})`);
    progress(await finishHost(host, flanneld, settings, signal));
  }
  onActivity(undefined);
  for (const note of notesOn(setup.backendType, topology)) progress(`Note: ${note}.`);
}
