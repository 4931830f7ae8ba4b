/**
 * The status page of a real flanneld, whose probes measure real packets, in a browser on the host; rows of the other hosts
 * come from their status servers. Then one host's tunnel is cut.
 *
 *        etcd ── h1 ── h2 ── h3        each: 0.0.0.0:7000        Chromium in h1
 */

import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openBrowser, openPage } from "../support/browser.ts";
import { startEtcd } from "../support/etcd.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";

const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const OPTIONS = { args: ["--status-listen=0.0.0.0:7000", "--probe-interval=1s"] };
/** The bar for a fault of one of few peers: 3 s; here on a loaded machine. */
const SHOWN_MS = 30_000;

/** Chromium in the network namespace of a host. */
function openBrowserOn(host: TestHost) {
  const program = join(host.directory, "chromium");
  writeFileSync(program, `#!/bin/sh\nexec nsenter --net=${host.path} /usr/bin/chromium "$@"\n`);
  chmodSync(program, 0o755);
  return openBrowser(program);
}

test("three hosts see each other in the matrix of one; a host whose tunnel is cut is shown with the advice, and that it is back", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/coreos.com/network/config", CONFIG);
  const hosts = await makeHosts(t, etcd, 3);
  const subnets: string[] = [];
  for (const host of hosts) subnets.push((await readyFlanneld(t, host, OPTIONS)).subnet);
  const keys = subnets.map((subnet) => subnet.replace(/\.1\/24$/, ".0-24"));

  const browser = await openBrowserOn(hosts[0]!);
  t.after(() => browser.close());
  const { page, complaints } = await openPage(browser);
  await page.goto("http://127.0.0.1:7000/");
  // Before all hosts had their routes, some probes were lost.
  const timedCells = page.locator(".matrix tbody td:is(.r0, .r1, .r2, .r3, .r4, .warn)");
  await timedCells.nth(5).waitFor({ timeout: SHOWN_MS });
  assert.equal(await timedCells.count(), 6, "all pairs, measured by all three hosts");
  assert.equal(await page.locator(".unknown-rows p").count(), 0);
  assert.equal(await page.locator(".peers .dot:is(.good, .warn)").count(), 2);

  const third = page.locator(".peers tbody tr", { hasText: keys[2]! });
  await third.getByRole("button").click();
  const hops = page.locator(".hops li b");
  await page.locator(".hops", { hasText: `${keys[2]!.replace("-", "/")} via` }).waitFor();
  assert.deepEqual((await hops.allInnerTexts()).slice(0, 6), [
    ...["Containers here", "route", "neighbour", "fdb", "link", "External interface"],
  ]);
  await page.locator(".hops li.good").nth(6).waitFor({ timeout: SHOWN_MS });
  assert.equal(await page.locator(".hops li.good").count(), 7);

  hosts[2]!.run("nft", "add table inet cut");
  hosts[2]!.run("nft", "add chain inet cut input { type filter hook input priority 0; }");
  hosts[2]!.run("nft", "add rule inet cut input udp dport 8472 drop");
  await third.locator(".dot.bad").waitFor({ timeout: SHOWN_MS });
  await page.locator(".log .e-probe", { hasText: "8472" }).first().waitFor();
  assert.match(await page.locator(".problems").innerText(), new RegExp(`${keys[2]}: .*8472`));
  await page.locator(".hops li.bad", { hasText: "Containers there" }).waitFor();
  // h2 has lost it, too, and says so in its row; which of them it is depends on the order of the subnets.
  await page.locator(".matrix tbody tr:nth-child(n+2) td.bad").first().waitFor({ timeout: SHOWN_MS });

  hosts[2]!.run("nft", "delete table inet cut");
  await third.locator(".dot:is(.good, .warn)").waitFor({ timeout: SHOWN_MS });
  assert.deepEqual(complaints, []);
});
