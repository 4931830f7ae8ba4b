/** The thread of the udp backend's data path: a worker of flanneld, which starts it with ThreadData and a port. */

import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { runLoop } from "../datapath/loop.ts";
import type { Order, ThreadData } from "../datapath/messages.ts";
import { releaseMemory } from "../linux/memory.ts";
import { UdpBatchIo } from "../linux/udp-batch.ts";

const { port, ...data } = workerData as ThreadData & { readonly port: MessagePort };

runLoop(
  {
    io: new UdpBatchIo(data.descriptors),
    // Taken by hand: the loop never returns to this thread's event loop.
    nextOrder: () => receiveMessageOnPort(port)?.message as Order | undefined,
    report: (report) => port.postMessage(report),
    tidyUp: releaseMemory,
  },
  data,
);
port.close();
