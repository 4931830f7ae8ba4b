/** Hosts that join and leave a lab while it runs. */

import { ConfigError } from "../../base/error.ts";
import type { Programs } from "../clusters/cluster.ts";
import { openCluster } from "../clusters/open-cluster.ts";
import { finishHost, LabRecord, removeHost, startHost } from "../hosts/lab-hosts.ts";
import { makeHost } from "../hosts/lab-links.ts";
import { nodesOfHost, planOneMore } from "../plan/topology.ts";
import { refuseForeign, requireState } from "../record/lab-state.ts";
import { becomeMaker } from "../record/maker.ts";

/**
 * One more host for the lab; returns when its container has its address. What fails is taken away again. Throws
 * ConfigError, FlannelError.
 */
export async function addHost(
  lab: string,
  programs: Programs,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  using _maker = becomeMaker(lab);
  const record = new LabRecord(requireState(lab));
  const { topology, setup } = record.state;
  const cluster = openCluster(setup, topology, programs);
  const host = planOneMore(topology);
  refuseForeign(nodesOfHost(host));
  try {
    const hosts = [...topology.hosts, host].sort((a, b) => a.number - b.number);
    await record.change({ topology: { ...topology, hosts } });
    makeHost(host, topology);
    const flanneld = await startHost(record, cluster, host);
    progress(await finishHost(host, flanneld, { programs, backendType: setup.backendType }, signal));
  } catch (error) {
    await removeHost(record, cluster, host, programs);
    throw error;
  }
}

/**
 * Takes a host out of the lab. Resolves to what went wrong without keeping it from going. Throws ConfigError if there is
 * no such host, or no other; FlannelError.
 */
export async function dropHost(lab: string, name: string, programs: Programs): Promise<string[]> {
  using _maker = becomeMaker(lab);
  const record = new LabRecord(requireState(lab));
  const { topology, setup } = record.state;
  const names = topology.hosts.map((host) => host.name);
  const host = topology.hosts.find((candidate) => candidate.name === name);
  if (host === undefined) {
    throw new ConfigError(
      `there is no host ${JSON.stringify(name)} in lab ${lab}; there are: ${names.join(", ")}`,
    );
  }
  if (names.length === 1) {
    throw new ConfigError(`${name} is the last host of lab ${lab}: "lab down" removes the lab`);
  }
  return removeHost(record, openCluster(setup, topology, programs), host, programs);
}
