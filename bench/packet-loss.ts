/**
 * Packets lost between containers of two hosts while flanneld is killed or stopped on one of them and started again,
 * with a ping every 10 ms. Lost are the missing sequence numbers below the highest that came back.
 *
 *     container ── cni0 ── flannel.1 ── eth0 ══ bridge ══ eth0 ── flannel.1 ── cni0 ── container
 */

import type { Benchmark } from "./support/benchmark.ts";
import type { Measurement } from "./support/measurement.ts";
import { Ping, Site } from "./support/site.ts";

const PEERS = 10;
/** Replies before the daemon goes and after it is back. */
const MARGIN_REPLIES = 30;
const SIGNALS = ["SIGKILL", "SIGTERM"] as const;

export const packetLoss: Benchmark = {
  name: "packet-loss",
  async run(context) {
    const { bed, turns, progress } = context;
    const prefix = await bed.etcd.networkOf(PEERS);
    await using a = await Site.build(context, prefix);
    await using b = await Site.build(context, prefix);
    const measurements: Measurement[] = [];
    for (const signal of SIGNALS) {
      const lost: number[] = [];
      let sent = 0;
      for (let turn = 1; turn <= turns; turn++) {
        progress(`${signal}, turn ${turn} of ${turns}`);
        // On the sending and on the receiving side in turn.
        const restarted = turn % 2 === 1 ? a : b;
        using ping = new Ping(a.container, b.address);
        await ping.replies(MARGIN_REPLIES);
        await restarted.restart(signal);
        await ping.replies(MARGIN_REPLIES);
        lost.push(ping.lost);
        sent += ping.highest;
      }
      const measure = `${signal} and restart, ${turns} times: lost of ${sent.toLocaleString("en-US")} packets`;
      measurements.push({
        measure,
        value: lost.reduce((sum, number) => sum + number, 0),
        unit: "",
        bar: 0,
        samples: lost,
      });
    }
    for (const site of [a, b]) await bed.etcd.remove(prefix, site.leaseKey);
    return measurements;
  },
};
