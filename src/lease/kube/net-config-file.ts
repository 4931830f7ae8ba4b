/**
 * The network config in a file, net-conf.json, mounted from a ConfigMap: the kubelet writes a new directory beside it and
 * swaps a symlink (`..data`), so the file itself is never written. Its directory is watched, and the file is also read at
 * intervals; only its content counts.
 */

import { type FSWatcher, watch } from "node:fs";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { isNotFound, StoreError } from "../../base/error.ts";
import { sleep, type Timers } from "../../base/timers.ts";

/** A ConfigMap has at most 1 MiB. */
const MAX_BYTES = 1024 * 1024;

/** Where it is, for operators. */
export const describeConfigFile = (path: string): string =>
  `${path} (--net-config-path; in a cluster net-conf.json of the ConfigMap kube-flannel-cfg)`;

/** Throws StoreError: NOT_FOUND, UNAVAILABLE if it cannot be read. */
export async function readConfigFile(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size > MAX_BYTES)
      throw new StoreError("INVALID", `${path} is no network config: it is longer than 1 MiB`);
    return await file.readFile("utf8");
  } catch (error) {
    if (error instanceof StoreError) throw error;
    if (isNotFound(error)) {
      throw new StoreError(
        "NOT_FOUND",
        `there is no network config at ${path} (--net-config-path): mount the ConfigMap kube-flannel-cfg with its net-conf.json there, or leave out --kube-subnet-mgr if the network config is in etcd`,
      );
    }
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new StoreError("UNAVAILABLE", `failed to read the network config ${path}: ${reason}`, {
      cause: error,
    });
  }
}

/** The content now (undefined = there is no such file), and whenever it is another; until aborted. */
export async function* watchConfigFile(
  path: string,
  pollMs: number,
  timers: Timers,
  signal: AbortSignal,
): AsyncGenerator<string | undefined, void> {
  using directory = new DirectoryWatch(dirname(path));
  let latest: string | undefined;
  let isFirst = true;
  while (!signal.aborted) {
    const isChanging = directory.nextChange(); // before reading: a change meanwhile is not missed
    // A file that exists but is unreadable may be half written.
    const content = await readConfigFile(path).catch((error: StoreError) =>
      error.code === "NOT_FOUND" ? undefined : latest,
    );
    if (signal.aborted) return;
    if (isFirst || content !== latest) {
      isFirst = false;
      latest = content;
      yield content;
    }
    const woken = new AbortController();
    void isChanging.then(() => woken.abort());
    await sleep(timers, pollMs, AbortSignal.any([signal, woken.signal]));
  }
}

/** Reports changes in a directory; none if it cannot be watched (it does not exist yet, or there are too many inotify watches). */
class DirectoryWatch implements Disposable {
  readonly #path: string;
  #watcher: FSWatcher | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(path: string) {
    this.#path = path;
  }

  /** Resolves at the next change from now on. */
  nextChange(): Promise<void> {
    this.#changed = Promise.withResolvers<void>();
    this.#watcher ??= this.#open();
    return this.#changed.promise;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
  }

  #open(): FSWatcher | undefined {
    try {
      const watcher = watch(this.#path, () => this.#changed.resolve());
      watcher.on("error", () => {
        watcher.close();
        this.#watcher = undefined;
      });
      return watcher;
    } catch {
      return undefined;
    }
  }
}
