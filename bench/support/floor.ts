/**
 * What VXLAN peers cost at least: `bridge -batch` and `ip -batch` with exactly the entries that flanneld makes, on a
 * fresh host whose device is prepared.
 */

import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Bed, BenchHost } from "./bed.ts";
import { PeerEntryCount } from "./kernel-events.ts";
import { DEVICE, peerAt } from "./peers.ts";

/** The time it takes, in ms. */
export async function runBatches(bed: Bed, count: number): Promise<number> {
  await using host = await bed.host();
  prepareDevice(host);
  const [fdb, addresses] = writeBatches(host, count);
  // Whoever listens costs the kernel a little: the same here as there.
  using entries = new PeerEntryCount(host.path, count);
  const startedMs = performance.now();
  const child = host.spawn("sh", ["-c", `bridge -batch '${fdb}' && ip -batch '${addresses}'`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`bridge -batch or ip -batch failed: exit code ${code}`);
  const lastEntryMs = await entries.all;
  host.expectComplete(count);
  return lastEntryMs - startedMs;
}

function prepareDevice(host: BenchHost): void {
  const vxlan = ["id", "1", "local", host.address, "dev", "eth0", "dstport", "8472", "nolearning"];
  host.run("ip", "link", "add", DEVICE, "type", "vxlan", ...vxlan);
  host.run("ip", "address", "add", "10.0.1.0/32", "dev", DEVICE);
  host.run("ip", "link", "set", DEVICE, "up");
}

function writeBatches(host: BenchHost, count: number): [fdb: string, addresses: string] {
  const peers = Array.from({ length: count }, (_, index) => peerAt(index));
  const write = (name: string, lines: string[]): string => {
    const path = join(host.directory, name);
    writeFileSync(path, `${lines.join("\n")}\n`);
    return path;
  };
  return [
    write(
      "fdb",
      peers.map(({ mac, publicIp }) => `fdb replace ${mac} dev ${DEVICE} dst ${publicIp} self permanent`),
    ),
    write("addresses", [
      ...peers.map(({ vtep, mac }) => `neigh replace ${vtep} lladdr ${mac} dev ${DEVICE} nud permanent`),
      ...peers.map(({ subnet, vtep }) => `route replace ${subnet} via ${vtep} dev ${DEVICE} onlink proto 70`),
    ]),
  ];
}
