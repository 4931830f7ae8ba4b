/**
 * The life of the daemon in three stages: resolve (network config, host, backend), build (the parts), run (until
 * aborted). What is programmed stays in the kernel afterwards.
 */

import type { FlanneldOptions } from "../config/options.ts";
import { type AgentParts, build } from "./parts.ts";
import type { AgentPorts } from "./ports.ts";
import type { Readiness } from "./readiness.ts";
import { resolve } from "./resolve.ts";
import { RunningAgent } from "./run.ts";

/** Runs until aborted; `onBuilt` receives the parts before they run. Throws ConfigError for what an operator has to fix before another start. */
export async function runAgent(
  options: FlanneldOptions,
  ports: AgentPorts,
  readiness: Readiness,
  stop: AbortSignal,
  onBuilt: (parts: AgentParts) => void = () => {},
): Promise<void> {
  // A part that fails ends all of them: half a daemon would look healthy.
  const failed = new AbortController();
  const signal = AbortSignal.any([stop, failed.signal]);
  for (const subject of ["network config", "lease", "subnet.env", "firewall", "peers", "kernel"]) {
    readiness.set(subject, "pending");
  }
  const resolved = await resolve(options, ports, readiness, signal);
  if (resolved === undefined) return;
  const parts = build(resolved, options, ports, readiness);
  onBuilt(parts);
  const agent = new RunningAgent(parts, resolved.resolver, ports, readiness, signal);
  const reconciling = parts.reconciler.run(signal);
  try {
    await agent.run();
  } finally {
    failed.abort();
    await reconciling;
  }
}
