/**
 * The provider of what the extension backend's commands do. Nothing of it can be observed, so it remembers what it ran, in a
 * file too (extension-record.ts). Every start runs PostStartupCommand and each peer's SubnetAddCommand again, as Go flannel
 * does, because something else may have undone their work; and SubnetRemoveCommand for the peers that left meanwhile.
 *
 * Commands run beside the reconciler: a slow one keeps no other waiting.
 */

import { FlannelError, messageOf } from "../base/error.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import {
  describeObject,
  type ExtensionPeer,
  type ExtensionStartup,
  keyOf,
  type StateKind,
  type StateObject,
  type StateOperation,
  sameObject,
} from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";
import type { Notice, Provider } from "../state/provider.ts";
import { RecordKeeper, type RecordPorts } from "./record-keeper.ts";
import type { RunShell } from "./shell.ts";

export interface ExtensionOptions extends RecordPorts {
  readonly run: RunShell;
  readonly timers: Timers;
}

/** How long the reconciler waits for commands. What takes longer goes on, and its end is a notice. */
const PATIENCE_MS = 1_000;
/** At most so many commands run at a time. */
const PARALLEL = 4;
/** A peer that left is forgotten when its SubnetRemoveCommand has failed so often: most probably nothing is left to remove. */
const REMOVE_ATTEMPTS = 10;

/** The commands of one operation. */
interface Job {
  readonly operation: StateOperation;
  isDone: boolean;
  error: FlannelError | undefined;
  /** Whether apply waits for it. */
  isAwaited: boolean;
}

export class ExtensionProvider implements Provider {
  readonly name = "the extension's commands";
  readonly kinds: ReadonlySet<StateKind> = new Set(["extension-startup", "extension-peer"]);
  readonly #options: ExtensionOptions;
  /** What commands succeeded for. */
  readonly #done = new Map<string, StateObject>();
  /** By key: the jobs that run, and those that ended after apply had returned. */
  readonly #jobs = new Map<string, Job>();
  readonly #removeFailures = new Map<string, number>();
  /** Jobs that wait for their turn. */
  readonly #queue: (() => void)[] = [];
  readonly #ended: StateObject[] = [];
  readonly #news = new WakeSignal();
  /** Whether PostStartupCommand succeeded; undefined = there is none. */
  #startup: Promise<boolean> | undefined;
  #running = 0;
  #isRecordRead = false;
  readonly #record: RecordKeeper;

  constructor(options: ExtensionOptions) {
    this.#options = options;
    this.#record = new RecordKeeper(options, () => this.#recorded());
  }

