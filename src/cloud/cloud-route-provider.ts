/**
 * The provider of cloud routes, over a cloud's API. An API takes seconds, so that a pass of the reconciler never waits for it:
 * passes see the routes as they were listed last, operations run in the background, one call at a time, and their end is a
 * notice. The routes are listed again at intervals, and everything that changed meanwhile is a notice too.
 *
 * Nothing is opened, and no call made, before a cloud route is desired.
 */

import type { Prefix } from "../address/prefix.ts";
import { FlannelError, hasCode } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { RepetitionFilter } from "../base/repetition-filter.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import type { CloudRouteEntry } from "../state/kinds/cloud-route.ts";
import {
  keyOf,
  type StateChange,
  type StateKind,
  type StateOperation,
  sameObject,
} from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";
import type { Notice, Provider } from "../state/provider.ts";
import { CallGate } from "./call-gate.ts";
import { type AccessKey, type Cloud, CloudError, type CloudHost, type CloudSettings } from "./cloud.ts";
import { CloudSession } from "./cloud-session.ts";
import { placeOf, RouteView, settingsOf } from "./route-view.ts";

/** What the provider needs of its process. */
export interface CloudRouteProviderOptions {
  /** Loads and configures the client of a cloud. Throws CloudError. */
  readonly open: (cloud: string, settings: CloudSettings) => Promise<Cloud>;
  /** The access key with a fingerprint; undefined = unknown. */
  readonly accessKeyOf: (fingerprint: string) => AccessKey | undefined;
  readonly logger: Logger;
  readonly timers: Timers;
  /** How often the routes are listed, at most. */
  readonly resyncMs: number;
  /** 0 ≤ random() < 1. */
  readonly random: () => number;
  /** Ends calls under way. */
  readonly signal: AbortSignal;
}

/** The routes are listed up to this share of the interval later, at random. */
const JITTER = 0.25;
/** How long a pass waits for an operation. */
const PATIENCE_MS = 50;
/** A listing of this age is good enough for an operation. */
const FRESH_MS = 5_000;
/** How long a listing may still show what was there before an operation, if the routes are not listed more often. */
const CONSISTENT_AFTER_MS = 30_000;
/** Operations that no pass asks for any more are dropped: a pass asks again within 30 s. */
const FORGOTTEN_MS = 60_000;
/** Errors after which no further call has a chance. */
const HOPELESS = ["RATE_LIMITED", "UNAVAILABLE", "CREDENTIALS", "CLOCK_SKEW", "NOT_UNDERSTOOD"];

/** One operation that a pass asked for. */
interface Job {
  readonly operation: StateOperation;
  readonly entry: CloudRouteEntry;
  requestedAtMs: number;
  outcome: "pending" | "done" | CloudError;
}

/** The provider of the kind `cloud-route`. */
export class CloudRouteProvider implements Provider {
  readonly name = "the cloud";
  readonly kinds: ReadonlySet<StateKind> = new Set(["cloud-route"]);
  readonly #options: CloudRouteProviderOptions;
  readonly #gate: CallGate;
  readonly #problems: RepetitionFilter;
  readonly #view = new RouteView();
  readonly #jobs = new Map<string, Job>();
  readonly #news: StateChange[] = [];
  readonly #newsWake = new WakeSignal();
  readonly #turnWake = new WakeSignal();
  #networks: readonly Prefix[] = [];
  #session: CloudSession | undefined;
  #listedAtMs = Number.NEGATIVE_INFINITY;
  #nextPollMs = 0;
  #turn: Promise<void> | undefined;

  constructor(options: CloudRouteProviderOptions) {
    this.#options = options;
    this.#gate = new CallGate(options.timers, options.random);
    this.#problems = new RepetitionFilter(options.timers);
  }

  /** What an operator has to do in the cloud, and whether the routes cannot be listed; one line each. */
  get notes(): readonly string[] {
    const { error } = this.#gate;
    const notes = this.#session?.notes ?? [];
    return error === undefined ? notes : [...notes, `cloud routes are not checked: ${error.message}`];
  }

