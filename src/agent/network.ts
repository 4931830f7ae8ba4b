/**
 * Waits for a network config that can be used: present, valid, and with a backend that accepts its part. What is wrong
 * is said once and tried again every second: an operator may mend it while flanneld waits. A file, as Kubernetes mounts
 * it into the pod, is there from the start or not at all: then its faults end the start.
 */

import { type Network, parseNetwork } from "../backend/backends.ts";
import { ConfigError, hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { LeaseStore } from "../lease/lease-store.ts";

const RETRY_MS = 1_000;

/**
 * Undefined if aborted before there was one. `where` tells an operator where the config belongs. Throws ConfigError if it
 * is bad and local (W17).
 */
export async function waitForNetwork(
  store: LeaseStore,
  where: string,
  signal: AbortSignal,
  { logger, timers }: { readonly logger: Logger; readonly timers: Timers },
  onProblem: (problem: string | undefined) => void,
): Promise<Network | undefined> {
  let said = "";
  while (!signal.aborted) {
    try {
      const network = parseNetwork(await store.readNetworkConfig());
      for (const note of network.notes) logger.info(note);
      onProblem(undefined);
      return network;
    } catch (error) {
      if (signal.aborted) break;
      const isLocal = store.hasLocalConfig === true;
      const problem = hasCode(error, "NOT_FOUND")
        ? `there is no network config at ${where}: put one there, e.g. {"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`
        : `${messageOf(error)}${isLocal ? `: correct ${where}` : ""}`;
      if (isLocal) throw new ConfigError(problem, { cause: error });
      if (problem !== said) logger.error(`No usable network config, trying every second: ${problem}`);
      said = problem;
      onProblem(problem);
      await sleep(timers, RETRY_MS, signal);
    }
  }
  return undefined;
}