  async observe(_ownership: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]> {
    if (!this.#isRecordRead) for (const peer of this.#record.read()) this.#done.set(keyOf(peer), peer);
    this.#isRecordRead = true;
    return [...this.#done.values()].filter(({ kind }) => kinds.has(kind));
  }

  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const results = new Array<FlannelError | undefined>(operations.length).fill(undefined);
    const started: { readonly job: Job; readonly position: number; readonly end: Promise<void> }[] = [];
    for (const [position, operation] of operations.entries()) {
      const key = keyOf(operation.object);
      const before = this.#jobs.get(key);
      if (before?.isDone === false) {
        results[position] = stillRunning();
      } else if (before?.error !== undefined && isSameOperation(before.operation, operation)) {
        this.#jobs.delete(key);
        results[position] = before.error;
      } else {
        const job: Job = { operation, isDone: false, error: undefined, isAwaited: true };
        this.#jobs.set(key, job);
        started.push({ job, position, end: this.#begin(job) });
      }
    }
    this.#record.write();
    const isOver = new AbortController();
    const end = Promise.all(started.map((each) => each.end)).then(() => isOver.abort());
    await Promise.race([end, sleep(this.#options.timers, PATIENCE_MS, isOver.signal)]);
    isOver.abort();
    for (const { job, position } of started) {
      job.isAwaited = false;
      if (job.isDone) this.#jobs.delete(keyOf(job.operation.object));
      results[position] = job.isDone ? job.error : stillRunning();
    }
    return results;
  }

  /** One notice for the commands that ended after apply had returned. */
  watch(_ownership: () => Ownership, signal: AbortSignal): AsyncIterable<Notice> {
    const news = this.#news;
    const ended = this.#ended;
    return (async function* () {
      while ((await news.wait({ signal })) === "woken")
        yield ended.splice(0).map((object) => ({ action: "touched" as const, object }));
    })();
  }

  #begin(job: Job): Promise<void> {
    const { object, action } = job.operation;
    if (object.kind !== "extension-startup") return this.#work(job, action === "remove");
    const end = this.#work(job, true);
    this.#startup = action === "remove" ? undefined : end.then(() => job.error === undefined);
    return end;
  }

  /** `isFirst`: it does not wait for PostStartupCommand. Never rejects. */
  async #work(job: Job, isFirst: boolean): Promise<void> {
    const { operation } = job;
    const { object } = operation;
    try {
      if (!isFirst && (await this.#startup) === false)
        throw new FlannelError("EAGAIN", "it waits for PostStartupCommand to succeed");
      await this.#takeTurn();
      try {
        await this.#execute(operation);
      } finally {
        this.#running--;
        this.#queue.shift()?.();
      }
      this.#settle(operation);
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      if (this.#isGivenUp(operation, error)) this.#settle(operation);
      else job.error = error;
    }
    job.isDone = true;
    // Peers wait for PostStartupCommand, however soon it ended.
    if (!job.isAwaited || object.kind === "extension-startup") {
      this.#ended.push(object);
      this.#news.wake();
    }
    this.#record.write();
  }

  async #takeTurn(): Promise<void> {
    if (this.#running >= PARALLEL) await new Promise<void>((resolve) => this.#queue.push(resolve));
    this.#running++;
  }

  async #execute(operation: StateOperation): Promise<void> {
    const { object, action } = operation;
    if (object.kind === "extension-startup") {
      if (action !== "remove") await this.#runStartup(object);
    } else if (object.kind === "extension-peer") {
      if (action === "remove") return this.#runFor(object, "SubnetRemoveCommand");
      const previous = action === "replace" ? operation.previous : undefined;
      if (previous?.kind === "extension-peer") {
        if (sameObject({ ...previous, removeCommand: object.removeCommand }, object)) return;
        if (!sameObject({ ...previous, isCurrent: true }, object)) await this.#removePrevious(previous);
      }
      await this.#runFor(object, "SubnetAddCommand");
    }
  }

  /** What the peer was before: a failure is no reason not to add what it is now. */
  async #removePrevious(previous: ExtensionPeer): Promise<void> {
    try {
      await this.#runFor(previous, "SubnetRemoveCommand");
    } catch (error) {
      if (!(error instanceof FlannelError) || error.code === "ECANCELED") throw error;
      this.#options.logger.warn(
        `Failed to remove the previous ${describeObject(previous)}; adding it as it is now: ${messageOf(error)}`,
      );
    }
  }

  async #runStartup(startup: ExtensionStartup): Promise<void> {
    const { command, network, subnet, ipv6Subnet, publicIp, publicIpv6 } = startup;
    await this.#run("PostStartupCommand", command, "", {
      NETWORK: network,
      SUBNET: subnet,
      IPV6SUBNET: ipv6Subnet,
      PUBLIC_IP: publicIp,
      PUBLIC_IPV6: publicIpv6,
    });
    this.#options.logger.info(`PostStartupCommand succeeded for ${subnet || ipv6Subnet}`);
  }

  async #runFor(peer: ExtensionPeer, name: "SubnetAddCommand" | "SubnetRemoveCommand"): Promise<void> {
    const { subnet, ipv6Subnet, publicIp, publicIpv6, data, addCommand, removeCommand } = peer;
    const command = name === "SubnetAddCommand" ? addCommand : removeCommand;
    if (command === "") return;
    await this.#run(name, command, data, {
      SUBNET: subnet,
      IPV6SUBNET: ipv6Subnet,
      PUBLIC_IP: publicIp,
      PUBLIC_IPV6: publicIpv6,
    });
    this.#options.logger.debug(`${name} succeeded for ${subnet || ipv6Subnet}`);
  }

  async #run(
    name: string,
    text: string,
    data: string,
    environment: Readonly<Record<string, string>>,
  ): Promise<void> {
    try {
      // A line, as Go flannel writes it.
      await this.#options.run({ text, environment, input: `${data}\n` });
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      throw new FlannelError(error.code, `${name}: ${messageOf(error)}`, { cause: error });
    }
  }

  #settle({ action, object }: StateOperation): void {
    const key = keyOf(object);
    this.#removeFailures.delete(key);
    if (action === "remove") this.#done.delete(key);
    else this.#done.set(key, object);
  }

  #isGivenUp({ action, object }: StateOperation, error: FlannelError): boolean {
    if (action !== "remove" || error.code === "ECANCELED") return false;
    const key = keyOf(object);
    const failures = (this.#removeFailures.get(key) ?? 0) + 1;
    this.#removeFailures.set(key, failures);
    if (failures < REMOVE_ATTEMPTS) return false;
    this.#options.logger.error(
      `Failed ${failures} times to remove ${describeObject(object)}; giving up: remove by hand what is left of it: ${messageOf(error)}`,
    );
    return true;
  }

  /** With the peers whose commands still run: flanneld may be killed before they end. */
  #recorded(): ExtensionPeer[] {
    const peers = new Map(this.#done);
    for (const [key, { operation, isDone }] of this.#jobs)
      if (!isDone && operation.action !== "remove") peers.set(key, operation.object);
    return [...peers.values()].filter((object) => object.kind === "extension-peer");
  }
}

const stillRunning = (): FlannelError => new FlannelError("EAGAIN", "its command is still running");

const isSameOperation = (a: StateOperation, b: StateOperation): boolean =>
  a.action === b.action && sameObject(a.object, b.object);
