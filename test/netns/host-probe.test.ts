/** Whether a host answers, asked in a namespace: addresses that answer, and those that cannot even be asked. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { freshNetns } from "./support.ts";

const SCRIPT = `
const { hostAnswers } = await import(${JSON.stringify(new URL("../../src/linux/host-probe.ts", import.meta.url))});
const { openRtnetlink } = await import(${JSON.stringify(new URL("../../src/linux/netlink-socket.ts", import.meta.url))});
const { parseIp } = await import(${JSON.stringify(new URL("../../src/address/ip.ts", import.meta.url))});
const rtnetlink = openRtnetlink();
for (const address of process.argv.slice(1)) console.log(address, await hostAnswers(rtnetlink, parseIp(address)));
process.exit();
`;

test("a host that cannot be asked, for want of a route or because it is a broadcast address, does not answer", async (t) => {
  const netns = freshNetns(t);
  netns.run("ip", "link", "add", "br0", "type", "bridge");
  netns.run("ip", "address", "add", "10.9.0.1/30", "dev", "br0");
  netns.run("ip", "link", "set", "br0", "up");
  const node = [process.execPath, "--input-type=module", "-e", SCRIPT];
  const addresses = ["127.0.0.1", "::1", "10.9.0.1", "192.0.2.1", "10.9.0.3"];
  const { stdout } = await promisify(execFile)("nsenter", [`--net=${netns.path}`, ...node, ...addresses]);
  assert.deepEqual(stdout.trim().split("\n"), [
    ...["127.0.0.1 true", "::1 true", "10.9.0.1 true"],
    ...["192.0.2.1 false", "10.9.0.3 false"],
  ]);
});
