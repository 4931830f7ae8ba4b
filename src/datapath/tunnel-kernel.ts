/** The reconciler's kernel port with tunnels in it: what concerns them goes to the driver, everything else to the kernel. */

import { FlannelError } from "../base/error.ts";
import type { Kernel, KernelNotice, Operation, Ownership } from "../state/kernel.ts";
import { deviceOf, PROCESS_KINDS, type StateKind, type StateObject } from "../state/objects.ts";
import type { TunnelDriver } from "./tunnel-driver.ts";

const isTunnels = ({ object }: Operation): boolean => PROCESS_KINDS.has(object.kind);

export class TunnelKernel implements Kernel {
  readonly #kernel: Kernel;
  readonly #driver: TunnelDriver;

  constructor(kernel: Kernel, driver: TunnelDriver) {
    this.#kernel = kernel;
    this.#driver = driver;
  }

  async observe(ownership: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]> {
    const found = await this.#kernel.observe(ownership, kinds);
    for (const object of this.#driver.observe()) {
      if (kinds.has(object.kind) && ownership.devices.has(deviceOf(object))) found.push(object);
    }
    return found;
  }

  async apply(operations: readonly Operation[]): Promise<(FlannelError | undefined)[]> {
    const results: (FlannelError | undefined)[] = [];
    for (let first = 0; first < operations.length; ) {
      const isForDriver = isTunnels(operations[first]!);
      let end = first + 1;
      while (end < operations.length && isTunnels(operations[end]!) === isForDriver) end++;
      const run = operations.slice(first, end);
      results.push(...(isForDriver ? await this.#drive(run) : await this.#kernel.apply(run)));
      first = end;
    }
    return results;
  }

  watch(ownership: () => Ownership, signal: AbortSignal): AsyncIterable<KernelNotice> {
    // Subscribed before anything is asked for.
    return this.#join(this.#kernel.watch(ownership, signal));
  }

  /** The kernel's notices, and one whenever a tunnel has come to its end by itself. */
  async *#join(notices: AsyncIterable<KernelNotice>): AsyncGenerator<KernelNotice> {
    const waiting: KernelNotice[] = [];
    let rouse = () => {};
    const tell = (notice: KernelNotice): void => {
      waiting.push(notice);
      rouse();
    };
    this.#driver.onEnd = (tunnel) => tell([{ action: "touched", object: tunnel }]);
    let isOver = false;
    const following = (async () => {
      for await (const notice of notices) tell(notice);
    })().finally(() => {
      isOver = true;
      rouse();
    });
    following.catch(() => {}); // is thrown below
    while (!isOver || waiting.length > 0) {
      yield* waiting.splice(0);
      if (isOver || waiting.length > 0) continue;
      await new Promise<void>((resolve) => {
        rouse = resolve;
      });
    }
    await following;
  }

  async #drive(operations: readonly Operation[]): Promise<(FlannelError | undefined)[]> {
    const results: (FlannelError | undefined)[] = [];
    for (const operation of operations) {
      try {
        await this.#driver.apply(operation);
        results.push(undefined);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        results.push(error);
      }
    }
    this.#driver.commit();
    return results;
  }
}
