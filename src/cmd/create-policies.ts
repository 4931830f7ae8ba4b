/** Network policies of flanneld, with the system's side of their ports; loaded only where they are switched on. */

import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import type { DriftLedger } from "../agent/drift.ts";
import type { Readiness } from "../agent/readiness.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, systemTimers } from "../base/timers.ts";
import type { FlanneldOptions } from "../config/options.ts";
import { policySocketOf } from "../config/policy-socket.ts";
import { runCommand } from "../linux/exec.ts";
import { writeFileAtomic } from "../linux/files.ts";
import { openNftNotifications } from "../linux/notifications.ts";
import { readSysctl, writeSysctl } from "../linux/sysctl.ts";
import { trackedConnections } from "../linux/tracked-connections.ts";
import { requireBridgeFilter } from "../policy/bridge-filter.ts";
import { PolicyAgent } from "../policy-agent/policy-agent.ts";
import { policySource } from "../policy-agent/policy-report.ts";
import type { Outages } from "../status/outages.ts";
import type { PolicySource } from "../status/status-source.ts";
import { listenOnSocket } from "../status/unix-socket.ts";

/** How often br_netfilter is checked: nothing notifies of a changed sysctl. */
const BRIDGE_CHECK_MS = 30_000;

interface Parts {
  readonly logger: Logger;
  readonly readiness: Readiness;
  readonly outages: Outages;
  readonly drift: DriftLedger;
  readonly readFile: (path: string) => string | undefined;
}

/** What flanneld runs, and what its status server shows. */
interface Policies {
  readonly source: PolicySource;
  run(signal: AbortSignal): Promise<void>;
}

/** Throws ConfigError. `options` are those of a flanneld with --network-policy. */
export function createPolicies(options: FlanneldOptions, parts: Parts): Policies {
  const { datastore, networkPolicy, subnetFile } = options;
  if (datastore.kind !== "kube") throw new Error("network policies without Kubernetes");
  const { logger, readiness, outages, drift, readFile } = parts;
  const socket = policySocketOf(subnetFile);
  const agent = new PolicyAgent(
    {
      kube: datastore,
      recordFile: join(
        dirname(socket),
        `${socket.replace(/^.*\//, "").replace(/\.sock$/, "")}-starting.json`,
      ),
      logGroup: networkPolicy?.logGroup,
    },
    {
      logger,
      timers: systemTimers,
      random: Math.random,
      onOutage: (what, problem) => outages.note(what, problem),
      environment: process.env,
      exec: { run: runCommand },
      connections: trackedConnections(),
      openNftNotifications,
      listen: (server) => listenOnSocket(server, socket, "--subnet-file"),
      readFile,
      writeFile: writeFileAtomic,
      onProblem: (problem) => readiness.set("network policies", problem),
      onRepair: (what, tookMs, by) => drift.record([{ kind: "network policy", what, tookMs, by }]),
    },
  );
  return {
    source: policySource(agent, (text) => createHash("sha256").update(text).digest("hex")),
    run: async (signal) => {
      await Promise.all([agent.run(signal), keepBridgeFilter(parts, signal)]);
    },
  };
}

/** Other programs switch br_netfilter off, and it may be loaded later. */
async function keepBridgeFilter({ logger, readiness }: Parts, signal: AbortSignal): Promise<void> {
  let reported: string | undefined;
  while (!signal.aborted) {
    const problem = requireBridgeFilter({ read: readSysctl, write: writeSysctl });
    if (problem !== undefined && problem !== reported) logger.error(`Network policies: ${problem}`);
    reported = problem;
    readiness.set("network policies on bridges", problem);
    await sleep(systemTimers, BRIDGE_CHECK_MS, signal);
  }
}
