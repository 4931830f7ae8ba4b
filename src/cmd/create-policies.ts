/** Network policies of flanneld, with the system's side of their ports; loaded only where they are switched on. */

import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import type { DriftLedger } from "../agent/drift.ts";
import type { Readiness } from "../agent/readiness.ts";
import type { Logger } from "../base/logger.ts";
import { systemTimers } from "../base/timers.ts";
import type { FlanneldOptions } from "../config/options.ts";
import { policySocketOf } from "../config/policy-socket.ts";
import { runCommand } from "../linux/exec.ts";
import { writeFileAtomic } from "../linux/files.ts";
import { openNftNotifications } from "../linux/notifications.ts";
import { trackedConnections } from "../linux/tracked-connections.ts";
import { PolicyAgent } from "../policy-agent/policy-agent.ts";
import { policySource } from "../policy-agent/policy-report.ts";
import type { Outages } from "../status/outages.ts";
import type { PolicySource } from "../status/status-source.ts";
import { listenOnSocket } from "../status/unix-socket.ts";

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
  const { datastore, subnetFile } = options;
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
    run: (signal) => agent.run(signal),
  };
}
