/**
 * What a cloud backend costs: resident memory of flanneld with aws-vpc, once its client has created the route and listed the
 * table several times, beside flanneld with host-gw and as many leases. The API is the lab's, with a table of 50 routes.
 */

import { parseIp } from "../src/address/ip.ts";
import { Ec2Server } from "../src/aws-server/ec2-server.ts";
import { Vpc } from "../src/aws-server/vpc.ts";
import { encodeLeaseValue } from "../src/lease/lease-codec.ts";
import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import type { NetworkKind } from "./support/etcd.ts";
import { median } from "./support/measurement.ts";
import type { Peer } from "./support/peers.ts";
import { privateMb, residentMb } from "./support/usage.ts";
import { steady, waitFor } from "./support/wait.ts";

const PEERS = 49;
const BAR_MB = 15;
const LISTINGS = 5;
const STEADY = { tolerance: 0.5, stableMs: 2_000, deadlineMs: 60_000 };

const networkOf = (type: string, backendType: string): NetworkKind => ({
  name: type,
  config: `{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"${type}"}}`,
  leaseOf: ({ publicIp }: Peer) =>
    encodeLeaseValue({
      ...{ publicIp: parseIp(publicIp), publicIpv6: undefined, backendType },
      ...{ backendData: undefined, backendV6Data: undefined },
    }),
});

interface Usage {
  readonly resident: number;
  readonly own: number;
}

export const cloudMemory: Benchmark = {
  name: "cloud-memory",
  async run(context) {
    const plain: Usage[] = [];
    const cloud: Usage[] = [];
    for (let turn = 1; turn <= context.turns; turn++) {
      context.progress(`turn ${turn} of ${context.turns}`);
      plain.push(await measure(context, networkOf("host-gw", "host-gw"), undefined));
      const vpc = new Vpc({ cidrs: ["192.168.0.0/16"] });
      await using ec2 = await Ec2Server.start({ vpc, host: context.bed.address });
      cloud.push(await measure(context, networkOf("aws-vpc", ""), ec2));
    }
    const more = (field: keyof Usage) => cloud.map((usage, turn) => usage[field] - plain[turn]![field]);
    const samples = (list: readonly Usage[]) => list.map(({ resident }) => resident);
    return [
      {
        measure: "host-gw: resident memory",
        value: median(samples(plain)),
        unit: "MB",
        samples: samples(plain),
      },
      {
        measure: "aws-vpc: resident memory",
        value: median(samples(cloud)),
        unit: "MB",
        samples: samples(cloud),
      },
      {
        measure: "aws-vpc − host-gw: resident memory",
        value: median(more("resident")),
        unit: "MB",
        bar: BAR_MB,
        samples: more("resident"),
      },
      {
        measure: "aws-vpc − host-gw: of it its own, without pages of files",
        value: median(more("own")),
        unit: "MB",
        samples: more("own"),
      },
    ];
  },
};

async function measure(
  { bed, flanneld }: BenchContext,
  kind: NetworkKind,
  ec2: Ec2Server | undefined,
): Promise<Usage> {
  const prefix = await bed.etcd.networkOf(PEERS, kind);
  await using host = await bed.host();
  host.run("ip", "route", "add", "172.16.0.0/12", "dev", "eth0");
  if (ec2 !== undefined) {
    ec2.vpc.addInstance("00000001", [host.address]);
    const other = ec2.vpc.addInstance("00000002", ["192.168.254.1"]);
    const { routes } = ec2.vpc.table("rtb-0f1a2b3c");
    for (let number = 1; number < 50; number++) routes.set(`10.200.${number}.0/24`, other.id);
  }
  const env =
    ec2 === undefined ? undefined : { AWS_ENDPOINT_URL: ec2.url, AWS_EC2_METADATA_SERVICE_ENDPOINT: ec2.url };
  await using daemon = new Daemon(host, {
    ...{ flanneld, etcdEndpoint: bed.etcd.endpoint, prefix, env },
    args: ["--cloud-resync=1"],
  });
  await daemon.brings("subnet.env", daemon.subnetEnvWritten);
  if (ec2 !== undefined) {
    const isListed = (): true | undefined => {
      const created = ec2.calls.indexOf("CreateRoute");
      return created >= 0 && ec2.calls.length - created > LISTINGS * 2 ? true : undefined;
    };
    await daemon.brings("listings", waitFor("listings", isListed, { deadlineMs: 60_000 }), 60_000);
  }
  const resident = await daemon.brings(
    "memory",
    steady("memory", () => residentMb(daemon.pid), STEADY),
    90_000,
  );
  const own = privateMb(daemon.pid);
  await daemon.stop("SIGTERM");
  await bed.etcd.remove(prefix, daemon.leaseKey());
  return { resident, own };
}
