/**
 * The walkthroughs: what docs/walkthroughs and docs/zh promise is what happens. Their commands run in order on three
 * hosts with systemd, real etcd and real Docker. Both languages have the same ones (test/arch/languages.test.ts).
 *
 *            hub 192.168.64.1: master
 *             ┌──────────┴──────────┐
 *      eth0 192.168.64.11    eth0 192.168.64.12
 *      h1: node01            h2: node02
 */

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { type TestHost, TestHosts } from "../support/hosts.ts";
import { Addresses, readSteps } from "../support/walkthrough.ts";
import { WalkthroughHost } from "../support/walkthrough-host.ts";

const FOLDER = join(import.meta.dirname, "../../docs/walkthroughs");
const PAGES = readdirSync(FOLDER).filter((file) => file !== "README.md");

let bed: TestHosts;
const hosts = new Map<string, WalkthroughHost>();
before(async () => {
  bed = new TestHosts("walk", 2);
  const shared = bed.hub.directory;
  const named: [string, TestHost][] = [
    ["master", bed.hub],
    ["node01", bed.hosts[0]!],
    ["node02", bed.hosts[1]!],
  ];
  await Promise.all(
    named.map(async ([name, host]) => void hosts.set(name, await WalkthroughHost.start(name, host, shared))),
  );
});
after(async () => {
  for (const host of hosts.values()) await host[Symbol.asyncDispose]();
  await bed?.[Symbol.asyncDispose]();
});

for (const page of PAGES) {
  test(`${basename(page, ".md")}: each command prints what the page says`, async () => {
    const path = join(FOLDER, page);
    const network = /"Network": ?"(\d+\.\d+\.)0\.0\/16"/.exec(readFileSync(path, "utf8"))![1]!;
    for (const host of hosts.values()) await host.beginPage();
    const addresses = new Addresses(network);
    for (const step of readSteps(path)) {
      await hosts.get(step.host)!.follow(step, addresses, `${page}:${step.line}`);
    }
  });
}
