/** A lab's cluster in a VPC: any datastore, and beside it EC2's API, which the hosts find by the SDKs' variables. */

import type { Topology } from "../plan/topology.ts";
import { labDirectory } from "../plan/topology.ts";
import { startDaemon } from "../record/lab-processes.ts";
import type { Cluster } from "./cluster.ts";
import { listensOn, waitForDaemon } from "./daemons.ts";

export const AWS_PORT = 8773;

/** For the person at the lab: `aws --endpoint-url`. The hosts have the role of their instances. */
export const LAB_ACCESS_KEY = { AccessKeyId: "AKIALAB", SecretAccessKey: "lab" };

/** `flannelctl`: path of the program that serves the API. */
export function inAwsVpc(cluster: Cluster, { name, hub }: Topology, flannelctl: string): Cluster {
  const { family, address } = hub.addresses[0]!;
  const url = `http://${family === 4 ? address : `[${address}]`}:${AWS_PORT}`;
  const logFile = `${labDirectory(name)}/aws.log`;
  return {
    ...cluster,
    async create(networkConfig, onStart, signal) {
      await cluster.create(networkConfig, onStart, signal);
      const args = ["lab", "serve-aws", name];
      const server = startDaemon({ netns: hub.netns, program: flannelctl, args, logFile });
      await onStart(server, "aws");
      const isListening = (): true | undefined => (listensOn(server.pid, AWS_PORT) ? true : undefined);
      await waitForDaemon("EC2's API", server, logFile, isListening, signal);
    },
    flanneldSettings(host) {
      const { flags, environment } = cluster.flanneldSettings(host);
      const aws = { AWS_ENDPOINT_URL: url, AWS_EC2_METADATA_SERVICE_ENDPOINT: url };
      return { flags, environment: { ...environment, ...aws } };
    },
  };
}
