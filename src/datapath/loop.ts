/** The data path's thread: polls, moves packets in both directions and handles orders in between, until ordered to stop. */

import { IcmpErrors } from "./icmp-errors.ts";
import { Incoming } from "./incoming.ts";
import type { Order, Report, ThreadData } from "./messages.ts";
import { Outgoing } from "./outgoing.ts";
import { type PacketIo, SOCKET_READY, TUN_READY, WOKEN } from "./packet-io.ts";

const LONGEST_WAIT_MS = 1000;
/** Idle time before memory is released, once there is some: probes of peers leave no longer gaps. */
const QUIET_MS = 100;
/** Iterations after which there is memory to release: the compiler's, and a young generation grown to its full size. */
const UNTIDY_TURNS = 20_000;

// asm-generic/errno-base.h, asm-generic/errno.h: what read(2) on a deleted TUN device fails with
const GONE: readonly number[] = [9 /* EBADF */, 14 /* EFAULT */, 19 /* ENODEV */, 77 /* EBADFD */];

export interface LoopPorts {
  readonly io: PacketIo;
  /** The next order; undefined if there is none. */
  readonly nextOrder: () => Order | undefined;
  readonly report: (report: Report) => void;
  /** Releases memory that traffic and compilation used; blocks for some milliseconds. */
  readonly tidyUp: () => void;
}

/** Returns on the order to stop, or when the TUN device is deleted. */
export function runLoop(
  { io, nextOrder, report, tidyUp }: LoopPorts,
  { counters, forwarding }: Pick<ThreadData, "counters" | "forwarding">,
): void {
  const icmp = new IcmpErrors(io, counters);
  const outgoing = new Outgoing(io, counters, icmp, forwarding, () =>
    report({ type: "segmentation refused" }),
  );
  const incoming = new Incoming(io, counters, icmp, forwarding);
  for (let turns = 0; ; turns++) {
    const ready = io.wait(turns > UNTIDY_TURNS ? QUIET_MS : LONGEST_WAIT_MS);
    if (ready === 0 && turns > UNTIDY_TURNS) {
      tidyUp();
      turns = 0;
    }
    let result = 0;
    if ((ready & TUN_READY) !== 0) result = outgoing.turn();
    if ((ready & SOCKET_READY) !== 0) result = Math.min(result, incoming.turn());
    if (result < 0 && GONE.includes(-result)) {
      report({ type: "stopped", deviceLost: true });
      return;
    }
    if ((ready & WOKEN) === 0) continue;
    for (let order = nextOrder(); order !== undefined; order = nextOrder()) {
      if (order.type === "stop") {
        report({ type: "stopped", deviceLost: false });
        return;
      }
      outgoing.forwarding = order.forwarding;
      incoming.forwarding = order.forwarding;
    }
  }
}
