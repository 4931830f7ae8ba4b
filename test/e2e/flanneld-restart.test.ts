/**
 * How flanneld stops and restarts: within a second from every phase of its life, with exit code 0, and without one
 * lost packet between containers.
 *
 *     container ── br0 ── host 1 ══ VXLAN ══ host 2 ── br0 ── container        (test/support/underlay.ts)
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import type { TestNetns } from "../netns/support.ts";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { type Flanneld, readyFlanneld, startFlanneld } from "../support/flanneld.ts";
import { makeContainer, makeHosts, type TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const CONFIG_KEY = "/coreos.com/network/config";
const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';

test("a restart loses no packet, after SIGTERM and after SIGKILL, on either end", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", CONFIG_KEY, CONFIG);
  const hosts = await makeHosts(t, etcd, 2);
  const running = await Promise.all(hosts.map((host) => readyFlanneld(t, host)));
  const [from, to] = hosts.map((host, index) => makeContainer(t, host, running[index]!));
  const ping = startPing(t, from!, to!.address);
  await until(() => ping.received().length > 20, "the first answers");

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    for (const [index, host] of hosts.entries()) {
      const { flanneld, subnet } = running[index]!;
      await flanneld.stop(signal);
      const seen = ping.received().length;
      await until(() => ping.received().length > seen + 20, "packets without flanneld");
      running[index] = await readyFlanneld(t, host);
      assert.equal(running[index].subnet, subnet);
    }
  }
  const seen = ping.received().length;
  await until(() => ping.received().length > seen + 20, "packets after all");
  const sequence = await ping.stop();
  const first = sequence[0]!; // the first ones may have gone before both hosts knew each other
  const wanted = Array.from({ length: sequence.at(-1)! - first + 1 }, (_, index) => first + index);
  assert.deepEqual(sequence, wanted, "every packet until the last one seen has come back, once and in order");
});

interface Phase {
  readonly title: string;
  /** Brings a flanneld of its own into the phase. */
  readonly enter: (t: TestContext, host: TestHost, etcd: EtcdServer, prefix: string) => Promise<Flanneld>;
}

const at = (prefix: string, ...args: string[]) => ({ args: [`--etcd-prefix=${prefix}`, ...args] });

