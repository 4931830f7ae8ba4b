/** Faults of processes and files: flanneld killed, stopped, restarted; subnet.env removed, its disk full. */

import { spawnSync } from "node:child_process";
import { rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { atExit } from "../support/at-exit.ts";
import { type Fault, ipLines, NOTHING, type Target, untilRestarted } from "./fault.ts";

const endsBy =
  (signal: NodeJS.Signals) =>
  async ({ host }: Target) => {
    host.daemon.signal(signal);
    return undefined;
  };

export const PROCESS_FAULTS: readonly Fault[] = [
  { name: "flanneld SIGKILL", inject: endsBy("SIGKILL"), allowed: untilRestarted },
  { name: "flanneld SIGTERM", inject: endsBy("SIGTERM"), allowed: untilRestarted },
  {
    name: "flanneld SIGSTOP, SIGCONT",
    async inject({ host }) {
      host.daemon.signal("SIGSTOP");
      return async () => host.daemon.signal("SIGCONT");
    },
    // udp: packets wait in the queues of TUN device and socket.
    allowed: NOTHING,
  },
  {
    name: "routes deleted while flanneld is stopped",
    backends: ["vxlan", "host-gw"],
    async inject(target) {
      target.host.daemon.signal("SIGSTOP");
      await ipLines(target, "route flush proto 70");
      return async () => target.host.daemon.signal("SIGCONT");
    },
    allowed: { withinMs: 500 },
  },
  {
    name: "flanneld down, routes flushed",
    backends: ["vxlan", "host-gw"],
    async inject(target) {
      await target.host.daemon.hold("SIGKILL");
      await ipLines(target, "route flush proto 70");
      return async () => target.host.daemon.start();
    },
    allowed: { withinMs: 6_000 },
  },
  {
    name: "all three flanneld SIGKILL",
    isEverywhere: true,
    backends: ["vxlan", "host-gw"],
    async inject({ bed }) {
      for (const { daemon } of bed.hosts) daemon.signal("SIGKILL");
      return undefined;
    },
    allowed: NOTHING,
  },
  {
    name: "subnet.env deleted, flanneld SIGKILL",
    async inject({ host }) {
      rmSync(host.daemon.subnetFile);
      host.daemon.signal("SIGKILL");
      return undefined;
    },
    allowed: untilRestarted,
  },
  {
    name: "disk of subnet.env full, flanneld SIGKILL",
    async inject({ bed, host }) {
      const directory = dirname(host.daemon.subnetFile);
      await bed.hub.run("mount", ["-t", "tmpfs", "-o", "size=16k", "soak", directory]);
      const unmount = () => void spawnSync("umount", ["-l", directory]);
      const callOff = atExit(unmount);
      const filler = `${directory}/filler`;
      try {
        for (let size = 4096; ; size += 4096) writeFileSync(filler, Buffer.alloc(size));
      } catch {
        statSync(filler);
      }
      host.daemon.signal("SIGKILL");
      return async () => {
        callOff();
        unmount();
      };
    },
    reported: /ENOSPC/,
    standsMs: 1_500,
    allowed: untilRestarted,
  },
];