  async observe({ networks }: Ownership): Promise<CloudRouteEntry[]> {
    this.#networks = networks;
    return [...this.#view.observed.values()];
  }

  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const jobs = operations.map((operation) => this.#jobFor(operation));
    if (jobs.some(({ outcome }) => outcome !== "done") && this.#gate.waitMs === 0) {
      const isOver = new AbortController();
      const turn = this.#startTurn().then(() => isOver.abort());
      await Promise.race([turn, sleep(this.#options.timers, PATIENCE_MS, isOver.signal)]);
      isOver.abort();
    }
    return jobs.map((job) => this.#collect(job));
  }

  async *watch(_ownership: () => Ownership, signal: AbortSignal): AsyncGenerator<Notice> {
    const polling = this.#poll(signal);
    while ((await this.#newsWake.wait({ signal })) === "woken") yield this.#news.splice(0);
    await polling;
  }

  #jobFor(operation: StateOperation): Job {
    const entry = operation.object as CloudRouteEntry;
    const key = keyOf(entry);
    this.#view.claim(operation);
    const requestedAtMs = this.#options.timers.nowMs();
    const before = this.#jobs.get(key);
    if (before?.operation.action === operation.action && sameObject(before.entry, entry)) {
      before.requestedAtMs = requestedAtMs;
      return before;
    }
    const job: Job = { operation, entry, requestedAtMs, outcome: "pending" };
    this.#jobs.set(key, job);
    return job;
  }

  #collect({ operation, entry, outcome }: Job): FlannelError | undefined {
    if (outcome === "pending")
      return this.#gate.error ?? new FlannelError("EAGAIN", "the cloud has not answered yet");
    if (outcome !== "done") return outcome;
    this.#jobs.delete(keyOf(entry));
    this.#view.commit(operation);
    return undefined;
  }

  async #poll(signal: AbortSignal): Promise<void> {
    const { timers } = this.#options;
    while (!signal.aborted) {
      const isWorkLeft = this.#jobs.values().some(({ outcome }) => outcome !== "done");
      const pollMs = Math.max(0, this.#nextPollMs - timers.nowMs());
      const timeoutMs = Math.max(1, isWorkLeft ? this.#gate.waitMs : Math.max(pollMs, this.#gate.waitMs));
      const reason = await this.#turnWake.wait({
        timers,
        signal,
        timeoutMs: this.#view.claims.length > 0 ? timeoutMs : undefined,
      });
      if (reason === "timeout") await this.#startTurn();
    }
  }

  /** One turn at a time; never rejects. */
  #startTurn(): Promise<void> {
    this.#turn ??= this.#work().finally(() => {
      this.#turn = undefined;
      this.#turnWake.wake();
    });
    return this.#turn;
  }

  async #work(): Promise<void> {
    const { timers, random, resyncMs, signal } = this.#options;
    const jobs = this.#jobsToDo();
    const ended: Job[] = [];
    const isQuiet = jobs.length > 0;
    try {
      const session = await this.#openSession();
      if (session === undefined) return;
      const host = await this.#listed(session, isQuiet);
      let failure: CloudError | undefined;
      for (const job of jobs) {
        if (failure !== undefined && HOPELESS.includes(failure.code)) break;
        try {
          await this.#run(job, session, host);
          job.outcome = "done";
        } catch (error) {
          if (!(error instanceof CloudError)) throw error;
          job.outcome = error;
          failure = error;
          this.#listedAtMs = Number.NEGATIVE_INFINITY;
          if (hasCode(error, "NOT_FOUND")) session.forgetHost();
        }
        ended.push(job);
      }
      if (failure !== undefined) throw failure;
      this.#gate.succeed();
      this.#problems.reset();
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      if (signal.aborted) return;
      this.#gate.fail(error);
      for (const job of jobs) if (job.outcome === "pending") job.outcome = error;
      // What passes ask for is reported by the reconciler.
      if (!isQuiet && this.#problems.isDue(error.message))
        this.#options.logger.warn(`Failed to check cloud routes; retrying: ${error.message}`);
    } finally {
      this.#nextPollMs = timers.nowMs() + resyncMs * (1 + random() * JITTER);
      if (ended.length > 0)
        this.#report(...ended.map(({ entry }) => ({ action: "touched" as const, object: entry })));
    }
  }

  /** The operations that passes still ask for, in their order. */
  #jobsToDo(): Job[] {
    const nowMs = this.#options.timers.nowMs();
    for (const [key, job] of this.#jobs) if (nowMs - job.requestedAtMs > FORGOTTEN_MS) this.#jobs.delete(key);
    const jobs = [...this.#jobs.values()].filter(({ outcome }) => outcome !== "done");
    for (const job of jobs) job.outcome = "pending";
    return jobs;
  }

  /** The client for what is claimed now; undefined = nothing is, or was. */
  async #openSession(): Promise<CloudSession | undefined> {
    const { claims } = this.#view;
    const [first] = claims;
    if (first === undefined) return this.#session;
    const { accessKeyId, cloud: type } = first;
    const settings = settingsOf(claims);
    const key = JSON.stringify([type, accessKeyId, settings]);
    if (this.#session?.key === key) return this.#session;
    const accessKey = accessKeyId === "" ? undefined : this.#options.accessKeyOf(accessKeyId);
    if (accessKeyId !== "" && accessKey === undefined)
      throw new CloudError("CREDENTIALS", `the access key ${accessKeyId} is not known to this process`);
    const all = { ...settings, accessKey };
    this.#session = new CloudSession(key, all, await this.#options.open(type, all), this.#options);
    this.#listedAtMs = Number.NEGATIVE_INFINITY;
    return this.#session;
  }

  /** Lists the routes unless they are fresh; gives back who this host is. */
  async #listed(session: CloudSession, canBeFresh: boolean): Promise<CloudHost> {
    const { timers } = this.#options;
    if (!canBeFresh || session.host === undefined || timers.nowMs() - this.#listedAtMs >= FRESH_MS) {
      const routes = await session.list(this.#networks);
      this.#listedAtMs = timers.nowMs();
      const isBusy = (key: string) => this.#jobs.has(key);
      const context = { networks: this.#networks, nowMs: this.#listedAtMs, isBusy };
      const changes = this.#view.compare(routes, session.settings, context);
      if (changes.length > 0) this.#report(...changes);
    }
    return session.host!;
  }

  async #run({ operation, entry }: Job, { cloud }: CloudSession, host: CloudHost): Promise<void> {
    const { logger, signal, timers, resyncMs } = this.#options;
    const route = this.#view.routeAt(entry);
    const place = placeOf(entry, host);
    const where = `in route table ${place.table}`;
    if (operation.action === "remove") {
      if (route === undefined) return;
      // Its id is not known before it was listed.
      if (route === "created") throw new CloudError("CONFLICT", "it was created just now");
      await ignoring("NOT_FOUND", cloud.delete(host, route, signal));
      const why = route.isBlackhole ? ", whose target no longer exists" : "";
      logger.info(`Deleted route ${entry.destination} to ${route.target}${why} ${where}`);
    } else if (route === undefined) {
      await cloud.create(host, place, signal);
      logger.info(`Created route ${entry.destination} to ${host.target} ${where}`);
    } else if (route === "created" || route.isOwn) {
      return;
    } else {
      await cloud.replace(host, route, signal);
      logger.warn(
        `Replaced foreign route ${entry.destination} to ${route.target} ${where}; it leads to ${host.target} now`,
      );
    }
    this.#view.done(operation, timers.nowMs() + Math.min(CONSISTENT_AFTER_MS, resyncMs / 2));
  }

  #report(...changes: readonly StateChange[]): void {
    this.#news.push(...changes);
    this.#newsWake.wake();
  }
}

async function ignoring(code: string, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!hasCode(error, code)) throw error;
  }
}
