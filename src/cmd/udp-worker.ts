/**
 * The thread of the udp backend's data path: a worker of flanneld, which starts it with a port and gives it orders there.
 * Loading takes longer than anything else of its start, so it is loaded before there is anything to do.
 */

import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { runLoop } from "../datapath/loop.ts";
import type { Order, Report } from "../datapath/messages.ts";
import { releaseMemory } from "../linux/release-memory.ts";
import { UdpBatchIo } from "../linux/udp-batch.ts";

const port = workerData as MessagePort;
const report = (message: Report): void => port.postMessage(message);

port.once("message", (order: Order) => {
  if (order.type === "start") {
    runLoop(
      {
        io: new UdpBatchIo(order.descriptors),
        // Taken by hand: the loop never returns to this thread's event loop.
        nextOrder: () => receiveMessageOnPort(port)?.message as Order | undefined,
        report,
        tidyUp: releaseMemory,
      },
      order,
    );
  }
  port.close();
});
report({ type: "ready" });
