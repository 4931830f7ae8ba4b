/** A TCP connection between two containers, netcat to netcat, whose bytes are compared at the end. */

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Container } from "./docker.ts";
import type { TestProcess } from "./process.ts";
import { until } from "./until.ts";

const CHUNK_BYTES = 64 * 1024;
/** After each chunk of a stream: leaves the processors to what is tested. */
const PAUSE_MS = 2;

export interface TransferResult {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly isSame: boolean;
}

export class Transfer {
  /** The sender's address as the receiver's kernel has it. */
  readonly seenFrom: string;
  readonly #sender: TestProcess;
  readonly #receiver: Receiver;
  readonly #sent = createHash("sha256");
  #sentBytes = 0;

  /** Opens the connection. */
  static async open(from: Container, to: Container, port: number): Promise<Transfer> {
    const filter = `sport = :${port}`;
    const receiver = new Receiver(to, port);
    await receiver.process.brings(
      `a listener on port ${port}`,
      async () => (await to.run("ss", "-Hltn", filter)) !== "",
    );
    const sender = from.start(["nc", to.address, String(port)]);
    let peer: string | undefined;
    await sender.brings("a connection", async () => {
      // "0 0 [::ffff:10.2.52.2]:5000 [::ffff:10.2.7.2]:41234"
      const established = await to.run("ss", "-Htn", "state", "established", filter);
      peer = /([\d.]+)\]?:\d+\s*$/.exec(established)?.[1];
      return peer !== undefined;
    });
    return new Transfer(sender, receiver, peer!);
  }

  private constructor(sender: TestProcess, receiver: Receiver, seenFrom: string) {
    this.#sender = sender;
    this.#receiver = receiver;
    this.seenFrom = seenFrom;
  }

  get receivedBytes(): number {
    return this.#receiver.bytes;
  }

  /** Sends random bytes, at least so many. */
  async send(bytes: number): Promise<void> {
    const end = this.#sentBytes + bytes;
    while (this.#sentBytes < end) await this.#sendChunk();
  }

  /** Sends about 30 MB/s until aborted. */
  async stream(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#sendChunk();
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Waits until more has come than had when this was called. */
  async moves(): Promise<void> {
    const before = this.receivedBytes;
    await until(() => this.receivedBytes > before, "more bytes of the transfer");
  }

  /** Closes the connection and waits until both ends have seen that. */
  async finish(): Promise<TransferResult> {
    this.#sender.stdin.end();
    for (const process of [this.#sender, this.#receiver.process]) {
      await process.brings("the end of the transfer", () => process.hasEnded);
    }
    return {
      sentBytes: this.#sentBytes,
      receivedBytes: this.#receiver.bytes,
      isSame: this.#sent.digest("hex") === this.#receiver.hash.digest("hex"),
    };
  }

  async #sendChunk(): Promise<void> {
    const chunk = randomBytes(CHUNK_BYTES);
    this.#sent.update(chunk);
    this.#sentBytes += chunk.length;
    const { stdin } = this.#sender;
    if (!stdin.write(chunk) && !this.#sender.hasEnded) await once(stdin, "drain");
  }
}

class Receiver {
  readonly process: TestProcess;
  readonly hash = createHash("sha256");
  bytes = 0;

  constructor(container: Container, port: number) {
    const onStdout = (chunk: Buffer): void => {
      this.hash.update(chunk);
      this.bytes += chunk.length;
    };
    this.process = container.start(["nc", "-l", "-p", String(port)], { onStdout });
  }
}
