/** Threads that carry packets, seen from the main thread: orders go in, reports come out, and an end has its reason. */

import { MessageChannel, type MessagePort, type ResourceLimits, Worker } from "node:worker_threads";

interface ThreadOptions<Report> {
  /** Its entry file, from `workerFile`. */
  readonly file: URL;
  /** As the inspector and `top -H` show it. */
  readonly name: string;
  /** Its own memory. */
  readonly resourceLimits: ResourceLimits;
  /** What the entry file receives; contains the port for orders and reports. */
  readonly workerData: (port: MessagePort) => unknown;
  readonly onReport: (report: Report) => void;
}

/** The entry file of a thread: `<name>.ts` here; in the bundle, `<name>.cjs` beside it. */
export const workerFile = (name: string): URL =>
  new URL(import.meta.url.endsWith(".ts") ? `./${name}.ts` : `./${name}.cjs`, import.meta.url);

/** Starts a thread. `ended` resolves when it has ended, with the error that ended it. */
export function startThread<Order, Report>(options: ThreadOptions<Report>) {
  const { file, name, resourceLimits, workerData, onReport } = options;
  const { port1, port2 } = new MessageChannel();
  port1.on("message", onReport);
  const worker = new Worker(file, {
    workerData: workerData(port2),
    transferList: [port2],
    resourceLimits,
    name,
  });
  let error: Error | undefined;
  worker.on("error", (reason) => {
    error = reason instanceof Error ? reason : new Error(String(reason));
  });
  const ended = new Promise<Error | undefined>((resolve) => {
    worker.on("exit", () => {
      port1.close();
      resolve(error);
    });
  });
  return { post: (order: Order) => port1.postMessage(order), ended };
}
