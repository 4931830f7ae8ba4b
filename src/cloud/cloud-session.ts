/**
 * A cloud's client at work for one set of settings: who this host is, asked again at times and when the cloud says that it
 * has changed, and the listing of its routes.
 */

import type { Prefix } from "../address/prefix.ts";
import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { RepetitionFilter } from "../base/repetition-filter.ts";
import type { Timers } from "../base/timers.ts";
import type { Cloud, CloudHost, CloudRoute, CloudSettings } from "./cloud.ts";

/** How often this host is identified and prepared again: its interface and its source/destination check may change. */
const IDENTIFY_MS = 600_000;

/** What a session needs of its process. */
interface SessionPorts {
  readonly logger: Logger;
  readonly timers: Timers;
  /** Ends calls under way. */
  readonly signal: AbortSignal;
}

export class CloudSession {
  /** Names the settings that it was opened for. */
  readonly key: string;
  readonly settings: CloudSettings;
  readonly cloud: Cloud;
  readonly #ports: SessionPorts;
  readonly #warnings: RepetitionFilter;
  #host: { readonly found: CloudHost; readonly untilMs: number } | undefined;
  #notes: readonly string[] = [];

  constructor(key: string, settings: CloudSettings, cloud: Cloud, ports: SessionPorts) {
    this.key = key;
    this.settings = settings;
    this.cloud = cloud;
    this.#ports = ports;
    this.#warnings = new RepetitionFilter(ports.timers);
  }

  /** Undefined = not identified yet. */
  get host(): CloudHost | undefined {
    return this.#host?.found;
  }

  /** What an operator has to do in the cloud, one line each. */
  get notes(): readonly string[] {
    return this.#notes;
  }

  /** The routes within `networks`, after identifying this host where that is due. Throws CloudError. */
  async list(networks: readonly Prefix[]): Promise<CloudRoute[]> {
    const { timers, logger, signal } = this.#ports;
    const isKnown = this.#host !== undefined && timers.nowMs() < this.#host.untilMs;
    const host = isKnown ? this.#host!.found : await this.#identify();
    try {
      return await this.cloud.list(host, networks, signal);
    } catch (error) {
      if (!isKnown || !(hasCode(error, "CONFLICT") || hasCode(error, "NOT_FOUND"))) throw error;
      logger.info(`Identifying this host in the cloud again: ${messageOf(error)}`);
      return await this.cloud.list(await this.#identify(), networks, signal);
    }
  }

  /** What was known of this host was refused: it is identified again before the next listing. */
  forgetHost(): void {
    if (this.#host !== undefined) this.#host = { ...this.#host, untilMs: Number.NEGATIVE_INFINITY };
  }

  async #identify(): Promise<CloudHost> {
    const { logger, signal, timers } = this.#ports;
    const found = await this.cloud.identify(signal);
    this.#notes = await this.cloud.prepare(found, signal);
    for (const note of this.#notes) if (this.#warnings.isDue(note)) logger.warn(note);
    if (JSON.stringify(this.host) !== JSON.stringify(found)) {
      const tables = `${found.tables.length === 1 ? "table" : "tables"} ${found.tables.join(", ")}`;
      logger.info(`This host in the cloud: instance ${found.instance}, routes to ${found.target}, ${tables}`);
    }
    this.#host = { found, untilMs: timers.nowMs() + IDENTIFY_MS };
    return found;
  }
}
