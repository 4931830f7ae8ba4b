/**
 * Follows the network config at run time. Changes of what all hosts agree on from startup (networks, subnet lengths,
 * backend type and the backend's fixed members) are refused; all other changes are applied.
 */

import { isDeepStrictEqual } from "node:util";
import type { Backend } from "../backend/backend.ts";
import { type Network, parseNetwork } from "../backend/backends.ts";
import { fixedBackendDifferences, fixedNetworkDifferences } from "../backend/fixed-settings.ts";
import { ConfigError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { LeaseStore } from "../lease/lease-store.ts";

export interface NetworkFollowerOptions {
  readonly store: LeaseStore;
  /** Where the config is, for operators. */
  readonly configPlace: string;
  readonly logger: Logger;
  /** The config in effect. */
  readonly current: () => { readonly network: Network; readonly backend: Backend };
  /** Creates the backend for a config with the same backend type. Throws ConfigError. */
  readonly createBackend: (network: Network) => Backend;
  /** Applies a config. Throws ConfigError if it does not work on this host. */
  readonly apply: (network: Network, backend: Backend) => void;
}

/** Runs until aborted. A config that is missing, invalid or refused leaves the previous one in effect; each reason is logged once. */
export async function followNetwork(options: NetworkFollowerOptions, signal: AbortSignal): Promise<void> {
  const { store, logger, configPlace, current } = options;
  let logged: string | undefined;
  for await (const text of store.watchNetworkConfig(signal)) {
    const problem = text === undefined ? `it is missing at ${configPlace}` : tryApply(text, options);
    if (problem !== undefined && problem !== logged)
      logger.error(`Keeping the previous network config: ${problem}`);
    if (problem === undefined && logged !== undefined)
      logger.info(`Network config at ${configPlace} is in effect`);
    logged = problem;
  }

  /** Why this config cannot be applied; undefined = it is in effect. */
  function tryApply(text: string, { createBackend, apply }: NetworkFollowerOptions): string | undefined {
    try {
      const { network, backend } = current();
      // Without a backend the config means the one in effect: leases decide at startup only.
      const inEffect = { type: network.backend.type, reason: "this host runs it" };
      const next = parseNetwork(text, network.defaultBackend ?? inEffect);
      if (isDeepStrictEqual(next, network)) return undefined;
      const refused = fixedNetworkDifferences(network, next);
      if (next.backend.type !== network.backend.type) return refusal(refused);
      const nextBackend = createBackend(next);
      refused.push(...fixedBackendDifferences(backend, nextBackend));
      if (refused.length > 0) return refusal(refused);
      for (const note of [...next.notes, ...nextBackend.notes]) logger.info(note);
      apply(next, nextBackend);
      logger.info("Network config changed and applied");
      return undefined;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return messageOf(error);
    }
  }
}

const refusal = (differences: readonly string[]): string =>
  `${differences.join(", ")} cannot change while flanneld runs: restore the previous value, or restart flanneld on every host`;