const PHASES: readonly Phase[] = [
  {
    title: "while etcd refuses connections",
    async enter(t, host, _etcd, prefix) {
      await host.line.cut();
      const flanneld = startFlanneld(t, host, at(prefix));
      await flanneld.logged(/connection refused/);
      return flanneld;
    },
  },
  {
    title: "while etcd takes connections and stays silent",
    async enter(t, host, _etcd, prefix) {
      host.line.silence();
      const flanneld = startFlanneld(t, host, at(prefix));
      await flanneld.logged(/flanneld v.* with etcd-endpoints/);
      await until(() => host.run("ss", "-tnH", "state", "established").length > 0, "a connection");
      return flanneld;
    },
  },
  {
    title: "while it waits for a network config",
    async enter(t, host, _etcd, prefix) {
      const flanneld = startFlanneld(t, host, at(prefix));
      await flanneld.logged(/there is no network config at etcd key/);
      return flanneld;
    },
  },
  {
    title: "while a foreign device is in its way",
    async enter(t, host, etcd, prefix) {
      await etcd.ctl("put", `${prefix}/config`, '{"Network":"10.5.0.0/16","Backend":{"VNI":7}}');
      host.run("ip", "link", "add", "flannel.7", "type", "bridge");
      const flanneld = startFlanneld(t, host, at(prefix));
      await flanneld.logged(/flannel\.7 exists and is not flannel's/);
      return flanneld;
    },
  },
  {
    title: "while all subnets are taken",
    async enter(t, host, etcd, prefix) {
      await etcd.ctl("put", `${prefix}/config`, '{"Network":"10.5.0.0/22","Backend":{"VNI":8,"Port":8475}}');
      for (const third of [1, 2, 3]) {
        const lease = `{"PublicIP":"192.168.7.10${third}","PublicIPv6":null}`;
        await etcd.ctl("put", `${prefix}/subnets/10.5.${third}.0-24`, lease);
      }
      const flanneld = startFlanneld(t, host, at(prefix));
      await flanneld.logged(/out of subnets/);
      return flanneld;
    },
  },
  {
    title: "while its subnet file cannot be written",
    async enter(t, host, etcd, prefix) {
      await etcd.ctl("put", `${prefix}/config`, '{"Network":"10.5.0.0/16","Backend":{"VNI":9,"Port":8476}}');
      const flanneld = startFlanneld(t, host, at(prefix, "--subnet-file=/proc/none/subnet.env"));
      await flanneld.logged(/failed to write \/proc\/none\/subnet\.env/);
      return flanneld;
    },
  },
  {
    title: "while it is ready",
    async enter(t, host, etcd, prefix) {
      await etcd.ctl("put", `${prefix}/config`, CONFIG);
      const flanneld = startFlanneld(t, host, at(prefix));
      await flanneld.logged(/flanneld is ready/);
      return flanneld;
    },
  },
  {
    title: "while it is ready and etcd is unavailable",
    async enter(t, host, etcd, prefix) {
      await etcd.ctl("put", `${prefix}/config`, CONFIG);
      const flanneld = startFlanneld(t, host, at(prefix));
      await flanneld.logged(/flanneld is ready/);
      await host.line.cut();
      await flanneld.logged(/Watch on .* lost/);
      return flanneld;
    },
  },
  {
    title: "while it is ready and etcd is silent",
    async enter(t, host, etcd, prefix) {
      await etcd.ctl("put", `${prefix}/config`, CONFIG);
      const flanneld = startFlanneld(t, host, at(prefix));
      await flanneld.logged(/flanneld is ready/);
      host.line.silence();
      return flanneld;
    },
  },
];

test("W38 SIGTERM and SIGINT end it within a second with code 0, in every phase", async (t) => {
  await using etcd = await startEtcd();
  for (const [index, { title, enter }] of PHASES.entries()) {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      await t.test(`${signal} ${title}`, async (t) => {
        const [host] = await makeHosts(t, etcd, 1);
        const flanneld = await enter(t, host!, etcd, `/phase${index}${signal}`);
        const from = flanneld.lines.length;
        const { code, tookMs, signal: killedBy } = await flanneld.stop(signal);
        assert.deepEqual({ code, killedBy }, { code: 0, killedBy: null }, flanneld.log());
        assert.ok(tookMs < 1000, `${tookMs} ms`);
        const last = flanneld.lines.slice(from);
        assert.ok(
          last.every((line) => !/^[EF]/.test(line)),
          `no error at the end: ${last.join("\n")}`,
        );
      });
    }
  }
});

test("what it programmed stays when it ends", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", CONFIG_KEY, CONFIG);
  const hosts = await makeHosts(t, etcd, 2);
  const [first] = await Promise.all(hosts.map((host) => readyFlanneld(t, host)));
  const look = () =>
    hosts[0]!.run("ip", "route", "show", "dev", "flannel.1") +
    hosts[0]!.run("bridge", "fdb", "show", "dev", "flannel.1") +
    hosts[0]!.run("ip", "neigh", "show", "dev", "flannel.1");
  await first!.flanneld.until(() => look().includes("onlink"), "the route to the other");
  const before = look();
  await first!.flanneld.stop();
  assert.equal(look(), before);
});

/** A ping every 10 ms, until stopped. */
function startPing(t: TestContext, from: TestNetns, address: string) {
  const child = spawn("nsenter", [`--net=${from.path}`, "ping", "-n", "-i", "0.01", address], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  let output = "";
  child.stdout.on("data", (data) => {
    output += data;
  });
  const received = () => [...output.matchAll(/icmp_seq=(\d+) ttl/g)].map((match) => Number(match[1]));
  return {
    /** Sequence numbers of the answers so far. */
    received,
    async stop(): Promise<number[]> {
      child.kill("SIGINT");
      await once(child, "close");
      return received();
    },
  };
}
