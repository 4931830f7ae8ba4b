/**
 * `flannelctl lab serve-aws`: the VPC of a lab in one process. EC2's API and metadata service for the hosts, and the VPC's router:
 * the hub routes by what the route table says, so that a missing route is a lost packet.
 */

import { watch } from "node:fs";
import { formatPrefix, parsePrefix } from "../../address/prefix.ts";
import { Ec2Server } from "../../aws-server/ec2-server.ts";
import { workingRoutes } from "../../aws-server/followed-routes.ts";
import { Vpc } from "../../aws-server/vpc.ts";
import { messageOf } from "../../base/error.ts";
import { Klog, writeToStderr } from "../../base/klog.ts";
import { type Command, defineCommand } from "../../config/command.ts";
import { openRtnetlink } from "../../linux/netlink-socket.ts";
import { deleteRoute, newRoute } from "../../netlink/route.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink.ts";
import { type Host, labDirectory, type Topology } from "../plan/topology.ts";
import { readState, requireState, STATE_FILE } from "../record/lab-state.ts";
import { AWS_PORT, LAB_ACCESS_KEY } from "./aws-vpc.ts";

export const serveAwsCommand = (): Command =>
  defineCommand({
    summary: 'the VPC of a lab with --backend aws-vpc, run by "lab up"',
    synopsis: "LAB",
    flags: {},
    takes: { words: ["LAB"] },
    run: ({ positional: [lab] }) => serve(requireState(lab!).topology),
  });

async function serve({ name: lab, hub, segments }: Topology): Promise<number> {
  const logger = new Klog({ write: writeToStderr, verbosity: 0, pid: process.pid });
  const stopped = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stopped.resolve());
  const cidrs = segments
    .flatMap(({ networks }) => networks)
    .map((network) => formatPrefix(parsePrefix(network)!));
  const vpc = new Vpc({ cidrs });
  using rtnl = openRtnetlink();
  const program = createRouter(vpc, rtnl, logger);
  vpc.onChange = program;
  await using server = await Ec2Server.start({ vpc, host: hub.addresses[0]!.address, port: AWS_PORT });
  server.credentials.add(LAB_ACCESS_KEY);
  logger.info(`Serving EC2's API of lab ${lab} at ${server.url}`);
  using _instances = followHosts(lab, vpc, logger);
  await stopped.promise;
  return 0;
}

/** Makes the kernel's routes of this namespace those of the VPC, when called. */
function createRouter(vpc: Vpc, rtnl: Rtnetlink, logger: Klog): () => void {
  let programmed = new Map<string, string>();
  return () => {
    const desired = new Map(workingRoutes(vpc).map(({ destination, via }) => [destination, via]));
    for (const [destination, via] of programmed) {
      if (desired.get(destination) === via) continue;
      change(
        () => rtnl.connection.request(deleteRoute({ destination, gateway: via })),
        `delete ${destination}`,
      );
    }
    for (const [destination, gateway] of desired) {
      if (programmed.get(destination) === gateway) continue;
      change(
        () => rtnl.connection.request(newRoute({ destination, gateway })),
        `add ${destination} via ${gateway}`,
      );
    }
    programmed = desired;
  };

  function change(request: () => void, what: string): void {
    try {
      request();
      logger.info(`VPC router: ${what}`);
    } catch (error) {
      logger.warn(`VPC router: failed to ${what}: ${messageOf(error)}`);
    }
  }
}

/** Runs an instance for each host, and terminates it with the host. */
function followHosts(lab: string, vpc: Vpc, logger: Klog): Disposable {
  const known = new Map<string, string>();
  const look = (): void => {
    const hosts = readState(lab)?.topology.hosts;
    if (hosts === undefined) return; // the lab is being taken down
    for (const host of hosts) {
      if (known.has(host.name)) continue;
      const { instanceId, id } = vpc.addInstance(
        suffixOf(host),
        host.addresses.map(({ address }) => address),
      );
      known.set(host.name, instanceId);
      logger.info(`Instance ${instanceId} with ${id} for ${host.name}`);
    }
    for (const [name, instanceId] of known) {
      if (hosts.some((host) => host.name === name)) continue;
      known.delete(name);
      vpc.removeInstance(instanceId);
      logger.info(`Terminated instance ${instanceId} of ${name}`);
    }
  };
  const watcher = watch(labDirectory(lab), (_event, file) => {
    if (file === STATE_FILE) look();
  });
  look();
  return { [Symbol.dispose]: () => watcher.close() };
}

const suffixOf = ({ number }: Host): string => number.toString(16).padStart(8, "0");
