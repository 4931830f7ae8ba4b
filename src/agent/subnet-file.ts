/** Writes subnet.env whenever the host's subnets are new, and goes on trying while that fails. */

import { type Prefix, samePrefix } from "../address/prefix.ts";
import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
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
  #wanted: SubnetEnv | undefined;
  #isWriting = false;

  constructor(path: string, ports: SubnetFilePorts) {
    this.#path = path;
    this.#ports = ports;
  }

  /** Has the file say `env`, from as soon as it can be written. */
  publish(env: SubnetEnv, signal: AbortSignal): void {
    this.#wanted = env;
    if (!this.#isWriting) void this.#write(signal);
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { logger, readiness, timers, writeFile } = this.#ports;
    let said: string | undefined;
    this.#isWriting = true;
    while (this.#wanted !== undefined && !signal.aborted) {
      const env = this.#wanted;
      try {
        await writeSubnetEnv(this.#path, env, writeFile);
        if (this.#wanted === env) this.#wanted = undefined;
        logger.info(`Wrote ${this.#path}`);
        readiness.set("subnet.env", undefined);
      } catch (error) {
        const problem = messageOf(error);
        if (problem !== said) logger.error(`${problem}; trying every second`);
        said = problem;
        readiness.set("subnet.env", problem);
        await sleep(timers, RETRY_MS, signal);
      }
    }
    this.#isWriting = false;
  }
}

/** The subnets that the file of an earlier run names, if they are of this network. */
export function previousSubnets(text: string | undefined, network: NetworkFamilies): SubnetPair | undefined {
  if (text === undefined) return undefined;
  const { network: previousNetwork, subnets } = parseSubnetEnv(text);
  const isSame = (a: Prefix | undefined, b: Prefix | undefined) =>
    a === undefined || b === undefined ? a === b : samePrefix(a, b);
  const isSameNetwork =
    isSame(previousNetwork.ipv4, network.ipv4?.network) &&
    isSame(previousNetwork.ipv6, network.ipv6?.network);
  return isSameNetwork ? subnets : undefined;
}
