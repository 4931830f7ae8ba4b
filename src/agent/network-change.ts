/**
 * Follows the network config while flanneld runs. What all hosts have to agree on from their start (the networks, the
 * length of subnets, the backend and its identity) is refused; everything else is applied.
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
  /** Where the config is, in an operator's words. */
  readonly configPlace: string;
  readonly logger: Logger;
  /** What is in force. */
  readonly current: () => { readonly network: Network; readonly backend: Backend };
  /** Makes the backend for another config of the same type. Throws ConfigError. */
  readonly createBackend: (network: Network) => Backend;
  /** Puts another config in force. Throws ConfigError if this host cannot follow. */
  readonly apply: (network: Network, backend: Backend) => void;
}

/** Runs until aborted; whatever the config becomes, the host goes on with the last one that it could follow. */
export async function followNetwork(options: NetworkFollowerOptions, signal: AbortSignal): Promise<void> {
  const { store, logger, configPlace, current } = options;
  let said: string | undefined;
  for await (const text of store.watchNetworkConfig(signal)) {
    const problem = text === undefined ? `there is none at ${configPlace} any more` : take(text, options);
    if (problem !== undefined && problem !== said)
      logger.error(`Going on with the network config as it was: ${problem}`);
    if (problem === undefined && said !== undefined)
      logger.info(`The network config at ${configPlace} is in force`);
    said = problem;
  }

  /** What stands in the way of this config; undefined = nothing, it is in force now. */
  function take(text: string, { createBackend, apply }: NetworkFollowerOptions): string | undefined {
    try {
      const { network, backend } = current();
      const next = parseNetwork(text);
      if (isDeepStrictEqual(next, network)) return undefined;
      const refused = fixedNetworkDifferences(network, next);
      if (next.backend.type !== network.backend.type) return refusal(refused);
      const nextBackend = createBackend(next);
      refused.push(...fixedBackendDifferences(backend, nextBackend));
      if (refused.length > 0) return refusal(refused);
      for (const note of [...next.notes, ...nextBackend.notes]) logger.info(note);
      apply(next, nextBackend);
      logger.info("The network config has changed and is applied");
      return undefined;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return messageOf(error);
    }
  }
}

const refusal = (differences: readonly string[]): string =>
  `${differences.join(", ")} cannot change while flanneld runs: put the old value back, or restart flanneld on every host`;
