/**
 * Packets between pods, accounted one by one and for each direction: a UDP datagram every 20 ms from each pod to each
 * other one, with its sequence number. A datagram counts as received only if its source is the sender's own address:
 * one that was masqueraded on its way counts as lost.
 */

import { createSocket, type Socket } from "node:dgram";
import { withNetns } from "../../src/linux/netns.ts";

const INTERVAL_MS = 20;
const PORT = 7007;
/** Packets on which {@link Pings.isFlowing} decides, for each direction. */
const RECENT = 8;
/** A packet that has taken longer than this is in doubt. */
const TRANSIT_MS = 150;

export interface Pod {
  /** The host it runs on: "h1". */
  readonly name: string;
  /** Path of its network namespace. */
  readonly netns: string;
  readonly address: string;
}

interface Direction {
  readonly from: number;
  readonly to: number;
  /** "h1→h2". */
  readonly name: string;
  /** When each packet was sent, by sequence number (performance.now()). */
  readonly sentAtMs: number[];
  /** Which of them have arrived. */
  readonly hasArrived: boolean[];
}

/** Packets of one direction in a period. */
export interface Loss {
  readonly direction: string;
  /** Names of the hosts at both ends. */
  readonly hosts: readonly [string, string];
  readonly sent: number;
  readonly lost: number;
  /** When the last of the lost packets was sent (performance.now()); undefined = none was lost. */
  readonly lastLostAtMs: number | undefined;
}

export class Pings implements Disposable {
  readonly #pods: readonly Pod[];
  readonly #sockets: readonly Socket[];
  readonly #directions: readonly Direction[];
  readonly #timer: NodeJS.Timeout;

  constructor(pods: readonly Pod[]) {
    this.#pods = pods;
    this.#directions = pods.flatMap((from, i) =>
      pods.flatMap((to, j) =>
        i === j
          ? []
          : [{ from: i, to: j, name: `${from.name}→${to.name}`, sentAtMs: [], hasArrived: [] } as Direction],
      ),
    );
    this.#sockets = pods.map((_, index) => this.#open(index));
    this.#timer = setInterval(() => this.#sendAll(), INTERVAL_MS);
  }

  /** Losses among the packets sent in the period (performance.now()), for each direction. */
  lossesBetween(sinceMs: number, untilMs: number): Loss[] {
    return this.#directions.map(({ from, to, name, sentAtMs, hasArrived }) => {
      let [sent, lost] = [0, 0];
      let lastLostAtMs: number | undefined;
      for (let sequence = sentAtMs.length - 1; sequence >= 0; sequence--) {
        const atMs = sentAtMs[sequence]!;
        if (atMs < sinceMs) break;
        if (atMs >= untilMs) continue;
        sent++;
        if (hasArrived[sequence]) continue;
        lost++;
        lastLostAtMs ??= atMs;
      }
      return {
        direction: name,
        hosts: [this.#pods[from]!.name, this.#pods[to]!.name],
        sent,
        lost,
        lastLostAtMs,
      };
    });
  }

  /** Whether the last packets of every direction have arrived, all of them sent after `sinceMs`. */
  isFlowing(sinceMs: number): boolean {
    return this.silentDirections(sinceMs).length === 0;
  }

  /** The directions for which {@link isFlowing} does not hold. */
  silentDirections(sinceMs: number): string[] {
    const untilMs = performance.now() - TRANSIT_MS;
    return this.#directions
      .filter(({ sentAtMs, hasArrived }) => {
        const last = sentAtMs.findLastIndex((atMs) => atMs < untilMs);
        const first = last - RECENT + 1;
        if (first < 0 || sentAtMs[first]! < sinceMs) return true;
        return !hasArrived.slice(first, last + 1).every(Boolean);
      })
      .map(({ name }) => name);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.close();
  }

  #open(index: number): Socket {
    const { netns, address } = this.#pods[index]!;
    return withNetns(netns, () => {
      // The descriptor is made by bind(), which waits for a lookup: one that answers at once keeps it in this namespace.
      const socket = createSocket({
        type: "udp4",
        lookup: (host, _options, callback) => callback(null, host, 4),
      });
      socket.on("error", () => {}); // what a fault does to a send shows as a loss
      socket.on("message", (data, { address: source }) => {
        const direction = this.#directions[data.readUInt16BE(0)];
        if (direction?.to !== index || source !== this.#pods[direction.from]!.address) return;
        direction.hasArrived[data.readUInt32BE(2)] = true;
      });
      socket.bind({ port: PORT, address });
      return socket;
    });
  }

  #sendAll(): void {
    for (const [number, direction] of this.#directions.entries()) {
      const data = Buffer.alloc(56);
      data.writeUInt16BE(number, 0);
      data.writeUInt32BE(direction.sentAtMs.length, 2);
      direction.sentAtMs.push(performance.now());
      direction.hasArrived.push(false);
      this.#sockets[direction.from]!.send(data, PORT, this.#pods[direction.to]!.address, () => {});
    }
  }
}
