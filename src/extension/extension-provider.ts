/**
 * The provider of what the extension backend's commands do. Nothing of it can be observed, so it remembers what it ran, in a
 * file too (extension-record.ts). Every start runs PostStartupCommand and each peer's SubnetAddCommand again, as Go flannel
 * does, because something else may have undone their work; and SubnetRemoveCommand for the peers that left meanwhile.
 *
 * Commands run beside the reconciler: a slow one keeps no other waiting.
 */

import { FlannelError, messageOf } from "../base/error.ts";
import type { Timers } from "../base/timers.ts";
import { BackgroundJobs } from "../state/background-jobs.ts";
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

export class ExtensionProvider implements Provider {
  readonly name = "the extension's commands";
  readonly kinds: ReadonlySet<StateKind> = new Set(["extension-startup", "extension-peer"]);
  readonly #options: ExtensionOptions;
  /** What commands succeeded for. */
  readonly #done = new Map<string, StateObject>();
  readonly #jobs: BackgroundJobs;
  readonly #removeFailures = new Map<string, number>();
  /** Jobs that wait for their turn. */
  readonly #queue: (() => void)[] = [];
  /** Whether PostStartupCommand succeeded; undefined = there is none. */
  #startup: Promise<boolean> | undefined;
  #running = 0;
  #isRecordRead = false;
  readonly #record: RecordKeeper;

  constructor(options: ExtensionOptions) {
    this.#options = options;
    this.#record = new RecordKeeper(options, () => this.#recorded());
    this.#jobs = new BackgroundJobs({
      ...{ timers: options.timers, patienceMs: PATIENCE_MS, unfinished: "its command is still running" },
      run: (operation) => this.#begin(operation),
      onEnd: () => this.#record.write(),
      // Peers wait for PostStartupCommand, however soon it ended.
      isAwaitedByOthers: ({ kind }) => kind === "extension-startup",
    });
  }

  async observe(_ownership: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]> {
    if (!this.#isRecordRead) for (const peer of this.#record.read()) this.#done.set(keyOf(peer), peer);
    this.#isRecordRead = true;
    return [...this.#done.values()].filter(({ kind }) => kinds.has(kind));
  }

  apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const results = this.#jobs.apply(operations);
    this.#record.write();
    return results;
  }

  /** One notice for the commands that ended after apply had returned. */
  watch(_ownership: () => Ownership, signal: AbortSignal): AsyncIterable<Notice> {
    return this.#jobs.watch(signal);
  }

  #begin(operation: StateOperation): Promise<void> {
    if (operation.object.kind !== "extension-startup")
      return this.#work(operation, operation.action === "remove");
    const end = this.#work(operation, true);
    const succeeded = end.then(
      () => true,
      () => false,
    );
    this.#startup = operation.action === "remove" ? undefined : succeeded;
    return end;
  }

  /** `isFirst`: it does not wait for PostStartupCommand. Rejects with FlannelError. */
  async #work(operation: StateOperation, isFirst: boolean): Promise<void> {
    if (!isFirst && (await this.#startup) === false)
      throw new FlannelError("EAGAIN", "it waits for PostStartupCommand to succeed");
    try {
      await this.#takeTurn();
      try {
        await this.#execute(operation);
      } finally {
        this.#running--;
        this.#queue.shift()?.();
      }
    } catch (error) {
      if (!(error instanceof FlannelError) || !this.#isGivenUp(operation, error)) throw error;
    }
    this.#settle(operation);
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
    for (const { action, object } of this.#jobs.running)
      if (action !== "remove") peers.set(keyOf(object), object);
    return [...peers.values()].filter((object) => object.kind === "extension-peer");
  }
}
