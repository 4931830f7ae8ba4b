/**
 * IKE between two real charons, each in a namespace of its own with a /run of its own, through the providers. This kernel
 * has no ESP: strongSwan's own (kernel-libipsec, in UDP) takes its place.
 *
 *      h1 eth0 192.168.7.1 ─── link 0 ─── h2 eth0 192.168.7.2
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { systemTimers } from "../../src/base/timers.ts";
import { ConnectionProvider } from "../../src/ipsec/connection-provider.ts";
import type { IpsecConnection, StateObject } from "../../src/state/objects.ts";
import { Reconciler } from "../../src/state/reconciler.ts";
import { stateOf } from "../../src/testing/sample-objects.ts";
import { makeFabric } from "../netns/agents.ts";
import { makeCharon } from "../netns/charon.ts";
import { waitFor } from "../netns/support.ts";

const TURNS = 5;
const PSK = "0123456789abcdef".repeat(6);

const connection = (own: number, remote: number): IpsecConnection => ({
  kind: "ipsec-connection",
  local: `192.168.7.${own}`,
  remote: `192.168.7.${remote}`,
  localSubnet: `10.5.${own}.0/24`,
  remoteSubnet: `10.5.${remote}.0/24`,
  udpEncap: true,
  espProposal: "aes128gcm16-sha256-prfsha256-ecp256",
  presharedKeyId: "psk",
});

interface Scope {
  after(clean: () => void | Promise<void>): void;
}

/** Charon and reconciler of one host. */
function makeHost(t: Scope, netns: { readonly path: string }, psk = PSK) {
  const log: string[] = [];
  const note = (message: string) => void log.push(message);
  const logger = { info: note, warn: note, error: note, debug: note };
  const { charon, directory } = makeCharon(netns.path, logger);
  const provider = new ConnectionProvider({
    charon,
    secretOf: () => psk,
    removeAssociations() {},
    logger,
    timers: systemTimers,
  });
  const reconciler = new Reconciler({
    ...{ providers: [provider], logger, timers: systemTimers, resyncIntervalMs: 60_000, onRepair() {} },
  });
  const stop = new AbortController();
  const running = reconciler.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
    charon[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    ...{ charon, provider, log, directory },
    program: (objects: readonly StateObject[]) =>
      reconciler.setTarget({
        ...{ state: stateOf(objects), keepOthers: false },
        ownership: { devices: new Set(), networks: [] },
      }),
    async isEstablished() {
      const sas = await charon.current?.stream("list-sas", "list-sa").catch(() => []);
      return JSON.stringify(sas ?? []).includes('"state":"INSTALLED"');
    },
  };
}

async function established(what: string, ...hosts: ReturnType<typeof makeHost>[]): Promise<void> {
  let all = false;
  const look = async () => {
    all = (await Promise.all(hosts.map((host) => host.isEstablished()))).every(Boolean);
  };
  try {
    await waitFor(
      what,
      () => {
        void look();
        return all;
      },
      20_000,
    );
  } catch (error) {
    throw new Error(`${error}\n${hosts.map(({ log }) => log.join("\n")).join("\n----\n")}`);
  }
}

test("peers agree on a tunnel; a charon that is killed starts again; a peer that leaves is unloaded", {
  timeout: 90_000,
}, async (t) => {
  const netnses = makeFabric(t, [0, 0]);
  const [h1, h2] = netnses.map((netns) => makeHost(t, netns)) as [
    ReturnType<typeof makeHost>,
    ReturnType<typeof makeHost>,
  ];
  h2.program([connection(2, 1)]);
  await waitFor("h2's charon", () => h2.charon.current !== undefined);
  h1.program([]);
  await h1.charon.client();
  const tookMs: number[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const startMs = performance.now();
    h1.program([connection(1, 2)]);
    await waitFor("a tunnel", () => h1.isEstablished(), 20_000);
    tookMs.push(performance.now() - startMs);
    if (turn < TURNS - 1) h1.program([]);
    if (turn < TURNS - 1) await waitFor("no tunnel", async () => !(await h1.isEstablished()), 20_000);
  }
  await established("a tunnel", h1, h2);
  const median = tookMs.toSorted((a, b) => a - b)[TURNS >> 1]!;
  t.diagnostic(`peer event to established, median of ${TURNS}: ${median.toFixed(0)} ms`);
  assert.ok(median <= 1_000, `${tookMs}`);
  for (const name of readdirSync(h1.directory)) {
    const path = join(h1.directory, name);
    if (!statSync(path).isFile()) continue;
    assert.equal(statSync(path).mode & 0o077, 0, `${name} is for root only`);
    assert.ok(!readFileSync(path, "utf8").includes(PSK), name);
  }

  const pid = readdirSync("/proc").find((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return readFileSync(`/proc/${entry}/environ`, "utf8").includes(`${h1.directory}/strongswan.conf`);
    } catch {
      return false;
    }
  });
  assert.ok(!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(PSK));
  process.kill(Number(pid), "SIGKILL");
  await waitFor("the end", () => h1.charon.current === undefined);
  await established("a tunnel again", h1, h2);
  assert.ok(h1.log.some((line) => /^charon ended \(SIGKILL\); starting it again/.test(line)));

  h1.program([]);
  await waitFor("the connection is unloaded", () =>
    h1.log.some((line) => /removed|deleting IKE_SA|unloaded/i.test(line)),
  );
  for (const { log } of [h1, h2]) assert.ok(!log.join().includes(PSK));
});

test("another PSK is reported once, after 15 s", { timeout: 90_000 }, async (t) => {
  const netnses = makeFabric(t, [0, 0]);
  const h1 = makeHost(t, netnses[0]!);
  const h2 = makeHost(t, netnses[1]!, PSK.replaceAll("0", "1"));
  h1.program([connection(1, 2)]);
  h2.program([connection(2, 1)]);
  await waitFor("the note", () => h1.provider.notes.length > 0, 40_000);
  assert.match(h1.provider.notes[0]!, /^no IPsec tunnel to 192\.168\.7\.2: it is down, has another PSK/);
  assert.equal(h1.log.filter((line) => line.startsWith("No IPsec tunnel")).length, 1);
});
