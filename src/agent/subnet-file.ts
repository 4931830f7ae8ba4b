/** Writes subnet.env when the subnets, the MTU or ip-masq change, with retries. */

import { type Prefix, sameOptionalPrefix } from "../address/prefix.ts";
import type { Logger } from "../base/logger.ts";
import { retry } from "../base/retry.ts";
import type { Timers } from "../base/timers.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import {
  type AtomicFileWriter,
  parseSubnetEnv,
  type SubnetEnv,
  writeSubnetEnv,
} from "../config/subnet-env.ts";
import type { SubnetPair } from "../lease/lease.ts";
import type { Readiness } from "./readiness.ts";

const RETRY_MS = 1_000;

export interface SubnetFilePorts {
  readonly writeFile: AtomicFileWriter;
  readonly logger: Logger;
  readonly timers: Timers;
  readonly readiness: Readiness;
}

export class SubnetFile {
  readonly #path: string;
  readonly #ports: SubnetFilePorts;
  #pending: SubnetEnv | undefined;
  #isWriting = false;

  constructor(path: string, ports: SubnetFilePorts) {
    this.#path = path;
    this.#ports = ports;
  }

  /** Writes `env`, with retries until the file can be written; of several only the latest. */
  publish(env: SubnetEnv, signal: AbortSignal): void {
    this.#pending = env;
    if (!this.#isWriting) void this.#write(signal);
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { logger, readiness, writeFile } = this.#ports;
    this.#isWriting = true;
    await retry(
      {
        failure: "Failed to publish the subnets",
        attempt: async () => {
          while (this.#pending !== undefined && !signal.aborted) {
            const env = this.#pending;
            await writeSubnetEnv(this.#path, env, writeFile);
            if (this.#pending === env) this.#pending = undefined;
            logger.info(`Wrote ${this.#path}`);
          }
        },
        ...{ pauseMs: RETRY_MS, signal },
        onProblem: (problem) => readiness.set("subnet.env", problem),
      },
      this.#ports,
    );
    this.#isWriting = false;
    if (this.#pending !== undefined && !signal.aborted) this.publish(this.#pending, signal); // published just now
  }
}

/** The subnets in the file of an earlier run, if it was for the same network. */
export function previousSubnets(text: string | undefined, network: NetworkFamilies): SubnetPair | undefined {
  if (text === undefined) return undefined;
  const { network: previousNetwork, subnets } = parseSubnetEnv(text);
  const isSameNetwork =
    sameOptionalPrefix(previousNetwork.ipv4, network.ipv4?.network) &&
    sameOptionalPrefix(previousNetwork.ipv6, network.ipv6?.network);
  return isSameNetwork ? subnets : undefined;
}

/** The networks that the file of an earlier run names and that are not this network's: their routes are stale. */
export function formerNetworks(text: string | undefined, network: NetworkFamilies): Prefix[] {
  if (text === undefined) return [];
  const { network: previous } = parseSubnetEnv(text);
  return [
    [previous.ipv4, network.ipv4?.network] as const,
    [previous.ipv6, network.ipv6?.network] as const,
  ].flatMap(([former, now]) => (former === undefined || sameOptionalPrefix(former, now) ? [] : [former]));
}
