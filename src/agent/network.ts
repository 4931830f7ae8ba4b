/**
 * Waits for a usable network config: present, valid, and accepted by its backend. A problem is logged once and retried
 * each second, because an operator may fix it meanwhile. A local file, as Kubernetes mounts it into the pod, does not
 * change by itself: its faults end the start.
 */

import { chooseBackend, leavesBackendToLeases, type Network, parseNetwork } from "../backend/backends.ts";
import { ConfigError, hasCode, messageOf } from "../base/error.ts";
import { type RetryPorts, retry } from "../base/retry.ts";
import type { Lease } from "../lease/lease.ts";
import type { LeaseStore } from "../lease/lease-store.ts";

const RETRY_MS = 1_000;

/**
 * Undefined if aborted before there was one. `where` names the place of the config for operators. Throws ConfigError if
 * it is local and invalid (W17).
 */
export function waitForNetwork(
  store: LeaseStore,
  where: string,
  signal: AbortSignal,
  ports: RetryPorts,
  onProblem: (problem: string | undefined) => void,
): Promise<Network | undefined> {
  return retry(
    {
      failure: "No usable network config",
      async attempt() {
        const text = await store.readNetworkConfig();
        const leases = leavesBackendToLeases(text) ? await readLeases(store, signal) : undefined;
        const network = parseNetwork(text, leases && chooseBackend(text, leases));
        for (const note of network.notes) ports.logger.info(note);
        return network;
      },
      describe(error) {
        const isLocal = store.hasLocalConfig === true;
        const problem = hasCode(error, "NOT_FOUND")
          ? `there is no network config at ${where}: put one there, e.g. {"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`
          : `${messageOf(error)}${isLocal ? `: correct ${where}` : ""}`;
        if (isLocal) throw new ConfigError(problem, { cause: error });
        return problem;
      },
      ...{ pauseMs: RETRY_MS, signal, onProblem },
    },
    ports,
  );
}

/** All leases now. Waits until the datastore is available; empty if aborted before. */
async function readLeases(store: LeaseStore, signal: AbortSignal): Promise<readonly Lease[]> {
  for await (const update of store.watchLeases(signal)) if (update.type === "snapshot") return update.leases;
  return [];
}
