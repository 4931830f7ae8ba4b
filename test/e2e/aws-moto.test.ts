/**
 * flanneld with the aws-vpc backend on three hosts, against an EC2 and a metadata service that others wrote: moto. The client is
 * the one of production, with the SDKs' variables for endpoints, and the credentials of the instance's role.
 *
 *        moto, on the loopback, with etcd
 *     ┌──────────┼──────────┐            relays on each host's loopback
 *     h1         h2         h3           192.168.7.1 …
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { cloudRoutesOf, routeTablesOf } from "../../src/cloud/aws/ec2-network.ts";
import { startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { fieldOf, type Moto, startMoto } from "../support/moto.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const IMAGE = "ami-12c6146b";

/** Destination → network interface, of one table. */
async function routesOf(moto: Moto, tableId: string): Promise<Readonly<Record<string, string>>> {
  const [table] = routeTablesOf(await moto.call("DescribeRouteTables", { RouteTableId: [tableId] }));
  const routes = cloudRoutesOf(table!, "");
  return Object.fromEntries(
    routes.flatMap(({ destination, target }) => (target === "local" ? [] : [[destination, target]])),
  );
}

test("three hosts on moto's EC2: routes, source/destination check, repair, another table", async (t) => {
  await using etcd = await startEtcd();
  const config = { Network: "10.5.0.0/16", Backend: { Type: "aws-vpc" } };
  await etcd.ctl("put", "/coreos.com/network/config", JSON.stringify(config));
  const moto = await startMoto(t);
  const vpc = fieldOf(await moto.call("CreateVpc", { CidrBlock: "192.168.7.0/24" }), "vpc", "vpcId");
  const subnet = fieldOf(
    await moto.call("CreateSubnet", { VpcId: vpc, CidrBlock: "192.168.7.0/24" }),
    "subnet",
    "subnetId",
  );
  const mainFilter = {
    "Filter.1.Name": "vpc-id",
    "Filter.1.Value.1": vpc,
    "Filter.2.Name": "association.main",
    "Filter.2.Value.1": "true",
  };
  const [main] = routeTablesOf(await moto.call("DescribeRouteTables", mainFilter));

  const expected: Record<string, string> = {};
  const flannelds = [];
  const hosts = await makeHosts(t, etcd, 3);
  const environments: Readonly<Record<string, string>>[] = [];
  for (const host of hosts) {
    const run = await moto.call("RunInstances", {
      ...{ ImageId: IMAGE, MinCount: "1", MaxCount: "1" },
      ...{ SubnetId: subnet, PrivateIpAddress: host.address },
    });
    const instance = fieldOf(run, "instancesSet", "item", "instanceId");
    const eni = fieldOf(run, "instancesSet", "item", "networkInterfaceSet", "item", "networkInterfaceId");
    const relays = await Promise.all(
      [moto.port, await moto.metadataOf(instance)].map((port) => startTcpProxy(port, { netns: host.path })),
    );
    for (const relay of relays) t.after(() => relay[Symbol.asyncDispose]());
    const [ec2Url, metadataUrl] = relays.map(({ port }) => `http://127.0.0.1:${port}`);
    const env = { AWS_ENDPOINT_URL: ec2Url!, AWS_EC2_METADATA_SERVICE_ENDPOINT: metadataUrl! };
    environments.push(env);
    const { flanneld, subnet: own } = await readyFlanneld(t, host, {
      args: ["--iface=eth0", "--cloud-resync=1"],
      env,
    });
    await flanneld.logged(
      new RegExp(`This host in the cloud: instance ${instance}, routes to ${eni}, table ${main!.id}`),
    );
    await flanneld.logged(new RegExp(`Disabled the source/destination check of ${eni}`));
    expected[own.replace(/\.1\//, ".0/")] = eni;
    flannelds.push(flanneld);
  }
  assert.deepEqual(await routesOf(moto, main!.id), expected);

  const [destination] = Object.keys(expected);
  await moto.call("DeleteRoute", { RouteTableId: main!.id, DestinationCidrBlock: destination! });
  await flannelds[0]!.logged(/Repaired drift in .*: cloud-route/, { deadlineMs: 60_000 });
  assert.deepEqual(await routesOf(moto, main!.id), expected);

  const other = fieldOf(await moto.call("CreateRouteTable", { VpcId: vpc }), "routeTable", "routeTableId");
  await moto.call("AssociateRouteTable", { RouteTableId: other, SubnetId: subnet });
  const isFollowed = async () =>
    JSON.stringify(Object.entries(await routesOf(moto, other)).sort()) ===
    JSON.stringify(Object.entries(expected).sort());
  await until(isFollowed, "routes of all hosts in the other table", 60_000);

  const [first] = hosts;
  const store = [
    `--etcd-endpoints=${first!.etcdEndpoint}`,
    `--subnet-file=${first!.subnetFile}`,
    "--iface=eth0",
  ];
  const inSync = await flannelctl(first!, ["plan", ...store], environments[0]!);
  assert.doesNotMatch(inSync.out + inSync.err, /cloud-route/);
  await flannelds[0]!.stop();
  const ours = Object.keys(expected)[0]!;
  const text = `cloud-route ${ours} to ${expected[ours]} in aws-vpc table of this host`;
  const subnetFile = `--subnet-file=${first!.subnetFile}`;
  const cleanup = await flannelctl(first!, ["cleanup", "--cloud=aws-vpc", subnetFile], {
    ...environments[0]!,
    WIREGUARD_KEY_FILE: `${first!.directory}/wgkey`,
  });
  assert.equal(cleanup.code, 0, cleanup.err);
  assert.match(cleanup.out, new RegExp(`removed ${text}`));
  const { [ours]: _gone, ...others } = expected;
  assert.deepEqual(await routesOf(moto, other), others);
  const desired = await flannelctl(first!, ["plan", ...store], environments[0]!);
  assert.match(
    desired.out,
    /create +cloud-route 10\.5\.\d+\.0\/24 to 192\.168\.7\.1 in aws-vpc table of this host/,
  );
  const unreachable = { AWS_EC2_METADATA_SERVICE_ENDPOINT: "http://127.0.0.1:1" };
  assert.match(
    (await flannelctl(first!, ["plan", ...store], unreachable)).err,
    /not compared: cloud-route .*metadata/,
  );
  for (const { lines } of flannelds)
    assert.deepEqual(
      lines.filter((line) => /^[EF]\d{4} |key|secret/i.test(line)),
      [],
    );
});
