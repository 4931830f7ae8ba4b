/**
 * Hosts for tests of flanneld: network namespaces on a bridge, each with a way to an etcd that can be cut, and on
 * demand a container behind a bridge that has its address from subnet.env, as Docker would make it.
 *
 *              hub: bridge
 *        ┌─────────┴─────────┐
 *   eth0 192.168.7.1    eth0 192.168.7.2   …       hosts; on their loopback a relay to etcd
 *      br0 10.5.a.1        br0 10.5.b.1
 *        │                   │
 *   eth0 10.5.a.2       eth0 10.5.b.2              containers
 */

import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { freshNetns, type TestNetns } from "../netns/support.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

// Each namespace and each process cleans up at the exit of this one, too.
process.setMaxListeners(100);

export interface TestHost extends TestNetns {
  readonly address: string;
  /** Its way to etcd: "http://127.0.0.1:41234". */
  readonly etcdEndpoint: string;
  /** The relay behind {@link etcdEndpoint}. */
  readonly line: TcpProxy;
  /** Of the host's own, for subnet.env and the like. */
  readonly directory: string;
  readonly subnetFile: string;
}

/** `count` hosts that reach each other and a datastore on the loopback; all gone after the test. */
export async function makeHosts(
  t: TestContext,
  etcd: { readonly endpoint: string },
  count: number,
): Promise<TestHost[]> {
  const hub = freshNetns(t, "hub");
  hub.run("ip", "link", "add", "underlay", "type", "bridge");
  hub.run("ip", "link", "set", "underlay", "up");
  const url = new URL(etcd.endpoint);
  const hosts: TestHost[] = [];
  for (let number = 1; number <= count; number++) {
    const netns = freshNetns(t, `h${number}-`);
    hub.run(
      ...["ip", "link", "add", `port${number}`, "type", "veth", "peer", "name", "eth0"],
      ...["netns", netns.name],
    );
    hub.run("ip", "link", "set", `port${number}`, "master", "underlay", "up");
    const address = `192.168.7.${number}`;
    netns.run("ip", "address", "add", `${address}/24`, "dev", "eth0");
    netns.run("ip", "link", "set", "eth0", "up");
    netns.run("ip", "route", "add", "default", "via", "192.168.7.254");
    netns.run("sysctl", "-qw", "net.ipv4.ip_forward=1");
    const line = await startTcpProxy(Number(url.port), { netns: netns.path });
    t.after(() => line[Symbol.asyncDispose]());
    const directory = await mkdtemp(join(tmpdir(), `flannel-test-${process.pid}-`));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    hosts.push({
      ...netns,
      address,
      line,
      etcdEndpoint: `${url.protocol}//127.0.0.1:${line.port}`,
      directory,
      subnetFile: join(directory, "subnet.env"),
    });
  }
  return hosts;
}

/** A container of the host, made from its subnet.env (`subnet` = FLANNEL_SUBNET, e.g. "10.5.7.1/24"). */
export function makeContainer(
  t: TestContext,
  host: TestHost,
  { subnet, mtuBytes }: { readonly subnet: string; readonly mtuBytes: number },
): TestNetns & { readonly address: string } {
  const [gateway, length] = subnet.split("/") as [string, string];
  const address = gateway.replace(/\d+$/, (last) => String(Number(last) + 1));
  const container = freshNetns(t, "c");
  host.run("ip", "link", "add", "br0", "mtu", String(mtuBytes), "type", "bridge");
  host.run("ip", "address", "add", subnet, "dev", "br0");
  host.run(
    ...["ip", "link", "add", "c1", "mtu", String(mtuBytes), "type", "veth", "peer", "name", "eth0"],
    ...["mtu", String(mtuBytes), "netns", container.name],
  );
  host.run("ip", "link", "set", "c1", "master", "br0", "up");
  host.run("ip", "link", "set", "br0", "up");
  container.run("ip", "address", "add", `${address}/${length}`, "dev", "eth0");
  container.run("ip", "link", "set", "eth0", "up");
  container.run("ip", "route", "add", "default", "via", gateway);
  return { ...container, address };
}
