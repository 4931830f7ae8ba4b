/**
 * A restart of userspace WireGuard under a service manager that keeps descriptors (test/support/udp-sites.ts,
 * test/support/service-manager.ts): what the host sends waits in the device, and the peer, whose session is lost, learns of it at
 * once.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { startEtcd } from "../support/etcd.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { echoRequestsIn, PingStream, ping } from "../support/ping.ts";
import { ServiceManager } from "../support/service-manager.ts";
import { makeSites } from "../support/udp-sites.ts";
import type { TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const CONFIG = JSON.stringify({
  ...{ Network: "10.5.0.0/16", Backend: { Type: "wireguard", Implementation: "userspace" } },
});
const KEPT = ["flannel-wg-tun", "flannel-wg-udp4", "flannel-wg-udp6"];

test("packets from the host wait and are not lost; those to it pass as soon as it has started", async (t) => {
  await using etcd = await startEtcd();
  let manager: ServiceManager | undefined;
  const optionsOf = (host: TestHost) => ({
    env: { WIREGUARD_KEY_FILE: join(host.directory, "wgkey") },
    ...(manager === undefined ? {} : { manager }),
  });
  const [a, b] = await makeSites(
    t,
    etcd,
    (host) => {
      if (manager !== undefined) return { env: optionsOf(host).env };
      manager = new ServiceManager(join(host.directory, "notify"));
      t.after(() => manager![Symbol.dispose]());
      return optionsOf(host);
    },
    CONFIG,
  );
  assert.deepEqual(manager!.kept, KEPT);
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    {
      const received = () => echoRequestsIn(b.container.run("cat", "/proc/net/snmp"));
      const before = received();
      await using outward = new PingStream(a.container.path, b.container.address);
      await outward.more(10);
      await a.flanneld.stop(signal);
      a.flanneld = (await readyFlanneld(t, a.host, optionsOf(a.host))).flanneld;
      await outward.more(10);
      // Answers that were on their way were encrypted for a session that nobody has any more.
      const sent = await outward.countSent();
      await until(() => received() - before === sent, `${sent} requests at the peer, ${signal}`);
    }
    {
      // The peer alone sends. Without a sign from this host it would begin a handshake after 15 s.
      await using inward = new PingStream(b.container.path, a.container.address);
      await inward.more(10);
      await a.flanneld.stop(signal);
      a.flanneld = (await readyFlanneld(t, a.host, optionsOf(a.host))).flanneld;
      const readyMs = performance.now();
      await inward.more(10);
      const passedMs = performance.now() - readyMs;
      t.diagnostic(
        `${signal}: 10 answers ${passedMs.toFixed(0)} ms after flanneld was ready; lost: ${(await inward.stop()).lost.length}`,
      );
      assert.ok(passedMs < 5_000, `${passedMs} ms`);
    }
  }
  assert.equal(await ping(b.container.path, a.container.address, { count: 1 }), 1);
});
