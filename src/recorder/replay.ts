/**
 * Replays a recording: the reconciler that ran on the host gets the recorded desired states, on a kernel in memory
 * in which the recorded drift occurs again and the recorded failures fail again. What it does and what the kernel has is known for
 * any moment.
 */

import { parsePrefix } from "../address/prefix.ts";
import { FlannelError } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import { deviceOf, keyOf, type StateObject, type StateOperation } from "../state/objects.ts";
import { Reconciler } from "../state/reconciler.ts";
import type { DriftEntry, RecorderEntry, TargetEntry } from "./entries.ts";
import { MemoryKernel } from "./memory-kernel.ts";
import { applyTarget } from "./recorder.ts";

/** One entry, and what the reconciler did because of it. */
export interface ReplayStep {
  readonly entry: RecorderEntry;
  readonly operations: readonly StateOperation[];
  /** The desired state after it; it changes with the next step. */
  readonly desired: ReadonlyMap<string, StateObject>;
}

/** The end of a replay. */
export interface Replayed {
  /** What the kernel has, in the order in which it got it; only what belongs to flanneld. */
  readonly state: readonly StateObject[];
  readonly desired: ReadonlyMap<string, StateObject>;
  /** What prevents convergence. */
  readonly problems: readonly string[];
}

/** Turns of the event loop after which nothing is in progress: the kernel in memory answers within one. */
const QUIET_TURNS = 4;

/** Replays the entries up to `untilMs` (ms since the epoch); `onStep` gets each. */
export async function replay(
  entries: readonly RecorderEntry[],
  {
    untilMs = Number.POSITIVE_INFINITY,
    onStep,
  }: { readonly untilMs?: number; readonly onStep: (step: ReplayStep) => void },
): Promise<Replayed> {
  const kernel = new MemoryKernel(lowerDevices(entries));
  let passes = 0;
  const clock = new ReplayClock();
  const reconciler = new Reconciler({
    ...{ providers: [kernel], logger: silentLogger, timers: clock, resyncIntervalMs: 1 },
    onPass: () => passes++,
    onRepair: () => {},
  });
  const stop = new AbortController();
  const running = reconciler.run(stop.signal);
  const desired = new Map<string, StateObject>();
  let devices: ReadonlySet<string> = new Set();
  for (const [index, entry] of entries.entries()) {
    if (entry.atMs > untilMs) break;
    const first = kernel.operations.length;
    if (entry.type === "target") {
      const refused = refusedIn(entries.slice(index + 1));
      kernel.refuse = ({ object }) => errorOf(refused.get(keyOf(object)));
      applyTarget(desired, entry);
      devices = new Set(entry.devices);
      reconciler.setTarget({
        state: new Map(desired),
        ownership: { devices, networks: entry.networks.flatMap((text) => parsePrefix(text) ?? []) },
        keepOthers: entry.keepOthers,
      });
    } else if (entry.type === "pass") {
      const refused = new Map(
        entry.operations.flatMap(({ key, problem }) => (problem === undefined ? [] : [[key, problem]])),
      );
      kernel.refuse = ({ object }) => errorOf(refused.get(keyOf(object)));
      clock.expireAll();
    } else if (entry.type === "drift") {
      repeatDrift(kernel, entry);
    }
    await settle(() => passes);
    onStep({ entry, operations: kernel.operations.slice(first), desired });
  }
  const { problems } = reconciler.status;
  stop.abort();
  await running;
  const state = [...kernel.objects.values()].filter((object) => isOurs(object, devices, desired));
  return { state, desired, problems };
}

/** A clock that stands still until a recorded pass says that what was refused was tried again. */
class ReplayClock implements Timers {
  #nowMs = 0;
  readonly #waiting = new Set<() => void>();

  nowMs(): number {
    return this.#nowMs;
  }

  after(_delayMs: number, callback: () => void): () => void {
    this.#waiting.add(callback);
    return () => this.#waiting.delete(callback);
  }

  /** All that waits is due. The delays of retries are minutes at most. */
  expireAll(): void {
    this.#nowMs += 86_400_000;
    const due = [...this.#waiting];
    this.#waiting.clear();
    for (const callback of due) callback();
  }
}

/** Devices of objects that no desired link is: those that flanneld found on the host. */
function lowerDevices(entries: readonly RecorderEntry[]): string[] {
  const objects = entries.filter((entry) => entry.type === "target").flatMap(({ set }: TargetEntry) => set);
  const links = new Set(objects.flatMap((object) => (object.kind === "link" ? [object.name] : [])));
  const lowers = objects.flatMap((object) =>
    "lower" in object && typeof object.lower === "string" ? [object.lower] : [],
  );
  return [...new Set([...lowers, ...objects.map(deviceOf)])].filter((name) => !links.has(name));
}

/** What the next pass of the recording failed to do, by key. */
function refusedIn(entries: readonly RecorderEntry[]): ReadonlyMap<string, string> {
  const pass = entries.find((entry) => entry.type === "pass" || entry.type === "target");
  if (pass?.type !== "pass") return new Map();
  return new Map(
    pass.operations.flatMap(({ key, problem }) => (problem === undefined ? [] : [[key, problem]])),
  );
}

const errorOf = (problem: string | undefined): FlannelError | undefined =>
  problem === undefined ? undefined : new FlannelError("EIO", problem);

/** Undoes what the recorded repair did; what the kernel in memory refuses was not there in the replay. */
function repeatDrift(kernel: MemoryKernel, { operations }: DriftEntry): void {
  for (const operation of operations.toReversed()) {
    try {
      if (operation.action === "create") kernel.delete(operation.object);
      else if (operation.action === "replace") kernel.put(operation.previous);
      else kernel.put(operation.object);
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
    }
  }
}

const isOurs = (
  object: StateObject,
  devices: ReadonlySet<string>,
  desired: ReadonlyMap<string, StateObject>,
): boolean => desired.has(keyOf(object)) || (object.kind !== "setting" && devices.has(deviceOf(object)));

async function settle(passes: () => number): Promise<void> {
  for (let quiet = 0, seen = passes(); quiet < QUIET_TURNS; quiet++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (passes() === seen) continue;
    seen = passes();
    quiet = 0;
  }
}
